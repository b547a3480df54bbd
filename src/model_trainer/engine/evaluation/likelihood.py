"""Exact negative log-likelihood of a token stream: every token scored once, by a protocol that is said.

Shapes: B windows, T tokens of a window, V vocabulary, K tokens of a window that are scored.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_trainer.core.contracts.evaluation import LanguageMetrics
from model_trainer.core.contracts.training import DeviceName, Precision, Recipe
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.data.batches import window_batch
from model_trainer.engine.data.token_splits import SplitFacts, TokenSplit
from model_trainer.engine.protocols import Carry, Device, LanguageModel

Report = Callable[[float], None]
"""Told which share of the stream is scored; may raise to stop."""

_STREAM_WINDOW = 1024
"""Tokens a recurrent model reads at a time; no result depends on it, longer windows only hold more logits."""
_BATCH_TOKENS: dict[DeviceName, int] = {"cpu": 1 << 13, "cuda": 1 << 17}
"""Enough to fill the device. On a CPU twice as many take 10 % longer, and sixteen times as many 40 %: caches."""
_LOGIT_BYTES: dict[DeviceName, int] = {"cpu": 1 << 27, "cuda": 1 << 31}
"""What one batch's fp32 logits may take: large vocabularies get fewer windows."""


@dataclass(frozen=True, slots=True)
class Likelihood:
    """What a model makes of a stream."""

    nats: float
    """Total negative log-likelihood of the scored tokens."""
    num_scored: int
    num_correct: int
    """Tokens that were the most likely one."""
    protocol: str


def score(
    model: LanguageModel, split: TokenSplit, *, recipe: Recipe, device: Device, report: Report | None = None
) -> Likelihood:
    """Scores every token of `split` once.

    A model trained on parallel streams reads the whole split in order and carries its state; any other reads windows of
    `recipe.max_seq_len` tokens that move on by `recipe.eval_stride`. Computed in fp32 on CPU, in the recipe's precision
    elsewhere; summed in fp64. Raises DATA_TOO_SMALL when nothing can be scored, DIVERGED when the result is not a number.
    """
    stream = _Stream.of(split)
    if stream.num_scored < 1:
        raise AppError(ErrorCode.DATA_TOO_SMALL, "There is no token to score. Evaluate on a longer text.")
    scorer = _Scorer(model, device=device, precision="fp32" if device.name == "cpu" else recipe.precision)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            parts = (
                _carried(scorer, stream)
                if recipe.data_order == "parallel_streams"
                else _sliding(scorer, stream, recipe)
            )
            nats, num_correct = 0.0, 0
            num_scored = 0
            for part in parts:
                nats += part.nats
                num_correct += part.num_correct
                num_scored += part.num_scored
                if report is not None:
                    report(num_scored / stream.num_scored)
    finally:
        model.train(was_training)
    if not math.isfinite(nats):
        raise AppError(
            ErrorCode.DIVERGED,
            "The model's loss is not a number any more. Lower the learning rate, or clip gradients.",
            facts={"num_scored": num_scored},
        )
    return Likelihood(
        nats=nats,
        num_scored=num_scored,
        num_correct=num_correct,
        protocol=_protocol(recipe, stream, scorer.precision),
    )


def language_metrics(likelihood: Likelihood, facts: SplitFacts) -> LanguageMetrics:
    """The usual figures. Bits per byte counts the bits of every scored token, end-of-text tokens too."""
    loss = likelihood.nats / likelihood.num_scored
    return LanguageMetrics(
        loss=loss,
        perplexity=math.exp(min(loss, _LARGEST_EXPONENT)),
        bits_per_byte=likelihood.nats / math.log(2) / facts.num_bytes,
        nats_per_char=likelihood.nats / facts.num_characters,
        accuracy=likelihood.num_correct / likelihood.num_scored,
        num_tokens=likelihood.num_scored,
        num_bytes=facts.num_bytes,
        num_characters=facts.num_characters,
        protocol=likelihood.protocol,
    )


_LARGEST_EXPONENT = 700.0
"""exp() of more is not a finite float; a perplexity of 1e304 says what it has to say."""


def as_language_model(model: nn.Module) -> LanguageModel:
    """`model`, known to predict tokens; anything else is a programming error."""
    if not isinstance(model, LanguageModel):
        raise TypeError(f"a language model is needed, not {type(model).__name__}")
    return model


@dataclass(frozen=True, slots=True)
class _Stream:
    """A token stream and the context of its first token."""

    tokens: Tensor
    lead: int | None
    """An end-of-text token put before the stream, so that the first token has a context."""
    end_of_text_id: int | None

    @classmethod
    def of(cls, split: TokenSplit) -> "_Stream":
        tokens = split.tokens()
        end_of_text_id = split.end_of_text_id
        begins_with_it = len(tokens) > 0 and int(tokens[0].item()) == end_of_text_id
        return cls(tokens, None if begins_with_it else end_of_text_id, end_of_text_id)

    @property
    def num_scored(self) -> int:
        return len(self.tokens) - (1 if self.lead is None else 0)

    def head(self, length: int) -> Tensor:
        """The first `length` tokens, the lead among them, as int64."""
        if self.lead is None:
            return self.tokens[:length].to(torch.int64)
        return torch.cat([torch.full((1,), self.lead), self.tokens[: length - 1].to(torch.int64)])


@dataclass(frozen=True, slots=True)
class _Part:
    nats: float
    num_correct: int
    num_scored: int


class _Scorer:
    """A model on a device, asked for the likelihood of the last tokens of each window."""

    def __init__(self, model: LanguageModel, *, device: Device, precision: Precision) -> None:
        self._model = model
        self._device = device
        self.precision = precision

    def score(self, windows_BS: Tensor, *, num_scored: int, carry: Carry) -> tuple[_Part, Carry]:
        """S is one more than the model sees: the last token is only predicted."""
        windows_BS = self._device.move(windows_BS)
        targets_BK = windows_BS[:, -num_scored:]
        with self._device.autocast(self.precision):
            logits_BTV, carry = self._model.next_token_logits(windows_BS[:, :-1], carry)
        logits_BKV = logits_BTV[:, -num_scored:].float()
        nats = (
            F.cross_entropy(logits_BKV.flatten(0, 1), targets_BK.flatten(), reduction="none").double().sum()
        )
        num_correct = (logits_BKV.argmax(-1) == targets_BK).sum()
        return _Part(float(nats.item()), int(num_correct.item()), targets_BK.numel()), carry

    def windows_at_once(self, recipe: Recipe) -> int:
        length, name = recipe.max_seq_len, self._device.name
        by_logits = _LOGIT_BYTES[name] // (length * recipe.vocab_size * 4)
        return max(1, min(_BATCH_TOKENS[name] // length, by_logits))


def _carried(scorer: _Scorer, stream: _Stream) -> Iterator[_Part]:
    """One stream, one state: what a recurrent model is. Rows side by side would start cold in the middle."""
    carry: Carry = ()
    if stream.lead is not None:
        part, carry = scorer.score(stream.head(2).unsqueeze(0), num_scored=1, carry=carry)
        yield part
    last = len(stream.tokens) - 1
    for start in range(0, last, _STREAM_WINDOW):
        window_S = stream.tokens[start : start + _STREAM_WINDOW + 1].to(torch.int64)
        part, carry = scorer.score(window_S.unsqueeze(0), num_scored=len(window_S) - 1, carry=carry)
        yield part


def _sliding(scorer: _Scorer, stream: _Stream, recipe: Recipe) -> Iterator[_Part]:
    """The first window is scored whole; each later one only where the window before it had not been."""
    length, stride = recipe.max_seq_len, min(recipe.eval_stride, recipe.max_seq_len)
    first_S = stream.head(length + 1)
    yield scorer.score(first_S.unsqueeze(0), num_scored=len(first_S) - 1, carry=())[0]
    num_tokens = len(stream.tokens)
    next_token = min(length + (stream.lead is None), num_tokens)
    num_windows, rest = divmod(num_tokens - next_token, stride)
    begins = [next_token + (index + 1) * stride - length - 1 for index in range(num_windows)]
    at_once = scorer.windows_at_once(recipe)
    for index in range(0, num_windows, at_once):
        windows_BS = window_batch(stream.tokens, begins[index : index + at_once], length=length + 1)
        yield scorer.score(windows_BS, num_scored=stride, carry=())[0]
    if rest:
        last_BS = window_batch(stream.tokens, [num_tokens - length - 1], length=length + 1)
        yield scorer.score(last_BS, num_scored=rest, carry=())[0]


def _protocol(recipe: Recipe, stream: _Stream, precision: Precision) -> str:
    if recipe.data_order == "parallel_streams":
        how = "the whole text read in order as one stream, state carried from its first token to its last"
    else:
        stride = min(recipe.eval_stride, recipe.max_seq_len)
        how = (
            f"windows of {recipe.max_seq_len} tokens moving on by {stride}, "
            f"each token with at least {recipe.max_seq_len - stride} tokens before it (fewer at the start)"
        )
    if stream.lead is not None:
        first = "the first token is scored after an end-of-text token"
    elif stream.end_of_text_id is not None:
        first = "the end-of-text token that begins the text is context and not scored"
    else:
        first = "the first token has no context and is not scored"
    ends = "" if stream.end_of_text_id is None else "; end-of-text tokens are scored like all others"
    return f"{how}; every token scored once; {first}{ends}; computed in {precision}"
