"""Next-token prediction: cross-entropy over windows of a token stream, validation exact over its whole split.

Shapes: B windows of a micro-batch, T tokens of a window, S = T + 1, V vocabulary.
"""

import hashlib
from types import TracebackType
from typing import Self, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_trainer.core.contracts.training import Recipe
from model_trainer.engine.data.batches import WindowBatches
from model_trainer.engine.data.order import DataOrder, ParallelStreams, ShuffledWindows
from model_trainer.engine.data.token_splits import TokenSplit
from model_trainer.engine.evaluation.likelihood import Report, as_language_model, language_metrics, score
from model_trainer.engine.protocols import Carry, Device

_ROWS = 1
"""The dimension of a carried tensor that counts the rows of the batch."""


class LanguageModellingTask:
    """Language modelling on packed token streams (a TrainingTask). Leaving the with-block ends its threads."""

    def __init__(
        self,
        *,
        train: TokenSplit,
        validation: TokenSplit,
        recipe: Recipe,
        device: Device,
        on_evaluation: Report | None = None,
    ) -> None:
        """`on_evaluation` is told the share of the validation text that is scored; may raise to stop."""
        self._train = train
        self._validation = validation
        self._recipe = recipe
        self._device = device
        self._on_evaluation = on_evaluation
        self._micro_batches = recipe.gradient_accumulation_steps
        self._order = _order_of(recipe, num_tokens=train.facts.num_tokens)
        self._batches = WindowBatches(
            train.tokens(),
            self._order,
            window=recipe.max_seq_len,
            batch_size=recipe.batch_size,
            micro_batches=self._micro_batches,
            workers=recipe.loader_workers,
            page_locked=recipe.pin_memory and device.name == "cuda",
        )
        self._carries: dict[int, Carry] = {}

    @property
    def steps_per_epoch(self) -> float:
        """Optimizer steps in one pass over the training text."""
        return self._order.steps_per_epoch

    @property
    def tokens_per_step(self) -> int:
        """Tokens predicted in one optimizer step."""
        return self.samples_per_step * self._recipe.max_seq_len

    @property
    def samples_per_step(self) -> int:
        """Windows in one optimizer step."""
        return self._recipe.batch_size * self._micro_batches

    @property
    def data_sha256(self) -> str:
        """Of the text and the tokens of both splits, so of what the tokenizer made of them too."""
        facts = (self._train.facts, self._validation.facts)
        digests = [digest for each in facts for digest in (each.text_sha256, each.tokens_sha256)]
        return hashlib.sha256(" ".join(digests).encode()).hexdigest()

    def loss(self, model: nn.Module, *, step: int, micro_step: int) -> Tensor:
        """Mean nats per token of one micro-batch: forward in the recipe's precision, cross-entropy in fp32."""
        network = as_language_model(model)
        batch_BS = self._device.move(self._batches.take(step * self._micro_batches + micro_step))
        carry = () if self._order.restarts(step) else self._carries.get(micro_step, ())
        with self._device.autocast(self._recipe.precision):
            logits_BTV, carry = network.next_token_logits(batch_BS[:, :-1], carry)
        self._carries[micro_step] = tuple(tensor.detach() for tensor in carry)
        return F.cross_entropy(logits_BTV.float().flatten(0, 1), batch_BS[:, 1:].flatten())

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Exact over the whole validation split (see engine.evaluation.likelihood)."""
        likelihood = score(
            as_language_model(model),
            self._validation,
            recipe=self._recipe,
            device=self._device,
            report=self._on_evaluation,
        )
        metrics = language_metrics(likelihood, self._validation.facts)
        return {
            "loss": metrics.loss,
            "perplexity": metrics.perplexity,
            "bits_per_byte": metrics.bits_per_byte,
            "accuracy": metrics.accuracy,
        }

    def state(self) -> dict[str, Tensor]:
        """The carried state of all rows of a step, whatever micro-batches they are cut into; empty for a transformer."""
        cuts = range(self._micro_batches)
        return {
            f"carry.{place}": torch.cat([self._carries[cut][place].cpu() for cut in cuts], dim=_ROWS)
            for place in range(len(self._carries.get(0, ())))
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Carries on from what state() gave, perhaps with the rows cut into other micro-batches."""
        whole = [state[f"carry.{place}"] for place in range(len(state))]
        self._carries = {
            cut: tuple(
                self._device.move(_rows_of(tensor, cut, size=self._recipe.batch_size)) for tensor in whole
            )
            for cut in range(self._micro_batches)
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._batches.close()


def _rows_of(whole: Tensor, cut: int, *, size: int) -> Tensor:
    return whole.narrow(_ROWS, cut * size, size).clone(memory_format=torch.contiguous_format)


def _order_of(recipe: Recipe, *, num_tokens: int) -> DataOrder:
    rows = recipe.batch_size * recipe.gradient_accumulation_steps
    match recipe.data_order:
        case "shuffled_windows":
            return ShuffledWindows(
                num_tokens=num_tokens, window=recipe.max_seq_len, rows=rows, seed=recipe.seed
            )
        case "parallel_streams":
            return ParallelStreams(
                num_tokens=num_tokens, window=recipe.max_seq_len, rows=rows, seed=recipe.seed
            )
        case _:
            assert_never(recipe.data_order)
