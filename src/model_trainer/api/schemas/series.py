"""What a run leaves behind while it goes: rows of its series, lines of its log, its events."""

from typing import Annotated

from pydantic import Field

from model_trainer.core.contracts.base import Contract, JsonObject
from model_trainer.core.contracts.events import StoredEvent
from model_trainer.core.contracts.run import RunRecord

Tail = Annotated[int, Field(ge=0, le=10_000)]


class SeriesRow(Contract):
    """One logged step: metrics are a function of spec, data and seed; timings are not."""

    step: int
    metrics: dict[str, float]
    timings: dict[str, float]


class SeriesView(Contract):
    """The whole series of a run."""

    run_id: str
    data: tuple[SeriesRow, ...]


class LogsQuery(Contract):
    """How much of a log."""

    tail: Tail = 200
    """The last lines of the log."""


class LogsView(Contract):
    """The last lines of a run's log."""

    run_id: str
    data: tuple[JsonObject, ...]
    """Oldest first."""
    next_offset: int
    """Where the log went on when it was read: the Last-Event-ID for /logs/stream."""


class EventsQuery(Contract):
    """Which events."""

    after: Annotated[int, Field(ge=0, lt=2**53)] = 0
    """Only events with a higher sequence number; the header Last-Event-ID goes before."""
    limit: Annotated[int, Field(ge=1, le=1000)] = 500
    """Events in one JSON answer; a stream has no end but the run's."""


class EventsView(Contract):
    """A run's events, in order."""

    run_id: str
    data: tuple[StoredEvent, ...]
    has_more: bool
    """Whether more had happened already; ask again with after=last_seq."""
    last_seq: int


class Ended(Contract):
    """Data of the `done` event that ends a stream."""

    run_id: str
    status: str


def ending_of(record: RunRecord) -> str | None:
    """Data of the `done` event, as JSON; None for a run that goes on."""
    if not record.status.is_terminal:
        return None
    return Ended(run_id=record.run_id, status=record.status.value).model_dump_json()
