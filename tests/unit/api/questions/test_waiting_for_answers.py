"""Waiting for answers of models: it costs no thread, and ends when nobody waits."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from model_trainer.api.answers import Answers, AwaitedResponse
from model_trainer.api.asgi import Message
from model_trainer.api.main import create_app
from model_trainer.api.requests import preferred_wait
from model_trainer.api.streams import Streams
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.inference import (
    InferenceKind,
    InferenceRecord,
    InferenceRequest,
    InferenceStatus,
)
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.memory import MemoryRunSignal
from model_trainer.infra.persistence.memory_inference import MemoryInferenceStore
from tests.unit.api.answering import answer_all
from tests.unit.api.orders import training
from tests.unit.api.questions.asked import QUESTIONS
from tests.unit.api.service import Service
from tests.unit.api.streams import run


class Waiting:
    """Those who wait for the answers of a service, within one event loop."""

    def __init__(self) -> None:
        self.service = Service()
        self.stopping = asyncio.Event()
        self.signal = MemoryRunSignal()
        store = self.service.inference
        self.answers = Answers(
            store,
            Streams(signal=self.signal, stopping=self.stopping),
            signal=self.service.inference_signal,
            stopping=self.stopping,
            poll_seconds=60,
        )
        request = InferenceRequest(
            request_id=new_ulid(),
            kind=InferenceKind.GENERATE,
            run_id=new_ulid(),
            spec={"prompt_text": "Once"},
            batch_key="one",
            http_request_id="r",
        )
        self.record = store.submit(request, idempotency=None).record


def test_many_wait_for_one_answer_and_all_get_it_at_once() -> None:
    async def test() -> None:
        many = Waiting()
        waiting = [
            asyncio.create_task(many.answers.wait(many.record, patience_seconds=60)) for _ in range(200)
        ]
        await asyncio.sleep(0.05)
        assert not any(one.done() for one in waiting)
        answer_all(many.service.inference)
        found = await asyncio.gather(*waiting)
        assert {one.status for one in found} == {InferenceStatus.COMPLETED}

    run(test)


def test_who_runs_out_of_patience_gets_the_question_as_it_was() -> None:
    async def test() -> None:
        one = Waiting()
        assert await one.answers.wait(one.record, patience_seconds=0.02) == one.record

    run(test)


def test_an_answer_that_has_expired_is_not_waited_for() -> None:
    async def test() -> None:
        one = Waiting()
        gone = one.record.model_copy(
            update={"request": one.record.request.model_copy(update={"request_id": new_ulid()})}
        )
        with pytest.raises(AppError) as refused:
            await one.answers.wait(gone, patience_seconds=20)
        assert refused.value.code is ErrorCode.REQUEST_NOT_FOUND

    run(test)


def test_nobody_waits_for_a_server_that_stops() -> None:
    async def test() -> None:
        one = Waiting()
        waiting = asyncio.create_task(one.answers.wait(one.record, patience_seconds=60))
        await asyncio.sleep(0.02)
        one.stopping.set()
        assert await waiting == one.record

    run(test)


async def responded(response: Response, receive: Callable[[], Awaitable[Message]]) -> list[Message]:
    """What a response sends to a client that says this."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await response({"type": "http", "method": "POST"}, receive, send)
    return sent


def test_a_client_that_leaves_is_not_waited_for() -> None:
    async def test() -> None:
        was_cancelled = asyncio.Event()

        async def coming() -> Response:
            try:
                await asyncio.sleep(60)
            finally:
                was_cancelled.set()
            return Response(status_code=200)

        async def leave() -> Message:
            await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

        sent = await responded(AwaitedResponse(coming, instead=lambda: Response(status_code=202)), leave)
        assert was_cancelled.is_set()
        assert sent[0]["status"] == 202

    run(test)


def test_a_client_that_stays_gets_the_answer_or_the_fault() -> None:
    async def test() -> None:
        async def stay() -> Message:
            await asyncio.sleep(60)
            raise AssertionError

        async def coming() -> Response:
            return Response(status_code=200)

        async def failing() -> Response:
            raise AppError(ErrorCode.REQUEST_NOT_FOUND, "It has expired.")

        def instead() -> Response:
            raise AssertionError("made for nobody")

        [start, _] = await responded(AwaitedResponse(coming, instead=instead), stay)
        assert start["status"] == 200
        with pytest.raises(AppError):
            await responded(AwaitedResponse(failing, instead=instead), stay)

    run(test)


class Forgetful(MemoryInferenceStore):
    """Whatever is looked for a second time has expired."""

    num_looks = 0

    def get(self, kind: InferenceKind, run_id: str, request_id: str) -> InferenceRecord:
        self.num_looks += 1
        if self.num_looks > 1:
            raise AppError(ErrorCode.REQUEST_NOT_FOUND, "It has expired.")
        return super().get(kind, run_id, request_id)


def test_an_answer_that_expires_while_it_is_waited_for_is_not_found(service: Service) -> None:
    store = Forgetful(service.settings.inference, clock=time.time, announce=service.inference_signal.announce)
    app = create_app(replace(service.container, inference=store))
    with TestClient(app, raise_server_exceptions=False) as client:
        run_id = training(client, service)
        service.finished(run_id)
        asked = client.post(f"/runs/{run_id}/score", json=QUESTIONS["score"]).json()
        answer = client.get(asked["links"]["self"], headers={"Prefer": "wait=30"})

    assert (answer.status_code, answer.json()["code"]) == (404, "REQUEST_NOT_FOUND")


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ([], None),
        (["wait=10"], 10.0),
        (["Wait = 10"], 10.0),
        (['wait="10"'], 10.0),
        (["respond-async, wait=10"], 10.0),
        (["respond-async", "wait=10; foo"], 10.0),
        (['foo="a, wait=3", wait=10'], 10.0),
        (["wait=10, wait=3"], 10.0),
        (["wait=1000"], 60.0),
        (["wait=9999999999"], None),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait"], None),
        (["wait=\N{ARABIC-INDIC DIGIT ONE}"], None),
        (['wait="'], None),
        (["waiting=10"], None),
        ([""], None),
    ],
)
def test_a_preference_that_cannot_be_understood_is_passed_over(
    lines: list[str], seconds: float | None
) -> None:
    headers = [(b"prefer", line.encode("latin-1", "replace")) for line in lines]

    assert preferred_wait(Request({"type": "http", "headers": headers}), most_seconds=60.0) == seconds
