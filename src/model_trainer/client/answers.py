"""What the API answers to questions to trained models, as the client reads it: as tolerant as all views."""

from pydantic import JsonValue

from model_trainer.client.views import ProblemView, View, ViewT, read_view
from model_trainer.core.contracts.base import dump_json


class TimingsView(View):
    """Where the time of an answer went, in milliseconds."""

    queued: float = 0.0
    load: float = 0.0
    model: float = 0.0
    total: float = 0.0


class AnswerView(View):
    """A question to a trained model, and its answer when there is one."""

    request_id: str
    run_id: str
    kind: str
    status: str
    conversation_id: str | None = None
    timings: TimingsView | None = None
    problem: ProblemView | None = None
    result: dict[str, JsonValue] | None = None

    @property
    def is_over(self) -> bool:
        """Whether there is an answer, or there never will be."""
        return self.status in ("completed", "failed")

    def read(self, view: type[ViewT]) -> ViewT:
        """The answer, as what it is."""
        return read_view(view, dump_json(self.result))


class SequenceView(View):
    """One continuation of a prompt."""

    text: str
    steps: int = 0
    finish_reason: str = ""


class GeneratedView(View):
    """What a model made of a prompt."""

    outputs: tuple[SequenceView, ...] = ()


class ScoredTokenView(View):
    """One token of a scored text."""

    token: str
    start: int = 0
    end: int = 0
    surprisal: float | None = None


class ScoredView(View):
    """How well a model knows a text."""

    loss: float
    perplexity: float
    bits_per_byte: float
    num_tokens: int = 0
    stride: int | None = None
    tokens: tuple[ScoredTokenView, ...] | None = None


class ReplyView(View):
    """A model's turn in a conversation."""

    conversation_id: str
    reply: str
    finish_reason: str = ""
    dropped_turns: int = 0
