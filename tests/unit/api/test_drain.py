"""What comes after an answer is read and thrown away, so that no server waits for somebody to take it."""

import asyncio

import pytest

from model_trainer.api.asgi import Header, Message, Receive, Scope, Send
from model_trainer.api.middleware.drain import DrainMiddleware

LENGTH: list[Header] = [(b"content-length", b"30")]
GONE: Message = {"type": "http.disconnect"}


def part(*, more: bool) -> Message:
    return {"type": "http.request", "body": b"x", "more_body": more}


class Server:
    """Hands a body over through a queue of one; an answer ends when all of it, and the end of the connection, is in there."""

    def __init__(self, *messages: Message) -> None:
        self._coming = list(messages)
        self._queue: asyncio.Queue[Message] = asyncio.Queue(maxsize=1)
        self._is_fed = asyncio.Event()
        self.num_received = 0

    async def feed(self) -> None:
        for message in self._coming:
            await self._queue.put(message)
        self._is_fed.set()

    async def receive(self) -> Message:
        self.num_received += 1
        return await self._queue.get()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            await self._is_fed.wait()
            await self._queue.put(GONE)


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 409, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def answered(server: Server, headers: list[Header], *, seconds: float = 5.0, kind: str = "http") -> None:
    async def serve() -> None:
        feeding = asyncio.create_task(server.feed())
        scope: Scope = {"type": kind, "headers": headers}
        drain = DrainMiddleware(refuse, afterwards_seconds=seconds)
        await asyncio.wait_for(drain(scope, server.receive, server.send), 5)
        feeding.cancel()

    asyncio.run(serve())


@pytest.mark.parametrize("headers", [LENGTH, [(b"transfer-encoding", b"chunked")]])
def test_an_answer_before_the_end_of_the_body_is_not_stuck_with_it(headers: list[Header]) -> None:
    server = Server(*[part(more=True)] * 9)
    answered(server, headers)

    assert server.num_received >= 10


def test_without_it_the_server_would_be_stuck() -> None:
    server = Server(*[part(more=True)] * 9)
    with pytest.raises(TimeoutError):
        answered(server, [])


def test_a_body_that_was_read_leaves_nothing_to_take_in() -> None:
    server = Server(part(more=False))
    answered(server, LENGTH)

    assert server.num_received == 1


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"0")]])
def test_a_request_without_a_body_is_left_alone(headers: list[Header]) -> None:
    server = Server(part(more=True))
    answered(server, headers)

    assert server.num_received == 1


def test_what_is_no_http_request_is_left_alone() -> None:
    server = Server(part(more=True))
    answered(server, LENGTH, kind="websocket")

    assert server.num_received == 1


def test_a_connection_that_does_not_end_is_not_waited_for_for_ever() -> None:
    class Endless(Server):
        async def send(self, message: Message) -> None:
            """Says nothing of an end."""

    server = Endless(*[part(more=True)] * 3)
    answered(server, LENGTH, seconds=0.05)

    assert server.num_received == 4
