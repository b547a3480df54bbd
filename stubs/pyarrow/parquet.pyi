from collections.abc import Iterator, Sequence
from os import PathLike
from types import TracebackType
from typing import IO

from pyarrow import RecordBatch, Schema, Table
from typing_extensions import disjoint_base

@disjoint_base
class ColumnChunkMetaData:
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    @property
    def path_in_schema(self) -> str: ...
    @property
    def data_page_offset(self) -> int: ...
    @property
    def dictionary_page_offset(self) -> int | None: ...
    @property
    def total_compressed_size(self) -> int: ...
    @property
    def total_uncompressed_size(self) -> int: ...

@disjoint_base
class RowGroupMetaData:
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    @property
    def num_rows(self) -> int: ...
    @property
    def num_columns(self) -> int: ...
    def column(self, i: int) -> ColumnChunkMetaData: ...

@disjoint_base
class FileMetaData:
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    @property
    def num_rows(self) -> int: ...
    @property
    def num_row_groups(self) -> int: ...
    def row_group(self, i: int) -> RowGroupMetaData: ...

class ParquetFile:
    # The constructor takes more than this; see the allow-list of the stub check.
    def __init__(
        self,
        source: str | PathLike[str] | IO[bytes],
        *,
        memory_map: bool = False,
        buffer_size: int = 0,
        pre_buffer: bool = True,
    ) -> None: ...
    @property
    def metadata(self) -> FileMetaData: ...
    @property
    def schema_arrow(self) -> Schema: ...
    def iter_batches(
        self,
        batch_size: int = 65536,
        row_groups: Sequence[int] | None = None,
        columns: Sequence[str] | None = None,
        use_threads: bool = True,
        use_pandas_metadata: bool = False,
    ) -> Iterator[RecordBatch]: ...
    def close(self, force: bool = False) -> None: ...
    def __enter__(self) -> ParquetFile: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

# Takes more than this as well.
def write_table(
    table: Table,
    where: str | PathLike[str],
    row_group_size: int | None = None,
    *,
    use_dictionary: bool = True,
    compression: str = "snappy",
    data_page_size: int | None = None,
    data_page_version: str = "1.0",
    dictionary_pagesize_limit: int | None = None,
    write_batch_size: int | None = None,
) -> None: ...

# What it writes has no row group at all.
def write_metadata(
    schema: Schema,
    where: str | PathLike[str],
    metadata_collector: list[FileMetaData] | None = None,
    filesystem: object = None,
    **kwargs: object,
) -> None: ...
