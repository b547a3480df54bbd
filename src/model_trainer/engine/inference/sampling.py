"""How a token is drawn from logits: penalties, filters, and a random generator of each row's own.

Filters work in the order of transformers: repetition, temperature, top-k, top-p, min-p. B rows, V vocabulary, K candidates.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from model_trainer.core.contracts.inference import SamplingSpec
from model_trainer.core.errors import AppError, ErrorCode

_NEVER = float("-inf")


class Sampler:
    """Draws for rows that have nothing to do with one another: what a row gets is a function of its logits, its prompt and
    its seed alone."""

    def __init__(
        self,
        spec: SamplingSpec,
        *,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[tuple[int, int]],
        end_of_text_id: int | None,
    ) -> None:
        """`prompts` and `seeds`, a (seed, sequence) each, are the rows'."""
        self._spec = spec
        self._banned_id = None if spec.stop_on_eos else end_of_text_id
        self._generators = [generator_of(seed, sequence) for seed, sequence in seeds]
        self._seen: list[set[int]] = [set(prompt) for prompt in prompts]

    def draw(self, logits_BV: Tensor, rows: Sequence[int]) -> list[int]:
        """A token for each of `rows`, whose logits `logits_BV` are; raises DIVERGED when these are not numbers."""
        if not bool(torch.isfinite(logits_BV).all().item()):
            raise _diverged()
        logits_BV = self._penalised(logits_BV, rows)
        if self._spec.temperature == 0:
            drawn_B = logits_BV.argmax(-1).cpu()
        else:
            logits_BK, ids_BK = self._candidates(logits_BV)
            drawn_B = ids_BK.gather(1, self._places(logits_BK, rows)).squeeze(1)
        tokens = [int(drawn_B[place].item()) for place in range(len(rows))]
        for row, token in zip(rows, tokens, strict=True):
            self._seen[row].add(token)
        return tokens

    def _penalised(self, logits_BV: Tensor, rows: Sequence[int]) -> Tensor:
        """Without what must not come, and with less of what has come (Keskar et al. 2019, arXiv 1909.05858, section 4.1; with
        negative logits multiplied, as everywhere since)."""
        penalty = self._spec.repetition_penalty
        logits_BV = logits_BV.clone()
        if self._banned_id is not None:
            logits_BV[:, self._banned_id] = _NEVER
        if penalty != 1:
            for place, row in enumerate(rows):
                seen = sorted(self._seen[row])
                seen_S = torch.tensor(seen, device=logits_BV.device)
                logits_S = logits_BV[place, seen_S]
                logits_BV[place, seen_S] = torch.where(logits_S < 0, logits_S * penalty, logits_S / penalty)
        return logits_BV

    def _candidates(self, logits_BV: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities and ids [B, K] of what can be drawn, the likeliest first; -inf cannot be drawn."""
        spec = self._spec
        num_candidates = min(spec.top_k or logits_BV.shape[1], logits_BV.shape[1])
        values_BK, ids_BK = logits_BV.topk(num_candidates)
        # On the CPU, where the generators are; in fp64, where the smallest temperature divides without overflow.
        values_BK = values_BK.cpu().double()
        logits_BK = ((values_BK - values_BK[:, :1]) / spec.temperature).log_softmax(-1)
        chances_BK = logits_BK.exp()
        if spec.top_p < 1:
            likelier_BK = chances_BK.cumsum(-1) - chances_BK
            logits_BK = logits_BK.masked_fill(likelier_BK >= spec.top_p, _NEVER)
        if spec.min_p > 0:
            logits_BK = logits_BK.masked_fill(chances_BK < spec.min_p * chances_BK[:, :1], _NEVER)
        return logits_BK, ids_BK.cpu()

    def _places(self, logits_BK: Tensor, rows: Sequence[int]) -> Tensor:
        """Which candidate each row draws [B, 1]: the largest of logit plus Gumbel noise is a draw from the softmax (Gumbel 1954;
        -ln of an exponential variable is such noise)."""
        waits_BK = torch.stack(
            [
                torch.empty(logits_BK.shape[1], dtype=torch.float64).exponential_(
                    generator=self._generators[row]
                )
                for row in rows
            ]
        )
        return (logits_BK - waits_BK.log()).argmax(-1, keepdim=True)


def generator_of(seed: int, sequence: int) -> torch.Generator:
    """The random generator of one sequence of a request; those of neighbouring seeds have nothing in common."""
    digest = hashlib.sha256(f"{seed}:{sequence}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little"))


def _diverged() -> AppError:
    return AppError(
        ErrorCode.DIVERGED,
        "The model's predictions are not numbers: its training went wrong. Train it again with a lower learning rate, or "
        "begin from an earlier checkpoint.",
    )
