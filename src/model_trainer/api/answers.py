"""Waits for answers of trained models, or tells them as they come: one look for all who wait for the same one, no thread
for any of them."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass

from starlette.responses import Response

from model_trainer.api.asgi import Receive, Scope, Send
from model_trainer.api.schemas.inference import question_json, view_piece
from model_trainer.api.streams import POLL_SECONDS, Streams, until_gone
from model_trainer.api.watching import Look, Step, Watches
from model_trainer.core.contracts.inference import InferenceKind, InferenceRecord
from model_trainer.core.errors import AppError
from model_trainer.core.ports.inference import InferenceStore
from model_trainer.core.ports.runs import RunSignal

PAGE = 500
"""Pieces that one look brings."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a question stands."""

    record: InferenceRecord

    @property
    def says_something(self) -> bool:
        """See Seen."""
        return self.record.status.is_terminal


@dataclass(frozen=True, slots=True)
class _LookForAnswer:
    """Equal for all who ask after questions of one kind to one run, so that they can share a watch."""

    inference: InferenceStore
    kind: InferenceKind
    run_id: str

    def __call__(self, request_id: str, _position: int) -> Answer:
        return Answer(self.inference.get(self.kind, self.run_id, request_id))


@dataclass(frozen=True, slots=True)
class _LookForPieces:
    inference: InferenceStore
    kind: InferenceKind
    run_id: str

    def __call__(self, request_id: str, position: int) -> Look:
        record = self.inference.get(self.kind, self.run_id, request_id)
        ending = question_json(record) if record.status.is_terminal else None
        pieces = map(view_piece, self.inference.pieces_after(record, after=position, limit=PAGE))
        return Look(ending, tuple(Step(one.seq, "token", one.model_dump_json()) for one in pieces))


class Answers:
    """What all who wait for answers in one app share."""

    def __init__(
        self,
        inference: InferenceStore,
        streams: Streams,
        *,
        signal: RunSignal,
        stopping: asyncio.Event,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._inference = inference
        self._streams = streams
        self._waiting: Watches[Answer] = Watches(signal=signal, stopping=stopping, poll_seconds=poll_seconds)
        self._telling: Watches[Look] = Watches(signal=signal, stopping=stopping, poll_seconds=poll_seconds)

    async def wait(self, record: InferenceRecord, *, patience_seconds: float) -> InferenceRecord:
        """The question once it is answered or has failed; as it stood before when patience ends or the server stops.

        A store that is away only takes longer. Raises REQUEST_NOT_FOUND when the answer has expired.
        """
        if record.status.is_terminal:
            return record
        request = record.request
        look = _LookForAnswer(self._inference, request.kind, request.run_id)
        found = await self._waiting.news(look, request.request_id, 0, patience_seconds=patience_seconds)
        if isinstance(found, AppError):
            raise found
        return record if found is None else found.record

    def follow(self, record: InferenceRecord, *, after: int) -> AsyncGenerator[bytes, None]:
        """The pieces of an answer behind number `after`, as they come, then `done` with the whole view."""
        request = record.request
        look = _LookForPieces(self._inference, request.kind, request.run_id)
        return self._streams.follow(request.request_id, after, look, watches=self._telling)


class AwaitedResponse(Response):
    """An answer that is waited for until the client leaves."""

    def __init__(
        self, coming: Callable[[], Coroutine[object, object, Response]], *, instead: Callable[[], Response]
    ) -> None:
        """`instead`: made for a client that has left. It reads it no more, but the log says what it had been told."""
        super().__init__()
        self._coming = coming
        self._instead = instead

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers; nobody waits any more when this returns."""
        waiting = asyncio.create_task(self._coming())
        leaving = asyncio.create_task(until_gone(receive))
        try:
            await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
            response = waiting.result() if waiting.done() else self._instead()
        finally:
            waiting.cancel()
            leaving.cancel()
            await asyncio.wait({waiting, leaving})
        await response(scope, receive, send)
