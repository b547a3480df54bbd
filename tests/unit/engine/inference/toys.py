"""A decoder whose every logit is known: a function of how many tokens were read and of the last one."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from model_trainer.engine.protocols import Choose, DecoderState, LanguageModel
from tests.unit.engine.evaluation.toys import ByteTokenizer

__all__ = ["ByteTokenizer", "ModelDecoder", "ToyDecoder", "saying", "table"]

NextLogits = Callable[[Sequence[int]], Sequence[float]]
"""Logits after the tokens read since a cold start."""


class ToyDecoder:
    """Reads one token after another, and remembers how much it was handed at a time."""

    def __init__(self, next_logits: NextLogits, *, context: int | None = None) -> None:
        self._next_logits = next_logits
        self._context = context
        self.num_forwards = 0
        self.longest_part = 0
        self.prompts: list[list[int]] = []

    @property
    def context(self) -> int | None:
        return self._context

    def decode(self, prompts: Sequence[Sequence[int]], choose: Choose) -> None:
        rows = [list(prompt) for prompt in prompts]
        self.prompts += [list(prompt) for prompt in prompts]
        while True:
            self.num_forwards += 1
            tokens_B = choose(torch.tensor([self._next_logits(row) for row in rows]))
            if tokens_B is None:
                return
            for row, token in zip(rows, tokens_B.tolist(), strict=True):
                row.append(token)

    def logits(self, tokens_T: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        read = list(state) if isinstance(state, tuple) else []
        logits: list[Sequence[float]] = []
        for token in tokens_T.tolist():
            read.append(token)
            logits.append(self._next_logits(read))
        assert self._context is None or len(read) <= self._context
        self.longest_part = max(self.longest_part, len(tokens_T))
        return torch.tensor(logits), tuple(read)


class ModelDecoder(ToyDecoder):
    """Reads with a trained network, everything anew each time."""

    def __init__(self, model: LanguageModel, *, context: int | None = None) -> None:
        super().__init__(lambda read: [], context=context)
        self._model = model

    def logits(self, tokens_T: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        read = [*(state if isinstance(state, tuple) else ()), *tokens_T.tolist()]
        with torch.no_grad():
            logits_BTV, _ = self._model.next_token_logits(torch.tensor([read]), ())
        return logits_BTV[0, -len(tokens_T) :], tuple(read)


def table(size: int, *, seed: int = 0) -> NextLogits:
    """Random logits for each last token, moved a little by how many were read."""
    rows = torch.randn(size, size, generator=torch.Generator().manual_seed(seed)).tolist()

    def next_logits(read: Sequence[int]) -> Sequence[float]:
        return [value * (1 + 0.1 * (len(read) % 5)) for value in rows[read[-1]]]

    return next_logits


def saying(text: str | bytes, *, prompt_tokens: int, then: int = 256) -> NextLogits:
    """All but sure of the bytes of `text` behind a prompt, and of the token `then` behind those."""
    script = [*(text.encode() if isinstance(text, str) else text), then]

    def next_logits(read: Sequence[int]) -> Sequence[float]:
        wanted = script[min(len(read) - prompt_tokens, len(script) - 1)]
        return [50.0 if token == wanted else 0.0 for token in range(257)]

    return next_logits
