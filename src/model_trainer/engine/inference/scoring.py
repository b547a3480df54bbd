"""How well a model knows a text: exact surprisals, each token scored once, by the protocol that evaluations use.

T tokens, V vocabulary, K tokens of a part that are scored.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model_trainer.core.contracts.inference import (
    LONGEST_DETAILED_TEXT,
    Guess,
    Scored,
    ScoredToken,
    ScoreSpec,
    most_guesses,
)
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.ports.tokenizers import Tokenizer
from model_trainer.engine.protocols import Decoder, DecoderState

_PART = 256
"""Tokens read at a time: their logits are all that must be held, however long text and context are."""
_LARGEST_EXPONENT = 700.0
"""exp() of more is not a finite float."""


def score(decoder: Decoder, tokenizer: Tokenizer, text: str, *, spec: ScoreSpec, stride: int) -> Scored:
    """Measures `text`. A model with a context reads longer texts in windows that move on by `stride` tokens, each token with
    at least context - stride tokens before it (fewer at the start); one without reads it through.

    The first token is measured after an end of text, where the tokenizer has one; else it is not counted. Raises
    CONFIG_INVALID naming /text, /path or /top_k when there is nothing to measure or too much to list, DIVERGED when the
    result is not a number.
    """
    detailed = spec.detail_level == "per_char"
    if detailed and len(text) > LONGEST_DETAILED_TEXT:
        raise _refused(
            spec,
            f"The text has {len(text)} characters; {LONGEST_DETAILED_TEXT} are the most whose tokens are listed. Send it in "
            "pieces, or ask for detail_level summary.",
        )
    ids, spans = tokenizer.encode_with_spans(text) if detailed else (tokenizer.encode(text), [])
    if detailed:
        _check_listing(spec, max(len(text), len(ids), 1))
    end_of_text_id = tokenizer.inspect().end_of_text_id
    lead: list[int] = [] if end_of_text_id is None else [end_of_text_id]
    stream_T = torch.tensor(lead + ids)
    num_tokens = len(stream_T) - 1
    if num_tokens < 1:
        raise _refused(spec, "The text has no token that could be measured. Give a longer one.")
    length = num_tokens if decoder.context is None else min(num_tokens, decoder.context)
    stride = min(stride, length)
    windows = _windows(num_tokens, length=length, stride=stride)
    surprisals: list[float] = []
    guesses: list[tuple[Guess, ...]] = []
    for logits_KV, targets_K in _read(decoder, stream_T, windows):
        log_chances_KV = logits_KV.log_softmax(-1)
        surprisals += _floats(F.nll_loss(log_chances_KV, targets_K.to(logits_KV.device), reduction="none"))
        if spec.top_k:
            guesses += _guesses(log_chances_KV, tokenizer, count=spec.top_k)
    nats = math.fsum(surprisals)
    if not math.isfinite(nats):
        raise AppError(
            ErrorCode.DIVERGED,
            "The model's predictions are not numbers: its training went wrong. Train it again with a lower learning rate.",
        )
    loss = nats / num_tokens
    return Scored(
        loss=loss,
        perplexity=math.exp(min(loss, _LARGEST_EXPONENT)),
        bits_per_byte=nats / math.log(2) / len(text.encode()),
        num_tokens=num_tokens,
        num_characters=len(text),
        num_bytes=len(text.encode()),
        stride=None if length == num_tokens else stride,
        seed=spec.seed,
        tokens=_listed(tokenizer, ids, spans, surprisals, guesses) if detailed else None,
    )


@dataclass(frozen=True, slots=True)
class _Window:
    """Tokens begin..end are read from a cold start; of what they predict, the last `num_scored` count."""

    begin: int
    end: int
    num_scored: int


def _windows(num_tokens: int, *, length: int, stride: int) -> Iterator[_Window]:
    """Over a stream of num_tokens + 1, the first of which is only context and the last only predicted. The first window is
    scored whole; each later one only where the window before it had not been."""
    yield _Window(0, length, length)
    end = length
    while end < num_tokens:
        num_scored = min(stride, num_tokens - end)
        end += num_scored
        yield _Window(end - length, end, num_scored)


def _read(decoder: Decoder, stream_T: Tensor, windows: Iterator[_Window]) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits [K, V] and targets [K] of all scored tokens in order, part by part."""
    for window in windows:
        state: DecoderState = None
        first_scored = window.end - window.num_scored
        for begin in range(window.begin, window.end, _PART):
            end = min(begin + _PART, window.end)
            logits_TV, state = decoder.logits(stream_T[begin:end], state)
            skipped = max(0, first_scored - begin)
            if skipped < end - begin:
                yield logits_TV[skipped:], stream_T[begin + skipped + 1 : end + 1]


def _guesses(log_chances_KV: Tensor, tokenizer: Tokenizer, *, count: int) -> list[tuple[Guess, ...]]:
    values_KG, ids_KG = log_chances_KV.topk(min(count, log_chances_KV.shape[1]))
    chances_KG, ids_KG = values_KG.exp().cpu(), ids_KG.cpu()
    return [
        tuple(
            Guess(token_id=token, token=tokenizer.decode([token]), probability=float(chances_G[place].item()))
            for place, token in enumerate(int(ids_G[place].item()) for place in range(len(ids_G)))
        )
        for chances_G, ids_G in zip(chances_KG.unbind(0), ids_KG.unbind(0), strict=True)
    ]


def _listed(
    tokenizer: Tokenizer,
    ids: Sequence[int],
    spans: Sequence[tuple[int, int]],
    surprisals: Sequence[float],
    guesses: Sequence[tuple[Guess, ...]],
) -> tuple[ScoredToken, ...]:
    """Every token of the text; the first `skipped` (0 or 1) were not measured."""
    skipped = len(ids) - len(surprisals)
    return tuple(
        ScoredToken(
            token_id=token,
            token=tokenizer.decode([token]),
            start=start,
            end=end,
            surprisal=surprisals[place - skipped] if place >= skipped else None,
            top_k=guesses[place - skipped] if guesses and place >= skipped else (),
        )
        for place, (token, (start, end)) in enumerate(zip(ids, spans, strict=True))
    )


def _floats(values_K: Tensor) -> list[float]:
    values_K = values_K.double().cpu()
    return [float(values_K[place].item()) for place in range(len(values_K))]


def _check_listing(spec: ScoreSpec, length: int) -> None:
    most = most_guesses(length)
    if most < 0:
        message = f"The text has {length} tokens, more than are listed. Send it in pieces, or ask for detail_level summary."
        raise _refused(spec, message)
    if spec.top_k > most:
        message = f"top_k may be at most {most} with a text of this length ({length} tokens or characters). Ask for fewer "
        message += "guesses, or send the text in pieces."
        raise AppError(ErrorCode.CONFIG_INVALID, message, faults=[FieldFault("/top_k", message)])


def _refused(spec: ScoreSpec, message: str) -> AppError:
    pointer = "/path" if spec.text is None else "/text"
    return AppError(ErrorCode.CONFIG_INVALID, message, faults=[FieldFault(pointer, message)])
