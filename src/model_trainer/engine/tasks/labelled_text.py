"""Telling human from AI texts: weighted focal cross-entropy over windows, validation exact over whole texts.

B windows of a micro-batch, T tokens of the longest of them, H heads of the network.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from model_trainer.core.contracts.training import Recipe
from model_trainer.engine.data.labelled_windows import LabelledWindows
from model_trainer.engine.data.permutation import mixed, permuted
from model_trainer.engine.evaluation.detector.metrics import JudgedTexts, RankedTexts
from model_trainer.engine.evaluation.judging import Report, as_text_classifier, judge, padded_batch
from model_trainer.engine.protocols import Device

_SHUFFLE = 1
_CROP = 2
_STEPS = 3
"""Keep the uses of one seed apart."""
_STEPS_AT_ONCE = 16
"""Steps whose texts are sorted by length together, so that little is padded."""


def focal_loss(logits_HB: Tensor, labels_B: Tensor, *, gamma: float, positive_weight: float) -> Tensor:
    """The loss of each logit [..., B]: -w (1 - p)^gamma log p, with p the probability of the true class and w the weight of
    class 1 (Lin et al. 2017, arXiv 1708.02002, equation 5). With gamma 0 it is weighted cross-entropy. Stable for any logit.
    """
    signs_B = 2.0 * labels_B - 1.0
    nats_HB = F.softplus(-signs_B * logits_HB)
    if gamma:
        nats_HB = nats_HB * torch.exp(-gamma * F.softplus(signs_B * logits_HB))
    return nats_HB * (1.0 + (positive_weight - 1.0) * labels_B)


class LabelledTextTask:
    """Classification of labelled texts (a TrainingTask): in an epoch one window of every text, of a long one any."""

    def __init__(
        self,
        *,
        train: LabelledWindows,
        validation: LabelledWindows,
        recipe: Recipe,
        device: Device,
        focal_gamma: float,
        positive_weight: float,
        on_evaluation: Report | None = None,
    ) -> None:
        """`on_evaluation` is told the share of the validation texts that is judged; may raise to stop."""
        self._train = train
        self._validation = validation
        self._recipe = recipe
        self._device = device
        self._gamma = focal_gamma
        self._positive_weight = positive_weight
        self._on_evaluation = on_evaluation
        self._order = TextOrder(train, rows=self.samples_per_step, seed=recipe.seed)
        self._labels = train.labels()

    @property
    def steps_per_epoch(self) -> float:
        """Optimizer steps in one pass over the training texts."""
        return len(self._train) / self.samples_per_step

    @property
    def tokens_per_step(self) -> int:
        """Tokens of an optimizer step if every window is full."""
        return self.samples_per_step * self._recipe.max_seq_len

    @property
    def samples_per_step(self) -> int:
        """Windows in one optimizer step."""
        return self._recipe.batch_size * self._recipe.gradient_accumulation_steps

    @property
    def data_sha256(self) -> str:
        """Of the texts, labels and tokens of both splits."""
        headers = (self._train.header, self._validation.header)
        digests = [digest for each in headers for digest in (each.text_sha256, each.tokens_sha256)]
        return hashlib.sha256(" ".join(digests).encode()).hexdigest()

    def loss(self, model: nn.Module, *, step: int, micro_step: int) -> Tensor:
        """Mean loss of one micro-batch: forward in the recipe's precision, loss in fp32. Of several heads it is the
        sum of theirs, so that each learns to judge by itself (deeply-supervised nets, Lee et al. 2015)."""
        network = as_text_classifier(model)
        first = micro_step * self._recipe.batch_size
        draws = self._order.step(step)[first : first + self._recipe.batch_size]
        windows = [self._train.window(draw.text, draw.stretch) for draw in draws]
        ids_BT, mask_BT = padded_batch(windows, self._train.plan)
        labels = [self._labels[draw.text] for draw in draws]
        labels_B = torch.tensor(labels, dtype=torch.float32)
        ids_BT, mask_BT = self._device.move(ids_BT), self._device.move(mask_BT)
        with self._device.autocast(self._recipe.precision):
            logits_HB = network.training_logits(ids_BT, mask_BT)
        losses_HB = focal_loss(
            logits_HB.float(),
            self._device.move(labels_B),
            gamma=self._gamma,
            positive_weight=self._positive_weight,
        )
        return losses_HB.sum(0).mean()

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Over the logits of all validation texts: the training loss, and accuracy, ROC-AUC and F1 at probability 0.5.

        Without texts of both classes there is no ROC-AUC.
        """
        logits = judge(
            as_text_classifier(model),
            self._validation,
            device=self._device,
            recipe=self._recipe,
            report=self._on_evaluation,
        )
        labels = np.array(self._validation.labels(), dtype=np.int8)
        losses = focal_loss(
            torch.from_numpy(logits),
            torch.tensor(self._validation.labels(), dtype=torch.float64),
            gamma=self._gamma,
            positive_weight=self._positive_weight,
        )
        return {"loss": float(losses.mean().item()), **_figures(logits, labels)}

    def state(self) -> dict[str, Tensor]:
        """Nothing: every batch is a function of the step."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """There is nothing to restore."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One window of a batch."""

    text: int
    stretch: range

    def tokens(self) -> int:
        """Its length, special tokens not counted."""
        return len(self.stretch)


class TextOrder:
    """Which windows a step learns from, as a pure function of (seed, step).

    Texts are dealt out in a seeded order, every text once an epoch; texts of a few steps are then sorted by length, and those
    steps shuffled. Of a long text a stretch is drawn anew each epoch.
    """

    def __init__(self, windows: LabelledWindows, *, rows: int, seed: int) -> None:
        self._windows = windows
        self._rows = rows
        self._seed = seed
        self._block: tuple[int, list[Draw]] = (-1, [])

    def step(self, step: int) -> list[Draw]:
        """The windows of one optimizer step."""
        block, place = divmod(step, _STEPS_AT_ONCE)
        if self._block[0] != block:
            self._block = (block, self._draws(block))
        place = permuted(place, size=_STEPS_AT_ONCE, key=mixed(self._seed, block, _STEPS))
        return self._block[1][place * self._rows : (place + 1) * self._rows]

    def _draws(self, block: int) -> list[Draw]:
        size = _STEPS_AT_ONCE * self._rows
        draws = [self._draw(number) for number in range(block * size, (block + 1) * size)]
        draws.sort(key=Draw.tokens)
        return draws

    def _draw(self, number: int) -> Draw:
        num_texts = len(self._windows)
        epoch, index = divmod(number, num_texts)
        text = permuted(index, size=num_texts, key=mixed(self._seed, epoch, _SHUFFLE))
        num_tokens, most = self._windows.num_tokens(text), self._windows.plan.stretch
        if num_tokens <= most:
            return Draw(text, range(num_tokens))
        start = mixed(self._seed, epoch, text, _CROP) % (num_tokens - most + 1)
        return Draw(text, range(start, start + most))


def _figures(logits: NDArray[np.float64], labels: NDArray[np.int8]) -> dict[str, float]:
    one_group = np.zeros(len(labels), dtype=np.int64)
    verdicts = JudgedTexts(logits > 0.0, labels, one_group).figures(np.ones((1, 1)))
    figures = {"accuracy": float(np.sum(verdicts.accuracy)), "f1": float(np.sum(verdicts.f1))}
    if 0 < np.count_nonzero(labels) < len(labels):
        figures["roc_auc"] = RankedTexts(logits, labels, one_group).roc_auc(1)
    return figures
