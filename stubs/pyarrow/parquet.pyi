from collections.abc import Iterator, Sequence
from os import PathLike
from types import TracebackType
from typing import IO

from pyarrow import RecordBatch, Schema, Table
from typing_extensions import disjoint_base

@disjoint_base
class FileMetaData:
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    @property
    def num_rows(self) -> int: ...
    @property
    def num_row_groups(self) -> int: ...

class ParquetFile:
    # The constructor takes more than this; see the allow-list of the stub check.
    def __init__(self, source: str | PathLike[str] | IO[bytes], *, memory_map: bool = False) -> None: ...
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
def write_table(table: Table, where: str | PathLike[str], row_group_size: int | None = None) -> None: ...
