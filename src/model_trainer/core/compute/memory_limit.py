"""A bound on what this process may take of memory for a while, for work that somebody else wrote."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STATUS = Path("/proc/self/status")
_DATA = "VmData:"


@contextmanager
def at_most_more(num_bytes: int, *, status: Path = _STATUS) -> Iterator[None]:
    """Inside the with-block this process, with all its threads, gets so much more memory than it has, and a MemoryError beyond.

    A narrower limit stays as it is; where the kernel does not tell how much the process has, none is set.
    """
    import resource  # no such module on Windows, where nothing is forked that would need it

    before = resource.getrlimit(resource.RLIMIT_DATA)
    soft, hard = before
    limit = _data_bytes(status) + num_bytes
    if limit == num_bytes or 0 <= soft < limit:
        yield
        return
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _data_bytes(status: Path) -> int:
    """What the kernel counts against RLIMIT_DATA; 0 where Linux' file is missing."""
    if not status.exists():
        return 0
    (line,) = (line for line in status.read_text().splitlines() if line.startswith(_DATA))
    return int(line.split()[1]) * 1024
