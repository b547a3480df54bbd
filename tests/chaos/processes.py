"""What the kernel says of processes: who descends from whom, who stands still, who has which file open. Linux alone."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """One line of the process table."""

    pid: int
    parent: int
    session: int
    state: str
    """R runs, S and D wait, T stands still, Z has ended and was not collected."""


def process_table() -> dict[int, Process]:
    """All processes there are now."""
    found = (look_at(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdigit())
    return {process.pid: process for process in found if process is not None}


def look_at(pid: int) -> Process | None:
    """One process; None when it has gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, parent, _, session = text[text.rindex(")") + 2 :].split()[:4]
    return Process(pid=pid, parent=int(parent), session=int(session), state=state)


def descendants(root: int) -> dict[int, Process]:
    """Children, their children and so on, of a process that adopts orphans; those that have ended left out."""
    table = process_table()
    found: dict[int, Process] = {}
    generation = {root}
    while generation:
        children = {pid: process for pid, process in table.items() if process.parent in generation}
        found |= children
        generation = set(children)
    return {pid: process for pid, process in found.items() if process.state != "Z"}


def open_files(pid: int) -> frozenset[str]:
    """The paths a process has open; none of one that has ended."""
    found: set[str] = set()
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        for entry in (PROC / str(pid) / "fd").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                found.add(str(entry.readlink()))
    return frozenset(found)


def has_ended(pid: int) -> bool:
    """Whether a process works no more; nobody may have collected it yet."""
    process = look_at(pid)
    return process is None or process.state == "Z"


def wait_until_ended(pid: int, *, timeout_seconds: float = 5.0) -> bool:
    """Waits for a process that was killed; False when it is still there afterwards."""
    deadline = time.monotonic() + timeout_seconds
    while not has_ended(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def kill(pid: int, signal_number: int) -> bool:
    """Sends a signal; False when there is nobody to get it."""
    try:
        os.kill(pid, signal_number)
    except ProcessLookupError:
        return False
    return True
