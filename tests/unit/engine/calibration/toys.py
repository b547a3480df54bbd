"""Logits of texts that were never written."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from model_trainer.core.contracts.calibration import Calibration
from model_trainer.core.contracts.detector import CalibrateSpec
from model_trainer.engine.calibration.calibrate import calibrate
from model_trainer.engine.data.logits import Logits


def logits_of(
    values: Sequence[float] | NDArray[np.float64],
    labels: Sequence[int] | NDArray[np.int8],
    *,
    groups: Sequence[int] | NDArray[np.int64] | None = None,
    num_words: Sequence[int] | NDArray[np.int32] | None = None,
    domains: Sequence[str] | None = None,
    generators: Sequence[str] | None = None,
    text_sha256: str = "texts",
    attacked_rows: Sequence[int] = (),
    attacked: Mapping[str, Sequence[float]] | None = None,
) -> Logits:
    """Logits with what is left out made up."""
    count = len(values)
    return Logits(
        logits=np.asarray(values, dtype=np.float64),
        labels=np.asarray(labels, dtype=np.int8),
        groups=np.arange(count) if groups is None else np.asarray(groups, dtype=np.int64),
        num_words=np.full(count, 100, dtype=np.int32)
        if num_words is None
        else np.asarray(num_words, dtype=np.int32),
        domains=np.array([""] * count if domains is None else domains, dtype=np.str_),
        generators=np.array([""] * count if generators is None else generators, dtype=np.str_),
        text_sha256=text_sha256,
        attacked_rows=np.asarray(attacked_rows, dtype=np.int64),
        attacked={name: np.asarray(after, dtype=np.float64) for name, after in (attacked or {}).items()},
    )


def drawn_logits(
    count: int, *, seed: int, apart: float = 2.0, sharper: float = 1.0, shifted: float = 0.0
) -> Logits:
    """Texts whose true log-odds are known: AI with probability sigmoid(z), and the logit is `sharper` times that."""
    generator = np.random.default_rng(seed)
    odds = generator.normal(0, apart, count)
    labels = (generator.random(count) < 1 / (1 + np.exp(-odds))).astype(np.int8)
    return logits_of(
        sharper * (odds - shifted),
        labels,
        num_words=generator.integers(5, 400, count).astype(np.int32),
        text_sha256=f"texts {seed}",
    )


def calibrated(logits: Logits, spec: CalibrateSpec | None = None) -> Calibration:
    """As after training with plain cross-entropy."""
    return calibrate(logits, spec or CalibrateSpec(), focal_gamma=0.0, positive_weight=1.0)
