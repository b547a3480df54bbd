"""The feed in Redis: one stream that refers to the events of all runs in the order in which they were told."""

import re

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model_trainer.core.contracts.events import StoredEvent
from model_trainer.core.contracts.feed import START, FeedItem, FeedPage
from model_trainer.core.logging import get_logger
from model_trainer.infra.persistence.redis_client import Command, RedisClient, number
from model_trainer.infra.persistence.run_events import (
    LARGEST_SEQ,
    StreamEntry,
    event_of,
    read_events,
    stream_entries,
    stream_key,
)
from model_trainer.infra.persistence.run_signal import ANY_RUN, RedisRunSignal

log = get_logger(__name__)

FEED = "trainer:feed"
"""An entry refers to an event: run_id and seq. Its id is the position."""
FEED_LENGTH = 100_000
"""About how many references are kept; the oldest go first."""

_POSITION = re.compile(r"[0-9]{1,18}-[0-9]{1,18}")
_LONGEST_TYPE = 80


class RedisEventFeed:
    """See EventFeed. Safe to share between threads; waiting belongs to one event loop.

    A reader whose position is in the feed no more is told of the gap and begins with the oldest that there is. So it
    hears everything, whatever became of its position: trimmed away, or lost with a Redis whose successor hands out smaller
    ids because its clock is behind. START has a gap once the feed is full, as it may have been trimmed then.
    """

    def __init__(self, client: RedisClient, url: str) -> None:
        """`url`: where the client's server is heard of news."""
        self._client = client
        self._signal = RedisRunSignal(url)
        self._types_not_understood: set[str] = set()

    def read(self, *, after: str, limit: int) -> FeedPage:
        """See EventFeed."""
        entries, has_gap = self._behind(after, limit + 1)
        covered = entries[:limit]
        items, num_unknown = self._items(covered)
        nothing = START if has_gap else after
        return FeedPage(
            items=items,
            position=covered[-1][0] if covered else nothing,
            num_unknown=num_unknown,
            has_gap=has_gap,
            has_more=len(entries) > limit,
        )

    def end(self) -> str:
        """See EventFeed."""
        newest = stream_entries.validate_python(self._client.call("XREVRANGE", FEED, "+", "-", "COUNT", 1))
        return newest[0][0] if newest else START

    def of_run(self, run_id: str, *, after: int, limit: int) -> tuple[StoredEvent, ...]:
        """See EventFeed."""
        return read_events(self._client, run_id, after=after, limit=limit)

    async def wait(self, *, timeout_seconds: float) -> None:
        """See EventFeed."""
        await self._signal.wait(ANY_RUN, timeout_seconds=timeout_seconds)

    async def close(self) -> None:
        """See EventFeed."""
        await self._signal.close()

    def _behind(self, after: str, count: int) -> tuple[list[StreamEntry], bool]:
        """Up to `count` entries, and whether some before them may be missing."""
        if after == START:
            oldest, length = self._client.many([_oldest(count), ("XLEN", FEED)])
            return stream_entries.validate_python(oldest), number.validate_python(length) >= FEED_LENGTH
        if _POSITION.fullmatch(after) is not None:
            # The entry itself and those behind it in one command: nothing is trimmed between the two questions.
            reply = self._client.call("XRANGE", FEED, after, "+", "COUNT", count + 1)
            entries = stream_entries.validate_python(reply)
            if entries and entries[0][0] == after:
                return entries[1:], False
        return stream_entries.validate_python(self._client.call(*_oldest(count))), True

    def _items(self, entries: list[StreamEntry]) -> tuple[tuple[FeedItem, ...], int]:
        """The events that these entries refer to, and how many of them are not understood. A reference that leads nowhere,
        to a run that was forgotten, is passed over."""
        references = [(position, _reference(fields)) for position, fields in entries]
        known = [(position, reference) for position, reference in references if reference is not None]
        replies = self._client.many([_body(reference) for _, reference in known])
        items: list[FeedItem] = []
        num_unknown = len(references) - len(known)
        if num_unknown:
            self._say_not_understood("a reference")
        for (position, reference), reply in zip(known, replies, strict=True):
            for _, fields in stream_entries.validate_python(reply):
                event = event_of(reference.seq, fields)
                if event is None:
                    num_unknown += 1
                    self._say_not_understood(fields.get("type", "")[:_LONGEST_TYPE])
                else:
                    items.append(FeedItem(position=position, stored=event))
        return tuple(items), num_unknown

    def _say_not_understood(self, kind: str) -> None:
        """Once for each type of event."""
        if kind not in self._types_not_understood:
            self._types_not_understood.add(kind)
            log.warning("event_not_understood", detail=kind)


class _Reference(BaseModel):
    model_config = ConfigDict(extra="ignore")
    run_id: str
    seq: int = Field(ge=1, le=LARGEST_SEQ)


def _reference(fields: dict[str, str]) -> _Reference | None:
    """None for what is no reference: anybody may add to a stream."""
    try:
        return _Reference.model_validate(fields)
    except ValidationError:
        return None


def _oldest(count: int) -> Command:
    return ("XRANGE", FEED, "-", "+", "COUNT", count)


def _body(reference: _Reference) -> Command:
    entry = f"{reference.seq}-0"
    return ("XRANGE", stream_key(reference.run_id), entry, entry)
