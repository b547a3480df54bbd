"""How large the pages of a Parquet column are, from their headers alone (Thrift's compact protocol, parquet.thrift).

pyarrow tells the size of whole column chunks only, and unpacks a page before anybody can look at it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_HEADER_BYTES = 1 << 16
"""Of a page header, which may hold statistics."""
_DATA_HEADERS = (5, 8)
"""Fields of PageHeader: data page, and data page of version 2. Both begin with the number of values."""


@dataclass(frozen=True, slots=True)
class PageSize:
    """One page."""

    num_bytes: int
    """Unpacked."""
    num_values: int
    """Rows, in a column of single values; 0 for a dictionary."""


def page_sizes(file: BinaryIO, *, begin: int, num_bytes: int) -> Iterator[PageSize | None]:
    """The pages of a column chunk in order; a None, and no more, where a header cannot be made out."""
    at = begin
    while at < begin + num_bytes:
        file.seek(at)
        header = _Header(file.read(_HEADER_BYTES))
        try:
            header.read()
        except (IndexError, ValueError):
            yield None
            return
        yield PageSize(num_bytes=header.unpacked, num_values=header.num_values)
        at += header.at + header.packed


class _Header:
    """Reads one PageHeader: field 2 is the unpacked size, field 3 the packed one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0
        self.unpacked = -1
        self.packed = -1
        self.num_values = 0

    def read(self) -> None:
        """Raises IndexError or ValueError for what is no page header."""
        self._struct(depth=0, inside=0)
        if self.unpacked < 0 or self.packed < 0:
            raise ValueError("no sizes")

    def _struct(self, *, depth: int, inside: int) -> None:
        if depth > 8:
            raise ValueError("too deep")
        field = 0
        while kind_byte := self._byte():
            step = kind_byte >> 4
            field = field + step if step else self._integer()
            self._value(kind_byte & 15, depth=depth, inside=inside, field=field)

    def _value(self, kind: int, *, depth: int, inside: int, field: int) -> None:
        match kind:
            case 1 | 2:  # a boolean: its value is its kind
                pass
            case 3:
                self.at += 1
            case 4 | 5 | 6:
                self._found(self._integer(), depth=depth, inside=inside, field=field)
            case 7:
                self.at += 8
            case 8:
                length = self._varint()
                self.at += length
            case 12:
                self._struct(depth=depth + 1, inside=field if depth == 0 else 0)
            case _:  # lists, sets and maps: no page header has any
                raise ValueError("no page header")

    def _found(self, number: int, *, depth: int, inside: int, field: int) -> None:
        match depth, inside, field:
            case 0, _, 2:
                self.unpacked = number
            case 0, _, 3:
                self.packed = number
            case 1, place, 1 if place in _DATA_HEADERS:
                self.num_values = number
            case _:
                pass

    def _integer(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)

    def _varint(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7

    def _byte(self) -> int:
        byte = self._data[self.at]
        self.at += 1
        return byte
