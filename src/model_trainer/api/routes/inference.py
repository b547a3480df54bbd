"""/runs/{run_id}/generate, /score, /chat and /predict: questions to trained models, and their answers."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from model_trainer.api.answers import Answers, AwaitedResponse
from model_trainer.api.middleware.request_id import current_request_id
from model_trainer.api.openapi import order_body
from model_trainer.api.problems import problem_response
from model_trainer.api.requests import idempotency_of, parse_body, preferred_wait, read_json_body
from model_trainer.api.routes.accepted import REPLAYED
from model_trainer.api.routes.endpoints import (
    IDEMPOTENCY_KEY,
    LAST_EVENT_ID,
    PREFER,
    SCHEMA_REF,
    ConversationIdPath,
    RequestIdPath,
    RunIdPath,
    add,
)
from model_trainer.api.schemas.inference import (
    STREAMED,
    ChatView,
    GenerationView,
    PredictionsView,
    ScoreView,
    place_of,
    question_json,
)
from model_trainer.api.streams import EVENT_STREAM, Streams, last_event_id
from model_trainer.api.validators.inference import check_question
from model_trainer.container import Container
from model_trainer.core.contracts.base import Contract, JsonObject
from model_trainer.core.contracts.inference import (
    ChatSpec,
    Conversation,
    GenerateSpec,
    InferenceKind,
    InferenceRecord,
    InferenceSubmission,
    SamplingSpec,
    ScoreSpec,
)
from model_trainer.core.contracts.prediction import PredictSpec
from model_trainer.core.contracts.run import IdempotencyKey
from model_trainer.core.errors import AppError, FieldFault
from model_trainer.orchestrators.inference import AskSpec, InferenceOrchestrator

SpecT = TypeVar("SpecT", bound=AskSpec)

APPLIED = "Preference-Applied"
ANSWER_HEADERS: JsonObject = {
    "Location": {"description": "Where the answer is found.", "schema": {"type": "string"}},
    APPLIED: {"description": "How long was waited at most, as in `wait=10`.", "schema": {"type": "string"}},
    REPLAYED: {
        "description": "true when an earlier request with this Idempotency-Key had asked.",
        "schema": {"type": "string", "enum": ["true"]},
    },
}
EVENTS: dict[int, JsonObject] = {
    200: {
        "description": "Server-sent events: `token` (data: {sequence, text, seq}; id: seq) for a question with `stream`, "
        "at the end `done` (data: the question with its answer).",
        "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
    }
}


class InferenceRoutes:
    """Handlers of all kinds of questions."""

    def __init__(self, container: Container, streams: Streams, answers: Answers) -> None:
        asking = InferenceOrchestrator(inference=container.inference, workers=container.workers)
        self._parts = _Parts(container, streams, answers, asking)

    def add_to(self, app: FastAPI) -> None:
        """Adds the routes."""
        _Questions(self._parts, InferenceKind.GENERATE, GenerateSpec).add_to(
            app,
            view=GenerationView,
            summary="Have a language model go on from a prompt",
            description="One to ten texts, each told as it comes if asked for. The same seed gives the same texts.",
        )
        _Questions(self._parts, InferenceKind.SCORE, ScoreSpec).add_to(
            app,
            view=ScoreView,
            summary="Measure how well a language model knows a text",
            description="Loss, perplexity and bits per byte; with `per_char` the surprisal of every token, and the characters "
            "it stands for.",
        )
        _Questions(self._parts, InferenceKind.CHAT, ChatSpec).add_to(
            app,
            view=ChatView,
            summary="Say something to a language model",
            description="Begins a conversation, or goes on with that of `conversation_id`. What the model's context has no room "
            "for is left out by whole turns, the oldest first.",
        )
        _Questions(self._parts, InferenceKind.PREDICT, PredictSpec).add_to(
            app,
            view=PredictionsView,
            summary="Judge texts with a detector",
            description="Probability, verdict, band and each window's score. Not evidence against a person. Large amounts of "
            "text are better judged where they lie: `model-trainer predict` with the runtime bundle.",
        )
        add(
            app,
            "GET",
            "/runs/{run_id}/chat/conversations/{conversation_id}",
            self.conversation,
            operation_id="get_conversation",
            summary="What was said in a conversation so far",
            tag="runs",
            view=Conversation,
            problems=[404],
        )

    def conversation(self, run_id: RunIdPath, conversation_id: ConversationIdPath) -> Conversation:
        """The system text and the newest 200 turns, also those that the model's context has no room for any more."""
        return self._parts.asking.conversation(run_id, conversation_id)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What handlers of all kinds work with."""

    container: Container
    streams: Streams
    answers: Answers
    asking: InferenceOrchestrator


class _Questions(Generic[SpecT]):
    """Handlers of one kind of question."""

    def __init__(self, parts: _Parts, kind: InferenceKind, spec: type[SpecT]) -> None:
        self._parts = parts
        self._kind = kind
        self._spec = spec

    def add_to(self, app: FastAPI, *, view: type[Contract], summary: str, description: str) -> None:
        """Adds the routes of this kind."""
        kind = self._kind.value
        path = f"/runs/{{run_id}}/{kind}"
        reference: JsonObject = {"$ref": SCHEMA_REF.format(model=view.__name__)}
        content: JsonObject = {"application/json": {"schema": reference}}
        if self._kind in STREAMED:
            content[EVENT_STREAM] = {"schema": {"type": "string"}}
        add(
            app,
            "POST",
            path,
            self.ask,
            operation_id=kind,
            summary=summary,
            description=description,
            tag="runs",
            view=view,
            status=202,
            headers=[IDEMPOTENCY_KEY, PREFER],
            body=order_body(self._spec, required=True),
            answers={
                200: {"description": "Answered in time.", "headers": ANSWER_HEADERS, "content": content},
                202: {"description": "In line: look at the Location.", "headers": ANSWER_HEADERS},
            },
            problems=[404, 409, 413, 500],
        )
        add(
            app,
            "GET",
            f"{path}/{{request_id}}",
            self.get,
            operation_id=f"get_{kind}",
            summary=f"A question to {kind}, and its answer when there is one",
            tag="runs",
            view=view,
            headers=[PREFER],
            problems=[404],
        )
        if self._kind in STREAMED:
            add(
                app,
                "GET",
                f"{path}/{{request_id}}/events",
                self.events,
                operation_id=f"stream_{kind}",
                summary="An answer as it comes",
                tag="runs",
                headers=[LAST_EVENT_ID],
                answers=EVENTS,
                problems=[404],
            )

    async def ask(self, request: Request, run_id: RunIdPath) -> Response:
        """202 at once, or the answer itself for those who wait for it."""
        body = await read_json_body(request)
        spec = parse_body(body, self._spec)
        is_streamed = isinstance(spec, SamplingSpec) and EVENT_STREAM in request.headers.get("accept", "")
        told: dict[str, object] = {"stream": True} if is_streamed else {}
        if is_streamed:
            self._parts.streams.check_room()  # before it is in line: nobody would hear the answer
        key = idempotency_of(request, body, operation=f"{self._kind.value}_run {run_id}")
        submission = await run_in_threadpool(self._submit, spec.model_copy(update=told), run_id, key)
        if is_streamed:
            events = self._parts.answers.follow(submission.record, after=0)
            return self._parts.streams.respond(events, headers=_headers(submission))
        seconds = self._wait_seconds(request)
        if seconds is None:
            return _in_line(submission.record, _headers(submission))

        async def answered() -> Response:
            record = await self._parts.answers.wait(submission.record, patience_seconds=seconds)
            return _answer(record, {**_headers(submission), APPLIED: f"wait={seconds:g}"})

        return AwaitedResponse(answered, instead=lambda: _in_line(submission.record, _headers(submission)))

    async def get(self, request: Request, run_id: RunIdPath, request_id: RequestIdPath) -> Response:
        """How it stands; the result once it is completed, the problem when it failed."""
        record = await run_in_threadpool(self._parts.asking.find, self._kind, run_id, request_id)
        seconds = self._wait_seconds(request)
        if seconds is None:
            return _shown(record, status=200, headers={})

        async def answered() -> Response:
            found = await self._parts.answers.wait(record, patience_seconds=seconds)
            return _shown(found, status=200, headers={APPLIED: f"wait={seconds:g}"})

        return AwaitedResponse(answered, instead=lambda: _shown(record, status=200, headers={}))

    async def events(self, request: Request, run_id: RunIdPath, request_id: RequestIdPath) -> Response:
        """From the beginning, or from behind Last-Event-ID; ends with `done`."""
        seen = last_event_id(request.headers.get("last-event-id"))
        record = await run_in_threadpool(self._parts.asking.find, self._kind, run_id, request_id)
        return self._parts.streams.respond(self._parts.answers.follow(record, after=seen or 0))

    def _submit(self, spec: AskSpec, run_id: str, key: IdempotencyKey | None) -> InferenceSubmission:
        container, asking = self._parts.container, self._parts.asking
        # As with orders: a repeated question is not judged again, so it is answered the same.
        earlier = None if key is None else asking.find_submission(key)
        if earlier is not None:
            return earlier
        run = container.training.find_training(run_id)
        check_question(spec, corpora=container.corpora)
        return asking.ask(spec, kind=self._kind, run=run, request_id=current_request_id(), idempotency=key)

    def _wait_seconds(self, request: Request) -> float | None:
        most = self._parts.container.settings.inference.max_wait_seconds
        return preferred_wait(request, most_seconds=most)


def _answer(record: InferenceRecord, headers: dict[str, str]) -> Response:
    """To somebody who has waited: a question that failed is answered as one that was refused at once."""
    problem = record.problem
    if problem is not None:
        faults = [FieldFault(fault.pointer, fault.message) for fault in problem.faults]
        return problem_response(AppError(problem.code, problem.message, faults=faults), headers=headers)
    if record.status.is_terminal:
        return _shown(record, status=200, headers=headers)
    return _in_line(record, headers)


def _in_line(record: InferenceRecord, headers: dict[str, str]) -> Response:
    return _shown(record, status=202, headers=headers)


def _shown(record: InferenceRecord, *, status: int, headers: dict[str, str]) -> Response:
    return Response(question_json(record), status_code=status, headers=headers, media_type="application/json")


def _headers(submission: InferenceSubmission) -> dict[str, str]:
    headers = {"Location": place_of(submission.record)}
    if submission.replayed:
        headers[REPLAYED] = "true"
    return headers
