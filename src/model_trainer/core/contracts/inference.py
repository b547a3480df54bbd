"""Questions to trained models: what can be asked, how a request stands, what is answered."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from model_trainer.core.contracts.base import Contract, JsonObject
from model_trainer.core.contracts.corpus import CorpusPath
from model_trainer.core.contracts.ids import UlidText
from model_trainer.core.contracts.run import Problem
from model_trainer.core.errors import wrong_field

INFERENCE_QUEUE = "inference"
"""What processes that answer call their queue in the worker registry."""
LONGEST_PROMPT = 100_000
"""Characters of a prompt or a message; the model's context is smaller in the end."""
LONGEST_TEXT = 1_000_000
"""Characters of a text to score."""
LONGEST_DETAILED_TEXT = 50_000
"""Characters of a text whose every token is listed in the answer."""
LARGEST_LISTING = 250_000
"""Tokens and guesses that one answer lists: some 16 MB of JSON, which everyone on its way holds in memory."""
MOST_TURNS = 200
"""Of a conversation: its newest ones are kept."""
BYTES_A_CHARACTER = 4
"""Of UTF-8, at most."""
PLAIN_SUFFIXES = (".txt", ".md")
"""Of files that are taken as one text, as they are."""


class InferenceKind(StrEnum):
    """What is asked of a model; also the first word of the request's key in Redis."""

    GENERATE = "generate"
    SCORE = "score"
    CHAT = "chat"
    PREDICT = "predict"


class InferenceStatus(StrEnum):
    """Where a request stands."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing will happen any more."""
        return self in (InferenceStatus.COMPLETED, InferenceStatus.FAILED)


class GivenBack(StrEnum):
    """Why a worker puts requests back in line."""

    STOPPED = "stopped"
    """It was told to stop: nobody is suspected of anything."""
    APART = "apart"
    """They did not get on together: each is to be tried by itself."""
    LOST = "lost"
    """The process that worked on them has died: the same, and it is counted, for one of them may be the reason."""


class SamplingSpec(Contract):
    """How tokens are drawn."""

    max_new_tokens: Annotated[int, Field(ge=1, le=512)] = 128
    temperature: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.8
    """0 takes the most likely token each time."""
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] = 50
    """Only so many of the most likely tokens can be drawn; 0 for all."""
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1.0
    """Only the most likely tokens that together have this probability (Holtzman et al. 2020)."""
    min_p: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.0
    """Only tokens at least this share as likely as the most likely one (Nguyen et al. 2024)."""
    repetition_penalty: Annotated[float, Field(ge=0.1, le=10, allow_inf_nan=False)] = 1.0
    """Above 1, tokens that occur already become less likely (Keskar et al. 2019)."""
    stop_on_eos: bool = True
    """End at the tokenizer's end of text; otherwise it is never drawn."""
    stop_sequences: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(max_length=8)
    ] = ()
    """End before the first of these; they are not part of the output."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 42
    """The same request with the same seed gives the same text; sequence n of a request draws from (seed, n)."""
    stream: bool = False
    """Tell each piece of text as it comes: follow `.../{request_id}/events`, or send `Accept: text/event-stream`."""


class GenerateSpec(SamplingSpec):
    """A prompt to go on from."""

    prompt_text: Annotated[str, Field(min_length=1, max_length=LONGEST_PROMPT)] | None = None
    prompt_path: CorpusPath | None = None
    """A text file under the data root, or `sha256:<file_id>`."""
    num_return_sequences: Annotated[int, Field(ge=1, le=10)] = 1

    @model_validator(mode="after")
    def _one_prompt(self) -> Self:
        if (self.prompt_text is None) == (self.prompt_path is None):
            raise wrong_field("prompt_text", "give exactly one of prompt_text and prompt_path")
        return self


class ScoreSpec(Contract):
    """A text to measure."""

    text: Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)] | None = None
    path: CorpusPath | None = None
    """A text file under the data root, or `sha256:<file_id>`."""
    detail_level: Literal["summary", "per_char"] = "summary"
    """per_char lists every token with its surprisal and the characters it stands for."""
    top_k: Annotated[int, Field(ge=0, le=50)] = 0
    """With per_char: so many of the model's best guesses at each place. The longer the text, the fewer: characters, or tokens
    where those are more, x (1 + top_k) may be 250,000."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 42
    """Kept with the answer. Nothing is drawn: every seed gives the same figures."""

    @model_validator(mode="after")
    def _one_text(self) -> Self:
        if (self.text is None) == (self.path is None):
            raise wrong_field("text", "give exactly one of text and path")
        if self.top_k > 0 and self.detail_level != "per_char":
            raise wrong_field("top_k", "top_k needs detail_level per_char")
        return self


def most_guesses(length: int) -> int:
    """How many guesses at each place of a text of so many characters or tokens one answer holds; below 0 when it has no room
    for the tokens alone."""
    return LARGEST_LISTING // length - 1


class Turn(Contract):
    """One message of a conversation."""

    role: Literal["user", "assistant"]
    content: Annotated[str, Field(max_length=LONGEST_PROMPT)]
    """Empty where the model had nothing to say."""

    @model_validator(mode="after")
    def _users_say_something(self) -> Self:
        if self.role == "user" and not self.content:
            raise wrong_field("content", "a user's content must not be empty")
        return self


class ChatSpec(SamplingSpec):
    """The next message of a conversation: a new one, or one that is continued by its id."""

    message: Annotated[str, Field(min_length=1, max_length=LONGEST_PROMPT)]
    conversation_id: UlidText | None = None
    """Of an earlier answer; left out: a new conversation begins."""
    system: Annotated[str, Field(min_length=1, max_length=LONGEST_PROMPT)] | None = None
    """What the model is told before everything else; for new conversations."""
    history: Annotated[tuple[Turn, ...], Field(max_length=MOST_TURNS)] = ()
    """Earlier messages, the user's and the model's by turns; for new conversations."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.conversation_id is not None and (self.system is not None or self.history):
            raise wrong_field(
                "conversation_id",
                "system and history belong to a new conversation; leave conversation_id out",
            )
        roles = [turn.role for turn in self.history]
        if roles != [("user", "assistant")[place % 2] for place in range(len(roles))] or len(roles) % 2:
            raise wrong_field("history", "history must be turns of user and assistant, one after the other")
        return self


class Conversation(Contract):
    """What was said so far."""

    conversation_id: str
    run_id: str
    system: str | None
    turns: tuple[Turn, ...]
    """The newest 200: older ones are forgotten."""

    def newest(self) -> Self:
        """As it is kept. Turns come in pairs, and so they go."""
        kept: dict[str, object] = {"turns": self.turns[-MOST_TURNS:]}
        return self.model_copy(update=kept)


class GeneratedSequence(Contract):
    """One continuation."""

    text: str
    steps: int
    """Tokens drawn, an end of text included."""
    eos_terminated: bool
    finish_reason: Literal["eos", "stop_sequence", "length"]


class Generated(Contract):
    """The answer to a prompt."""

    outputs: tuple[GeneratedSequence, ...]
    prompt_tokens: int
    context: int | None
    """Tokens the model can see at once; beyond that the oldest half is forgotten and reading begins anew. None: no such limit."""


class Guess(Contract):
    """A token the model thought likely."""

    token_id: int
    token: str
    probability: float


class ScoredToken(Contract):
    """One token of a scored text."""

    token_id: int
    token: str
    start: int
    """First character it stands for, in the text as given."""
    end: int
    """Behind the last one. A character of several tokens stands in all of them."""
    surprisal: float | None
    """-ln p, in nats; None for a first token that nothing stands before (a tokenizer without an end of text)."""
    top_k: tuple[Guess, ...]


class Scored(Contract):
    """How well a model knows a text."""

    loss: float
    """Nats per token: the mean of all surprisals."""
    perplexity: float
    bits_per_byte: float
    num_tokens: int
    """Scored ones."""
    num_characters: int
    num_bytes: int
    stride: int | None
    """Tokens by which the window moves on in a text longer than the context; None: state is carried, or one window held all."""
    seed: int
    tokens: tuple[ScoredToken, ...] | None
    """With per_char."""


class ChatReply(Contract):
    """The model's turn."""

    conversation_id: str
    reply: str
    steps: int
    eos_terminated: bool
    finish_reason: Literal["eos", "stop_sequence", "length"]
    prompt_tokens: int
    dropped_turns: int
    """Of the oldest, which the context had no room for."""
    template: Literal["tokenizer", "plain"]


class InferenceRequest(Contract):
    """A question on its way to a worker."""

    request_id: UlidText
    kind: InferenceKind
    run_id: UlidText
    spec: JsonObject
    """A GenerateSpec, ScoreSpec, ChatSpec or PredictSpec, by kind."""
    batch_key: str
    """Requests with the same key may be answered together."""
    conversation_id: UlidText | None = None
    """Of a chat: made by the API for a new conversation."""
    http_request_id: str

    @property
    def goes_on(self) -> bool:
        """Whether it is the next message of a conversation that must be there."""
        return self.kind is InferenceKind.CHAT and self.spec.get("conversation_id") is not None


class Timings(Contract):
    """Where the time went, in milliseconds."""

    queued: float
    load: float
    """0 for a model that was loaded already."""
    model: float
    total: float


class InferenceRecord(Contract):
    """Everything known of a request. Times are milliseconds of Redis' clock since 1970."""

    request: InferenceRequest
    status: InferenceStatus
    tries: int
    """How often a worker took it."""
    deaths: int = 0
    """How often a process died, or fell silent, while it worked on it."""
    owner: str | None
    created_at_ms: int
    started_at_ms: int | None
    finished_at_ms: int | None
    result: str | None
    """A Generated, Scored, ChatReply or Predictions, by kind: as JSON on one line. It may be megabytes, and whoever reads the
    record only passes it on, in the API for all who wait on one loop: nobody parses it."""
    problem: Problem | None
    timings: Timings | None


class InferenceSubmission(Contract):
    """The record that stands now, and whether an earlier request had made it."""

    record: InferenceRecord
    replayed: bool


class Piece(Contract):
    """Some text of one sequence, as it came."""

    sequence: int
    """0 for the first."""
    text: str


class StoredPiece(Contract):
    """A piece with its number, from 1."""

    seq: int
    piece: Piece
