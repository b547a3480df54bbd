"""Reading a run's stream of events. Writing is the scripts' business: it is part of each change."""

from pydantic import TypeAdapter, ValidationError

from model_trainer.core.contracts.events import StoredEvent, event_adapter
from model_trainer.infra.persistence.redis_client import RedisClient

LARGEST_SEQ = 2**53

_entries: TypeAdapter[list[tuple[str, dict[str, str]]]] = TypeAdapter(list[tuple[str, dict[str, str]]])


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
        entries = _entries.validate_python(reply)
        for entry_id, fields in entries:
            seq = int(entry_id.partition("-")[0])
            found += _decoded(seq, fields)
        if len(entries) < wanted:
            break
    return tuple(found)


def _decoded(seq: int, fields: dict[str, str]) -> list[StoredEvent]:
    try:
        event = event_adapter.validate_json(fields["event"])
    except ValidationError:
        return []
    return [StoredEvent(seq=seq, at_ms=int(fields["at_ms"]), event=event)]
