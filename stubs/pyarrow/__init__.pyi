# The part of pyarrow that reading Parquet corpora needs (and writing them, in tests). Checked by `make check-stubs`.

from collections.abc import Mapping, Sequence

from typing_extensions import disjoint_base

class ArrowException(Exception): ...
class ArrowInvalid(ValueError, ArrowException): ...

@disjoint_base
class Array:
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def to_pylist(self, *, maps_as_pydicts: str | None = None) -> list[object]: ...
    def __len__(self) -> int: ...

@disjoint_base
class Schema:
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    @property
    def names(self) -> list[str]: ...

@disjoint_base
class RecordBatch:
    @property
    def num_rows(self) -> int: ...
    @property
    def schema(self) -> Schema: ...
    def column(self, i: int | str) -> Array: ...

@disjoint_base
class Table:
    @property
    def num_rows(self) -> int: ...

def table(
    data: Mapping[str, Sequence[object]],
    names: Sequence[str] | None = None,
    schema: Schema | None = None,
    metadata: Mapping[str, str] | None = None,
    nthreads: int | None = None,
) -> Table: ...
