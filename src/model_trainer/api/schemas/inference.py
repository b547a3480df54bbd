"""A question to a trained model as the API shows it, with its answer when there is one."""

from datetime import datetime
from typing import Generic, TypeVar

from model_trainer.api.problems import view_problem
from model_trainer.api.schemas.problem import RunProblem
from model_trainer.api.schemas.run import at, at_or_none
from model_trainer.core.contracts.base import Contract, JsonObject
from model_trainer.core.contracts.inference import (
    ChatReply,
    Generated,
    InferenceKind,
    InferenceRecord,
    InferenceStatus,
    Scored,
    StoredPiece,
    Timings,
)
from model_trainer.core.contracts.prediction import Predictions

ResultT = TypeVar("ResultT")
STREAMED = (InferenceKind.GENERATE, InferenceKind.CHAT)
"""Kinds whose answer can be told as it comes."""


class InferenceView(Contract, Generic[ResultT]):
    """One question. Kept for INFERENCE__RESULT_TTL_SECONDS."""

    request_id: str
    run_id: str
    kind: InferenceKind
    status: InferenceStatus
    conversation_id: str | None
    """Of a chat: what to go on with."""
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    timings: Timings | None
    """Once it is completed."""
    problem: RunProblem | None
    """Why it failed."""
    result: ResultT | None
    """Once it is completed."""
    links: dict[str, str]


class GenerationView(InferenceView[Generated]):
    """A prompt, and how the model went on."""


class ScoreView(InferenceView[Scored]):
    """A text, and how well the model knows it."""


class ChatView(InferenceView[ChatReply]):
    """A message, and the model's turn."""


class PredictionsView(InferenceView[Predictions]):
    """Texts, and what the detector says of them."""


class TokenEvent(Contract):
    """Data of the `token` event of a stream: some text of one sequence, as it came."""

    sequence: int
    text: str
    seq: int
    """Its number in the stream, which is also the event's id."""


def question_json(record: InferenceRecord) -> str:
    """The view of a question, as JSON on one line.

    The answer is put in as the text that it is: its writer has checked it, and it may be megabytes, for whose parsing all
    other requests to this process would have to wait.
    """
    view = _view_without_answer(record).model_dump_json(exclude={"result"})
    return f'{view.removesuffix("}")},"result":{record.result or "null"}}}'


def place_of(record: InferenceRecord) -> str:
    """Where the answer is found."""
    request = record.request
    return f"/runs/{request.run_id}/{request.kind.value}/{request.request_id}"


def view_piece(stored: StoredPiece) -> TokenEvent:
    """A piece of an answer, as the stream tells it."""
    return TokenEvent(sequence=stored.piece.sequence, text=stored.piece.text, seq=stored.seq)


def _view_without_answer(record: InferenceRecord) -> InferenceView[JsonObject]:
    request = record.request
    here = place_of(record)
    links = {"self": here, "run": f"/runs/{request.run_id}"}
    if request.kind in STREAMED:
        links["events"] = f"{here}/events"
    if request.conversation_id is not None:
        links["conversation"] = f"/runs/{request.run_id}/chat/conversations/{request.conversation_id}"
    problem = record.problem
    return InferenceView[JsonObject](
        request_id=request.request_id,
        run_id=request.run_id,
        kind=request.kind,
        status=record.status,
        conversation_id=request.conversation_id,
        created_at=at(record.created_at_ms),
        started_at=at_or_none(record.started_at_ms),
        finished_at=at_or_none(record.finished_at_ms),
        timings=record.timings,
        problem=None if problem is None else view_problem(problem, request_id=request.http_request_id),
        result=None,
        links=links,
    )
