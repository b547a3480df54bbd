"""Server-sent events (WHATWG HTML, section 9.2): lines in, events out. Knows no connection."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from model_trainer.client.views import ServerEvent
from model_trainer.core.contracts.base import parse_json_object


@dataclass(slots=True)
class _Draft:
    """The event whose lines are being read."""

    name: str = "message"
    data: list[str] = field(default_factory=list)
    id: str | None = None


def read_events(lines: Iterable[str]) -> Iterator[ServerEvent]:
    """The events in a stream of lines; comments (pings) and events without data are passed over.

    An event that the stream breaks off in is dropped, as the specification has it: the reader asks for it again.
    """
    draft = _Draft()
    for raw in lines:
        line = raw.rstrip("\r\n")
        if not line:
            if draft.data:
                yield ServerEvent(id=draft.id, name=draft.name, data=parse_json_object("\n".join(draft.data)))
            draft = _Draft()
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                draft.data.append(value)
            case "event":
                draft.name = value
            case "id":
                draft.id = value
            case _:  # a comment, `retry`, or a field of a later specification
                continue
