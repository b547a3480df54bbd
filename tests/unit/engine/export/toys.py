"""A small detector whose every number is known: words of a word list, one weight a word."""

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from model_trainer.core.contracts.calibration import (
    AbstainBand,
    Calibration,
    LengthBucket,
    ProbabilityQuality,
    Threshold,
    Thresholds,
)
from model_trainer.core.contracts.detector import CalibrateSpec, Reading, TrainingConfig, WindowPlan
from model_trainer.engine.protocols import TextClassifier

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "people", "machine", "wrote", "this", "hope", "delve", "a", "c")
PLAN = WindowPlan(length=8, stride=4, prefix=(2,), suffix=(3,), pad_id=0)
READING = Reading(collapse_whitespace=True, normalise_unicode=True)
QUALITY = ProbabilityQuality(
    nll=0.31,
    brier=0.1,
    brier_reliability=0.01,
    brier_resolution=0.16,
    brier_uncertainty=0.25,
    ece=0.03,
    slope=1.1,
    intercept=-0.2,
)


class ToyClassifier(TextClassifier):
    """The mean over a window's tokens, then two layers."""

    def __init__(self, *, vocab_size: int = len(WORDS), width: int = 16) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.dropout = nn.Dropout(0.5)
        self.inner = nn.Linear(width, width, bias=False)
        self.head = nn.Linear(width, 1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask.unsqueeze(-1).float()
        mean = (self.embedding(input_ids) * mask).sum(1) / mask.sum(1).clamp(min=1.0)
        logits: Tensor = self.head(torch.tanh(self.inner(self.dropout(mean))))
        return logits.squeeze(-1)


class HashingClassifier(TextClassifier):
    """Pairs of neighbouring tokens looked up in a hashed table, as wide models do."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(64, 4)
        self.head = nn.Linear(4, 1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        keys = (input_ids[:, :-1] * 1_000_003 + input_ids[:, 1:] * 8_191) % 64
        mask = (attention_mask[:, :-1] * attention_mask[:, 1:]).unsqueeze(-1).float()
        logits: Tensor = self.head((self.table(keys) * mask).sum(1))
        return logits.squeeze(-1)


def toy(*, seed: int = 0) -> ToyClassifier:
    """The same for the same seed."""
    torch.manual_seed(seed)
    return ToyClassifier()


def write_tokenizer(folder: Path) -> None:
    """model/ of an artifact, as far as the export needs it. Its padding and truncation must not be heeded."""
    (folder / "model").mkdir(parents=True)
    document = {
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {
            "strategy": {"Fixed": 5},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        },
        "added_tokens": [
            {
                "id": 3,
                "content": "[SEP]",
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: index for index, word in enumerate(WORDS)},
            "unk_token": "[UNK]",
        },
    }
    (folder / "model" / "tokenizer.json").write_text(json.dumps(document))
    (folder / "model" / "tokenizer_config.json").write_text("{}")


def config() -> TrainingConfig:
    """What the toy was trained with."""
    return TrainingConfig(
        run_id="01ARZ3NDEKTSV4RRFFQ69G5FAV",
        model_family="text_detector",
        spec={"model_name": "microsoft/deberta-v3-large", "from_scratch": False},
        recipe={"optimizer": "adamw", "learning_rate": 2e-05, "max_steps": None, "seed": 42},
        reading=READING,
        windows=PLAN,
        focal_gamma=2.0,
        positive_weight=1.5,
        num_parameters=1_234_567,
        num_embedding_parameters=345_678,
        data_sha256="d" * 64,
        tokenizer_sha256="e" * 64,
    )


def calibration(*, threshold: float = 0.5, temperature: float = 1.3) -> Calibration:
    """With something to undo, one bucket of its own, and a threshold that could not be found."""
    thresholds = Thresholds(
        decision="max_f1",
        thresholds=(
            Threshold(name="half", value=0.5),
            Threshold(name="max_f1", value=threshold),
            Threshold(name="fpr_1", value=None, why_missing="1 % needs 99 human texts."),
        ),
        band=AbstainBand(low=0.2, high=0.8),
        length_buckets=(
            LengthBucket(min_words=0, max_words=3, num_human=20, num_ai=20, thresholds=()),
            LengthBucket(
                min_words=20,
                max_words=None,
                num_human=20,
                num_ai=20,
                thresholds=(Threshold(name="max_f1", value=threshold + 0.125),),
            ),
        ),
    )
    return Calibration(
        asked=CalibrateSpec(length_buckets=(3, 20)),
        num_human=40,
        num_ai=44,
        logits_sha256="f" * 64,
        focal_gamma=2.0,
        positive_weight=1.5,
        temperature=temperature,
        temperature_at_bound=False,
        bias=0.1,
        optimal_threshold=threshold,
        before=QUALITY,
        after=QUALITY,
        reliability=(),
        thresholds=thresholds,
    )
