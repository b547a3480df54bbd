"""What parent and child say to each other over their pipe: JSON, one frame a message. Nothing in it is run."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from model_trainer.core.contracts.base import Contract, JsonObject
from model_trainer.core.contracts.inference import Conversation, InferenceRecord, Piece
from model_trainer.core.contracts.run import Problem
from model_trainer.core.errors import AppError
from model_trainer.worker.outcomes import problem_of


class Order(Contract):
    """A request, and what was said before it where it is a message of a conversation that goes on."""

    record: InferenceRecord
    conversation: Conversation | None = None

    @property
    def request_id(self) -> str:
        """Its request's."""
        return self.record.request.request_id


class Batch(Contract):
    """Requests to answer, from the parent."""

    orders: tuple[Order, ...]


class Told(Contract):
    """Some text, as it came."""

    frame: Literal["told"] = "told"
    request_id: str
    piece: Piece


class Answered(Contract):
    """An answer. Times are milliseconds."""

    frame: Literal["answered"] = "answered"
    request_id: str
    result: JsonObject
    load: float
    model: float
    conversation: Conversation | None = None


class Refused(Contract):
    """Why there is none."""

    frame: Literal["refused"] = "refused"
    request_id: str
    problem: Problem


def refusal(request_id: str, error: AppError) -> Refused:
    """Why a request has no answer, without what only the log should know."""
    for_strangers: dict[str, object] = {"exception": None}
    return Refused(request_id=request_id, problem=problem_of(error, error).model_copy(update=for_strangers))


class Apart(Contract):
    """Something went wrong with these together: each is to be tried by itself."""

    frame: Literal["apart"] = "apart"
    request_ids: tuple[str, ...]


class Done(Contract):
    """Nothing more will be said of this batch."""

    frame: Literal["done"] = "done"


Frame = Told | Answered | Refused | Apart | Done
"""What the child says."""

_frame: TypeAdapter[Frame] = TypeAdapter(Annotated[Frame, Field(discriminator="frame")])


def parse_frame(data: bytes) -> Frame:
    """What the child said."""
    return _frame.validate_json(data)
