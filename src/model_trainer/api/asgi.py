"""The ASGI interface with `object` where its own types say Any."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping

Scope = MutableMapping[str, object]
Message = MutableMapping[str, object]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

Header = tuple[bytes, bytes]


def headers_of(scope: Scope) -> list[Header]:
    """All header lines of a request, names in lower case, in the order they came."""
    return _pairs(scope.get("headers"))


def header_values(scope: Scope, name: bytes) -> list[bytes]:
    """Every line of one header; a header sent twice has two."""
    return [value for key, value in headers_of(scope) if key == name]


def text_of(scope: Scope, key: str) -> str:
    """A text entry of the scope (`path`, `method`); empty where there is none."""
    value = scope.get(key)
    return value if isinstance(value, str) else ""


def loggable_path(scope: Scope) -> str:
    """The path as a log may keep it: short, and without the authority that a client may have put before it."""
    path = text_of(scope, "path")
    return path[:200] if path.startswith("/") else "(not a path)"


def with_headers(message: Message, headers: list[Header]) -> Message:
    """A response start with more headers."""
    return {**message, "headers": [*_pairs(message.get("headers")), *headers]}


def _pairs(lines: object) -> list[Header]:
    found: list[Header] = []
    if isinstance(lines, Iterable):
        entries: Iterable[object] = lines
        for entry in entries:
            match entry:
                case (bytes() as name, bytes() as value) | [bytes() as name, bytes() as value]:
                    found.append((name.lower(), value))
                case _:
                    continue
    return found
