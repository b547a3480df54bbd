"""Reads a run's logs.jsonl while it grows: the last lines from the end, and what comes after an offset."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from model_trainer.core.contracts.base import JsonObject, parse_json_object
from model_trainer.core.errors import AppError
from model_trainer.core.files import open_regular

BLOCK_BYTES = 64 * 1024
MAX_LINE_BYTES = 256 * 1024
"""Of a longer line only the beginning is shown."""
MAX_READ_BYTES = 4 * 1024 * 1024
"""What one look at a log may bring into memory."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One whole line and the offset behind it."""

    content: JsonObject
    next_offset: int


class LogFile:
    """A log that may not be there yet. Only whole lines count: the last one may be in the middle of being written."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def tail_offset(self, num_lines: int) -> int:
        """Where the last `num_lines` whole lines begin; reads backwards from the end, and no further than it must."""
        if self._path is None:
            return 0
        with open_regular(self._path) as file:
            end = _end_of_last_line(file)
            begin, newlines = end, 0
            while begin > 0 and end - begin < MAX_READ_BYTES:
                block_start = max(0, begin - BLOCK_BYTES)
                file.seek(block_start)
                block = file.read(begin - block_start)
                at = len(block)
                while (at := block.rfind(b"\n", 0, at)) >= 0:
                    newlines += 1
                    if newlines > num_lines:
                        return block_start + at + 1
                begin = block_start
            return begin if begin == 0 else _next_line(file, begin)

    def lines_after(self, offset: int) -> tuple[LogLine, ...]:
        """Whole lines behind `offset`, at most MAX_READ_BYTES of them; an offset inside a line means the next one."""
        if self._path is None:
            return ()
        with open_regular(self._path) as file:
            start = _next_line(file, offset)
            file.seek(start)
            data = file.read(MAX_READ_BYTES)
            if b"\n" not in data and len(data) == MAX_READ_BYTES:
                return (LogLine({"message": _text(data)}, start + len(data)),)
        lines: list[LogLine] = []
        for line in data.split(b"\n")[:-1]:
            start += len(line) + 1
            lines.append(LogLine(_parsed(line), start))
        return tuple(lines)


def _end_of_last_line(file: BinaryIO) -> int:
    """The offset behind the last newline; 0 without one in the last MAX_READ_BYTES."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - MAX_READ_BYTES)
    file.seek(start)
    return start + file.read(size - start).rfind(b"\n") + 1


def _next_line(file: BinaryIO, offset: int) -> int:
    """`offset` itself where a line begins there, else where the next one begins."""
    size = file.seek(0, os.SEEK_END)
    if offset <= 0 or offset >= size:
        return min(max(offset, 0), size)
    file.seek(offset - 1)
    return offset - 1 + len(file.readline(MAX_READ_BYTES))


def _parsed(line: bytes) -> JsonObject:
    if len(line) > MAX_LINE_BYTES:
        return {"message": _text(line)}
    try:
        return parse_json_object(line)
    except AppError:  # not one of our lines: a library wrote to the file, or the disk was full for a while
        return {"message": _text(line)}


def _text(line: bytes) -> str:
    return line[:MAX_LINE_BYTES].decode(errors="replace")
