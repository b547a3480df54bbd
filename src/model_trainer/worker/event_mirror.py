"""events.jsonl: the run's event stream on disk, in order and without gaps."""

from pathlib import Path
from typing import Protocol

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
        self._path = path
        self._last_seq = _last_seq(path)

    def catch_up(self, store: EventSource, run_id: str) -> None:
        """Appends all events that are not in the file yet; a store that is away is tried again next time."""
        try:
            while events := store.events_after(run_id, after=self._last_seq, limit=PAGE):
                self._append(events)
        except AppError as error:
            log.warning(
                "event_mirror_waits", run_id=run_id, error_code=error.code.value, detail=error.message
            )

    def _append(self, events: tuple[StoredEvent, ...]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(event.model_dump_json() + "\n" for event in events)
        self._last_seq = events[-1].seq


def _last_seq(path: Path) -> int:
    """The last whole line's number; a torn last line is cut off, it will be written again."""
    if not path.exists():
        return 0
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) != len(data):
        path.write_bytes(whole)
    lines = whole.splitlines()
    return StoredEvent.model_validate_json(lines[-1]).seq if lines else 0
