"""What every request passes: a name, the key, limits on its body, one way to say how long it is."""

import asyncio
import io

import pytest
from starlette.testclient import TestClient

from model_trainer.api.asgi import (
    AsgiApp,
    Message,
    Receive,
    Scope,
    Send,
    header_values,
    loggable_path,
    text_of,
)
from model_trainer.api.main import create_app
from model_trainer.api.middleware.access_log import AccessLogMiddleware
from model_trainer.api.middleware.auth import AuthMiddleware
from model_trainer.api.middleware.body_limit import BodyLimitMiddleware
from model_trainer.api.middleware.framing import FramingMiddleware
from model_trainer.api.middleware.request_id import RequestIdMiddleware, current_request_id
from model_trainer.core.contracts.ids import is_ulid
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import configure_logging
from tests.unit.api.conftest import Connect
from tests.unit.api.service import Service, settings_with

KEY = "correct-horse"


@pytest.fixture
def guarded(connect: Connect) -> TestClient:
    """A service with a key."""
    return connect(Service(settings=settings_with(api_key=KEY)))


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Api-Key": KEY},
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer  {KEY} "},
    ],
)
def test_the_key_opens_either_way(guarded: TestClient, headers: dict[str, str]) -> None:
    assert guarded.get("/runs", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("X-Api-Key", "")],
        [("X-Api-Key", "   ")],
        [("X-Api-Key", "wrong")],
        [("X-Api-Key", KEY + "x")],
        [("X-Api-Key", "x" * 5000)],
        [("X-Api-Key", "schlüssel".encode())],
        [("X-Api-Key", KEY), ("X-Api-Key", "wrong")],
        [("X-Api-Key", "wrong"), ("X-Api-Key", KEY)],
        [("X-Api-Key", KEY), ("Authorization", f"Bearer {KEY}")],
        [("Authorization", KEY)],
        [("Authorization", f"Basic {KEY}")],
    ],
)
def test_everything_else_is_unauthorized(guarded: TestClient, headers: list[tuple[str, str]]) -> None:
    answer = guarded.get(f"/runs?api_key={KEY}", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHORIZED")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_health_stays_open_and_metrics_and_docs_as_settings_say(connect: Connect) -> None:
    closed = connect(Service(settings=settings_with(api_key=KEY, protect_docs=True, protect_metrics=True)))
    opened = connect(Service(settings=settings_with(api_key=KEY, protect_docs=False, protect_metrics=False)))

    def statuses(client: TestClient) -> list[int]:
        return [client.get(path).status_code for path in ("/healthz", "/docs", "/openapi.json", "/metrics")]

    assert statuses(closed) == [200, 401, 401, 401]
    assert statuses(opened) == [200, 200, 200, 200]
    assert closed.get("/readyz").status_code == 503


def test_the_key_is_never_logged(connect: Connect) -> None:
    log = io.StringIO()
    configure_logging(service="model-trainer-test", level="DEBUG", readable=False, stream=log)
    client = connect(Service(settings=settings_with(api_key=KEY)))

    client.get(f"/runs?api_key={KEY}")
    client.get(f"/runs?api_key={KEY}", headers={"X-Api-Key": KEY})

    assert "request_answered" in log.getvalue()
    assert KEY not in log.getvalue()


def test_a_sane_request_id_is_echoed_and_any_other_replaced(client: TestClient) -> None:
    assert (
        client.get("/healthz", headers={"X-Request-ID": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    )
    for bad in (b"", b"a b", b"x" * 200, "ü".encode()):
        assert is_ulid(client.get("/healthz", headers=[(b"X-Request-ID", bad)]).headers["x-request-id"])
    twice = client.get("/healthz", headers=[("X-Request-ID", "a"), ("X-Request-ID", "b")])
    assert is_ulid(twice.headers["x-request-id"])
    assert current_request_id() == ""


def test_a_body_over_the_limit_is_refused_by_its_announced_length(client: TestClient) -> None:
    answer = client.post("/runs/train", content=b"x" * 20_000, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (413, "REQUEST_TOO_LARGE")


def test_a_body_over_the_limit_is_refused_while_it_streams_in(client: TestClient) -> None:
    answer = client.post(
        "/runs/train", content=iter([b"x" * 10_000] * 9), headers={"Content-Type": "application/json"}
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "REQUEST_TOO_LARGE")


class Wire:
    """An ASGI server's end: what it gives and what it got."""

    def __init__(self, headers: list[tuple[bytes, bytes]], *messages: Message, kind: str = "http") -> None:
        self.scope: Scope = {"type": kind, "method": "POST", "path": "/x", "headers": headers}
        self.sent: list[Message] = []
        self._messages = list(messages)

    async def receive(self) -> Message:
        if self._messages:
            return self._messages.pop(0)
        await asyncio.sleep(60)
        raise AssertionError

    async def send(self, message: Message) -> None:
        self.sent.append(message)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"3"), (b"transfer-encoding", b"chunked")],
        [(b"content-length", b"3"), (b"content-length", b"3")],
        [(b"content-length", b"3, 3")],
        [(b"content-length", b"-3")],
        [(b"transfer-encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")],
    ],
)
def test_two_ways_to_read_a_length_are_one_too_many(headers: list[tuple[bytes, bytes]]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("must not be reached")

    wire = Wire(headers)
    asyncio.run(FramingMiddleware(app)(wire.scope, wire.receive, wire.send))

    assert wire.sent[0]["status"] == 400
    assert (b"connection", b"close") in header_values_of(wire.sent[0])


def header_values_of(message: Message) -> list[tuple[bytes, bytes]]:
    """Headers of a response start."""
    headers = message["headers"]
    assert isinstance(headers, list)
    return headers


def test_a_body_that_trickles_in_is_refused() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            await receive()

    wire = Wire([], {"type": "http.request", "body": b"x", "more_body": True})
    with pytest.raises(AppError) as refused:
        asyncio.run(
            BodyLimitMiddleware(app, max_bytes=9, max_file_bytes=99, body_seconds=0.01)(
                wire.scope, wire.receive, wire.send
            )
        )

    assert refused.value.code is ErrorCode.CONFIG_INVALID


def test_a_file_may_take_its_time_as_long_as_it_comes() -> None:
    num_bytes = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal num_bytes
        while (message := await receive())["more_body"]:
            body = message["body"]
            assert isinstance(body, bytes)
            num_bytes += len(body)

    async def slowly() -> Message:
        await asyncio.sleep(0.03)
        return {"type": "http.request", "body": b"x", "more_body": num_bytes < 8}

    wire = Wire([])
    for scope in (
        {**wire.scope, "method": "POST", "path": "/files"},
        {**wire.scope, "method": "PATCH", "path": "/files/uploads/x"},
    ):
        num_bytes = 0
        limit = BodyLimitMiddleware(app, max_bytes=1, max_file_bytes=99, body_seconds=0.2)
        asyncio.run(limit(scope, slowly, wire.send))
        assert num_bytes == 8


def test_a_file_that_stops_coming_is_refused() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            await receive()

    wire = Wire([], {"type": "http.request", "body": b"x", "more_body": True})
    scope = {**wire.scope, "method": "POST", "path": "/files"}
    limit = BodyLimitMiddleware(app, max_bytes=1, max_file_bytes=99, body_seconds=0.01)
    with pytest.raises(AppError) as refused:
        asyncio.run(limit(scope, wire.receive, wire.send))

    assert refused.value.code is ErrorCode.CONFIG_INVALID


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/files"), ("POST", "/files/uploads"), ("POST", "/filesx"), ("PATCH", "/files")],
)
def test_only_files_are_large(method: str, path: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("must not be reached")

    wire = Wire([(b"content-length", b"10")])
    limit = BodyLimitMiddleware(app, max_bytes=9, max_file_bytes=99)
    asyncio.run(limit({**wire.scope, "method": method, "path": path}, wire.receive, wire.send))

    assert wire.sent[0]["status"] == 413


def test_waiting_for_the_end_of_a_connection_has_no_deadline() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(receive(), 0.05)

    wire = Wire([], {"type": "http.request", "body": b"x", "more_body": False})
    asyncio.run(
        BodyLimitMiddleware(app, max_bytes=9, max_file_bytes=99, body_seconds=0.01)(
            wire.scope, wire.receive, wire.send
        )
    )


def test_an_announced_length_of_too_many_digits_is_too_large() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("must not be reached")

    wire = Wire([(b"content-length", b"9" * 5000)])
    asyncio.run(BodyLimitMiddleware(app, max_bytes=9, max_file_bytes=99)(wire.scope, wire.receive, wire.send))

    assert wire.sent[0]["status"] == 413


class Meter:
    """Remembers what was counted."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, int]] = []

    def observe(self, *, route: str, method: str, status: int, seconds: float) -> None:
        self.seen.append((route, method, status))


def test_what_is_no_http_request_passes_untouched() -> None:
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    meter = Meter()
    wire = Wire([], kind="lifespan")
    layers: list[AsgiApp] = [
        BodyLimitMiddleware(app, max_bytes=1, max_file_bytes=1),
        AuthMiddleware(app, settings=settings_with(api_key=KEY)),
        FramingMiddleware(app),
        AccessLogMiddleware(app, meter=meter),
        RequestIdMiddleware(app),
    ]

    async def through_all() -> None:
        for layer in layers:
            await layer(wire.scope, wire.receive, wire.send)

    asyncio.run(through_all())

    assert seen == ["lifespan"] * 5
    assert meter.seen == []


def test_labels_of_requests_are_of_a_bounded_set() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    meter = Meter()
    wire = Wire([])
    wire.scope["method"] = "BREW"
    asyncio.run(AccessLogMiddleware(app, meter=meter)(wire.scope, wire.receive, wire.send))

    assert meter.seen == [("unmatched", "other", 404)]


def test_a_scope_without_headers_or_path_has_none() -> None:
    assert header_values({"headers": None}, b"a") == []
    assert header_values({"headers": [("a", "b"), (b"a", b"c"), [b"A", b"d"]]}, b"a") == [b"c", b"d"]
    assert text_of({}, "path") == ""


def test_a_client_that_leaves_before_its_body_is_complete_is_no_fault_of_the_server(service: Service) -> None:
    app = create_app(service.container)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"9")]
    wire = Wire(
        headers, {"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}
    )
    wire.scope.update(
        {"path": "/runs/train", "raw_path": b"/runs/train", "query_string": b"", "scheme": "http"}
    )

    asyncio.run(app(wire.scope, wire.receive, wire.send))

    assert wire.sent[0]["status"] == 400


def test_what_stands_before_a_path_is_not_logged() -> None:
    assert loggable_path({"path": "http://secret@host/runs"}) == "(not a path)"
    assert loggable_path({"path": "/" + "x" * 999}) == "/" + "x" * 199
