"""Reading a run's stream of events. Writing is the scripts' business: it is part of each change."""

from collections.abc import Mapping

from pydantic import TypeAdapter

from model_trainer.core.contracts.events import StoredEvent, event_adapter
from model_trainer.infra.persistence.redis_client import RedisClient

LARGEST_SEQ = 2**53

StreamEntry = tuple[str, dict[str, str]]
"""The id of an entry, and its fields."""
stream_entries: TypeAdapter[list[StreamEntry]] = TypeAdapter(list[StreamEntry])


def stream_key(run_id: str) -> str:
    """The stream of a run; entry `<seq>-0` is event number seq."""
    return f"runs:{run_id}:stream"


def read_events(client: RedisClient, run_id: str, *, after: int, limit: int) -> tuple[StoredEvent, ...]:
    """Events with seq > after, in order; those of a version that is not known here are passed over."""
    found: list[StoredEvent] = []
    seq = min(max(after, 0), LARGEST_SEQ)
    while len(found) < limit:
        wanted = limit - len(found)
        reply = client.call("XRANGE", stream_key(run_id), f"{seq + 1}-0", "+", "COUNT", wanted)
        entries = stream_entries.validate_python(reply)
        for entry_id, fields in entries:
            seq = int(entry_id.partition("-")[0])
            event = event_of(seq, fields)
            found += [] if event is None else [event]
        if len(entries) < wanted:
            break
    return tuple(found)


def event_of(seq: int, fields: Mapping[str, str]) -> StoredEvent | None:
    """The event in one entry of a stream; None when its version is not known here, or when it is no event at all."""
    try:
        event = event_adapter.validate_json(fields.get("event", ""))
        return StoredEvent(seq=seq, at_ms=int(fields.get("at_ms", "")), event=event)
    except ValueError:  # pydantic's ValidationError is one too
        return None
