"""One byte range of a file (RFC 9110, section 14). Several ranges, other units and nonsense mean: the whole file."""

from collections.abc import Sequence

from model_trainer.core.errors import AppError, ErrorCode

_MANY_DIGITS = 18
_BEYOND_ANY_FILE = 10**18


def wanted_range(headers: Sequence[str], *, size: int) -> range | None:
    """The bytes asked for; None for all of them. Raises RANGE_NOT_SATISFIABLE for a range beyond the file."""
    if len(headers) != 1:
        return None
    unit, _, ends = headers[0].partition("=")
    first, dash, last = (part.strip(" \t") for part in ends.partition("-"))
    if unit.strip().lower() != "bytes" or not dash or not _is_range(first, last):
        return None
    if not first:
        wanted = range(max(0, size - _number(last)), size)
    elif last and _number(last) < _number(first):
        return None
    else:
        wanted = range(_number(first), min(_number(last) + 1, size) if last else size)
    if not wanted:
        raise AppError(ErrorCode.RANGE_NOT_SATISFIABLE, f"The file has {size} bytes; the range lies beyond.")
    return wanted


def _is_range(first: str, last: str) -> bool:
    digits = first + last
    return digits.isascii() and digits.isdigit()


def _number(digits: str) -> int:
    """Digits as a number, for as many digits as any file needs."""
    return int(digits) if len(digits) <= _MANY_DIGITS else _BEYOND_ANY_FILE
