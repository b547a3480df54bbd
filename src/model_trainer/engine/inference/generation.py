"""Prompts go on: several at once, each as it would alone. Blind to what the model is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from model_trainer.core.contracts.inference import Generated, GeneratedSequence, SamplingSpec
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.ports.tokenizers import Tokenizer
from model_trainer.engine.inference.sampling import Sampler
from model_trainer.engine.inference.text_stream import TextStream
from model_trainer.engine.protocols import Decoder

OnPiece = Callable[[int, int, str], None]
"""Told some text as it comes, never empty: (which ask, which of its sequences, the text)."""
FinishReason = Literal["eos", "stop_sequence", "length"]


@dataclass(frozen=True, slots=True)
class Ask:
    """A prompt, and how many continuations it wants."""

    prompt: str
    seed: int
    num_sequences: int
    pointer: str = "/prompt_text"
    """Where the prompt stood in the request: for refusals."""


def generate(
    decoder: Decoder,
    tokenizer: Tokenizer,
    asks: Sequence[Ask],
    *,
    sampling: SamplingSpec,
    on_piece: OnPiece | None = None,
) -> list[Generated]:
    """Continues every prompt; what one gets does not depend on the others, nor on `sampling.seed`: each ask has its own.

    The pieces told for a sequence, put together, are its text. Raises CONFIG_INVALID for a prompt without tokens or longer
    than the context, before anything is drawn; DIVERGED when the model's predictions are not numbers.
    """
    prompts = [prompt_tokens(decoder, tokenizer, ask) for ask in asks]
    end_of_text_id = tokenizer.inspect().end_of_text_id
    rows = [
        _Row(tokenizer, prompts[place], ask=place, sequence=sequence, sampling=sampling)
        for place, ask in enumerate(asks)
        for sequence in range(ask.num_sequences)
    ]
    sampler = Sampler(
        sampling,
        prompts=[row.prompt for row in rows],
        seeds=[(asks[row.ask].seed, row.sequence) for row in rows],
        end_of_text_id=end_of_text_id,
    )

    def choose(logits_BV: Tensor) -> Tensor | None:
        going_on = [place for place, row in enumerate(rows) if not row.done]
        tokens_B = torch.zeros(len(rows), dtype=torch.int64)
        for place, token in zip(going_on, sampler.draw(logits_BV[going_on], going_on), strict=True):
            tokens_B[place] = token
            row = rows[place]
            piece = row.take(token, end_of_text_id)
            if piece and on_piece is not None:
                on_piece(row.ask, row.sequence, piece)
        return None if all(row.done for row in rows) else tokens_B

    decoder.decode([row.prompt for row in rows], choose)
    return [
        Generated(
            outputs=tuple(row.sequence_made() for row in rows if row.ask == place),
            prompt_tokens=len(prompts[place]),
            context=decoder.context,
        )
        for place in range(len(asks))
    ]


def prompt_tokens(decoder: Decoder, tokenizer: Tokenizer, ask: Ask) -> list[int]:
    """The tokens of a prompt; raises CONFIG_INVALID naming the ask's pointer when there are none, or more than the context
    holds."""
    tokens = tokenizer.encode(ask.prompt)
    if not tokens:
        raise _refused(ask, "The prompt is empty. Give at least one character to go on from.")
    if decoder.context is not None and len(tokens) > decoder.context:
        raise _refused(
            ask,
            f"The prompt has {len(tokens)} tokens, and the model sees {decoder.context} at once. Leave out "
            f"{len(tokens) - decoder.context} at its beginning, or train with a larger max_seq_len.",
        )
    return tokens


class _Row:
    """One sequence on its way."""

    def __init__(
        self, tokenizer: Tokenizer, prompt: Sequence[int], *, ask: int, sequence: int, sampling: SamplingSpec
    ) -> None:
        self.prompt = prompt
        self.ask = ask
        self.sequence = sequence
        self.done = False
        self._most = sampling.max_new_tokens
        self._stops_on_eos = sampling.stop_on_eos
        self._stream = TextStream(tokenizer, stop_sequences=sampling.stop_sequences)
        self._finish_reason: FinishReason = "length"
        self._text = ""
        self._steps = 0

    def take(self, token: int, end_of_text_id: int | None) -> str:
        """The next token came; gives the text that is certain with it."""
        self._steps += 1
        if self._stops_on_eos and token == end_of_text_id:
            piece = self._ended("eos")
        else:
            piece = self._stream.push(token)
            if self._stream.stopped:
                self._end("stop_sequence")
            elif self._steps == self._most:
                piece += self._ended("length")
        self._text += piece
        return piece

    def sequence_made(self) -> GeneratedSequence:
        """How it came out."""
        return GeneratedSequence(
            text=self._text,
            steps=self._steps,
            eos_terminated=self._finish_reason == "eos",
            finish_reason=self._finish_reason,
        )

    def _ended(self, reason: FinishReason) -> str:
        """The rest of the text; it can still hold a stop sequence, then that is the reason."""
        rest = self._stream.finish()
        self._end("stop_sequence" if self._stream.stopped else reason)
        return rest

    def _end(self, reason: FinishReason) -> None:
        self.done = True
        self._finish_reason = reason


def _refused(ask: Ask, message: str) -> AppError:
    return AppError(ErrorCode.CONFIG_INVALID, message, faults=[FieldFault(ask.pointer, message)])
