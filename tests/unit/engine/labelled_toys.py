"""Labelled texts and a tiny classifier for tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from model_trainer.core.compute.machine import Machine
from model_trainer.core.compute.recipes import Defaults, make_recipe, place
from model_trainer.core.contracts.detector import Label, Reading, WindowPlan
from model_trainer.core.contracts.training import Recipe, TrainSpec
from model_trainer.engine.data.labelled_windows import LabelledWindows, write_windows
from model_trainer.engine.protocols import TextClassifier
from model_trainer.serving.windows import plan_windows

PLAN = plan_windows(length=6, stride=None, prefix=(1,), suffix=(2,), pad_id=0)
AS_IT_IS = Reading(collapse_whitespace=False, normalise_unicode=False)
_MACHINE = Machine(cpu_count=1, memory_bytes=2**33, native_bf16=False, cuda_memory_bytes=0)


@dataclass(frozen=True)
class Row:
    text: str
    label: Label = 0
    group: int = 0
    domain: str | None = None
    generator: str | None = None
    num_words: int = 1


def letters(texts: Sequence[str]) -> list[list[int]]:
    """Each character is a token: a is 10."""
    return [[ord(letter) - 87 for letter in text] for text in texts]


def windows(
    rows: Sequence[Row], folder: Path, *, plan: WindowPlan = PLAN, reading: Reading = AS_IT_IS
) -> LabelledWindows:
    return write_windows(rows, encode=letters, plan=plan, reading=reading, folder=folder)


def recipe(**asked: object) -> Recipe:
    spec = TrainSpec.model_validate(
        {"model_family": "toy", "max_seq_len": 6, "batch_size": 4, "max_steps": 5, "device": "cpu"} | asked
    )
    defaults = Defaults(
        max_seq_len=6,
        batch_size=4,
        optimizer="adamw",
        learning_rate={"adamw": 0.01},
        matrix_learning_rate=0.01,
        weight_decay=0.0,
        schedule="constant",
        warmup_steps=0,
        gradient_clip_norm=0.0,
        num_epochs=1.0,
        max_steps=None,
        carries_state=False,
    )
    return make_recipe(spec, place(spec, _MACHINE), defaults=defaults, shape={}, vocab_size=64)


class Scores(TextClassifier):
    """The logit of a window is the mean score of its tokens; padding is masked out. Remembers what it was shown."""

    def __init__(self, scores: Sequence[float] | None = None) -> None:
        super().__init__()
        values = torch.linspace(-1.0, 1.0, 64) if scores is None else torch.tensor(scores)
        self.table = nn.Parameter(values)
        self.shown: list[tuple[Tensor, Tensor]] = []
        self.trained: list[bool] = []

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        self.shown.append((input_ids, attention_mask))
        self.trained.append(self.training)
        scores = self.table[input_ids] * attention_mask
        return scores.sum(1) / attention_mask.sum(1)
