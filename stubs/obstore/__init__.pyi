# The part of obstore that the S3 store needs; its own types name Any and packages that are not there. Checked by
# `make check-stubs`.

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypedDict, type_check_only

from obstore.store import S3Store
from typing_extensions import disjoint_base

@type_check_only
class ObjectMeta(TypedDict):
    path: str
    last_modified: datetime
    size: int

@disjoint_base
class Bytes:
    def __new__(cls, buf: bytes = b"") -> Bytes: ...
    def to_bytes(self) -> bytes: ...

def head(store: S3Store, path: str) -> ObjectMeta: ...
def put(
    store: S3Store,
    path: str,
    file: bytes | Iterable[bytes],
    *,
    attributes: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    mode: str | None = None,
    use_multipart: bool | None = None,
    chunk_size: int = ...,
    max_concurrency: int = 12,
) -> object: ...
def get_range(
    store: S3Store, path: str, *, start: int, end: int | None = None, length: int | None = None
) -> Bytes: ...
def delete(store: S3Store, paths: str | Sequence[str]) -> None: ...
def list(
    store: S3Store,
    prefix: str | None = None,
    *,
    offset: str | None = None,
    chunk_size: int = 50,
    return_arrow: bool = False,
) -> Iterator[Sequence[ObjectMeta]]: ...
