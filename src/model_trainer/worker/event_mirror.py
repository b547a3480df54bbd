"""events.jsonl: the run's event stream on disk, in order and without gaps."""

import os
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from model_trainer.core.contracts.events import StoredEvent
from model_trainer.core.errors import AppError
from model_trainer.core.logging import get_logger

log = get_logger(__name__)

PAGE = 1000


class EventSource(Protocol):
    """The run store, as far as a mirror looks at it."""

    def events_after(self, run_id: str, *, after: int, limit: int) -> tuple[StoredEvent, ...]:
        """Events with seq > after, in order."""
        ...


class EventMirror:
    """Copies what the store has and the file lacks. The stream is the truth; the file follows."""

    def __init__(self, path: Path) -> None:
        """Nothing is read or written yet."""
        self._path = path
        self._last_seq: int | None = None

    def catch_up(self, store: EventSource, run_id: str) -> bool:
        """Appends all events that are not in the file yet; whether they are all there now. A store that is away, or a disk that is full, is tried again
        next time, behind the last line that is whole."""
        try:
            if self._last_seq is None:
                self._last_seq = _repair(self._path)
            while events := store.events_after(run_id, after=self._last_seq, limit=PAGE):
                self._append(events)
                self._last_seq = events[-1].seq
        except (AppError, OSError) as error:
            self._last_seq = None
            log.warning("event_mirror_waits", run_id=run_id, detail=str(error))
            return False
        return True

    def _append(self, events: tuple[StoredEvent, ...]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(event.model_dump_json() + "\n" for event in events)


def _repair(path: Path) -> int:
    """The number of the last line that is an event; what stands behind it (torn, or damaged by a power cut) is cut off,
    it will be written again. Lines are numbered from 1 without gaps, so a line out of turn is damage too."""
    if not path.exists():
        return 0
    last_seq, good_bytes = 0, 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n") or _seq_of(line) != last_seq + 1:
                break
            last_seq, good_bytes = last_seq + 1, good_bytes + len(line)
    if good_bytes < path.stat().st_size:
        os.truncate(path, good_bytes)
    return last_seq


def _seq_of(line: bytes) -> int | None:
    try:
        return StoredEvent.model_validate_json(line).seq
    except ValidationError:
        return None
