"""Logits become probabilities, and probabilities verdicts, by a calibration. Arithmetic alone: what training, evaluation and serving share."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model_trainer.core.contracts.calibration import Calibration, LengthBucket, Threshold, Verdict
from model_trainer.core.contracts.detector import DecisionName
from model_trainer.core.errors import AppError, ErrorCode, FieldFault

_NO_DIFFERENCE = -30.0
"""Below this, log(softplus(x)) is x to the last bit but one, and exp(x) may underflow."""


class ChosenThreshold(NamedTuple):
    """AI when the probability is greater than `value`."""

    name: DecisionName
    value: float
    bucket: str | None
    """The lengths it holds for, as words: `60-119`, `250+`; None: all texts."""


def probabilities(logits: NDArray[np.float64], calibration: Calibration) -> NDArray[np.float64]:
    """The probability that each text is AI's."""
    return sigmoid(log_odds(logits, calibration))


def log_odds(logits: NDArray[np.float64], calibration: Calibration) -> NDArray[np.float64]:
    """The logarithms of the odds of those probabilities: finite where a probability is 0 or 1 to the last bit."""
    undone = undo_loss(
        logits, focal_gamma=calibration.focal_gamma, positive_weight=calibration.positive_weight
    )
    return undone / calibration.temperature + calibration.bias


def undo_loss(
    logits: NDArray[np.float64], *, focal_gamma: float, positive_weight: float
) -> NDArray[np.float64]:
    """The log-odds of AI of which `logits` are the minimum of the loss
    -(w y (1-p)^g log p + (1-y) p^g log(1-p)), p = sigmoid(logit).

    The focal loss is not proper (Charoenphakdee et al. 2021, arXiv 2011.09172): at its minimum v the posterior is
    h(v) / (h(v) + h(1-v)), h(v) = v / phi(v), phi(v) = (1-v)^g - g (1-v)^(g-1) v ln v. The weight multiplies the odds that
    the loss sees, so it is divided out last.
    """
    return _undo_focal(logits, focal_gamma) - math.log(positive_weight)


def sigmoid(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Odds as probabilities; no overflow, however large."""
    small: NDArray[np.float64] = np.exp(-np.abs(log_odds))
    return np.where(log_odds >= 0, 1.0, small) / (1.0 + small)


def threshold_for(calibration: Calibration, decision: DecisionName | None, num_words: int) -> ChosenThreshold:
    """The threshold called `decision` (None: the calibration's) for a text of so many words.

    Raises CONFIG_INVALID when validation had too few texts for it.
    """
    thresholds = calibration.thresholds
    name = decision or thresholds.decision
    for bucket in thresholds.length_buckets:
        if _holds(bucket, num_words):
            for own in bucket.thresholds:
                if own.name == name and own.value is not None:
                    return ChosenThreshold(name, own.value, bucket_name(bucket))
    overall = thresholds.named(name)
    if overall.value is None:
        raise _missing(overall, instead=thresholds.decision)
    return ChosenThreshold(name, overall.value, None)


def band_of(probability: float, calibration: Calibration, *, threshold: float) -> Verdict:
    """What may be claimed of a text; without an abstain band the threshold that its verdict goes by says it."""
    band = calibration.thresholds.band
    if band is None:
        return "ai" if probability > threshold else "human"
    if probability > band.high:
        return "ai"
    return "human" if probability <= band.low else "uncertain"


def bucket_name(bucket: LengthBucket) -> str:
    """Its lengths in words: `60-119`, `250+`."""
    if bucket.max_words is None:
        return f"{bucket.min_words}+"
    return f"{bucket.min_words}-{bucket.max_words}"


def _undo_focal(logits: NDArray[np.float64], gamma: float) -> NDArray[np.float64]:
    """logit + log phi(1-v) - log phi(v)."""
    if gamma == 0:
        return logits
    return logits + _log_phi(-logits, gamma) - _log_phi(logits, gamma)


def _log_phi(logits: NDArray[np.float64], gamma: float) -> NDArray[np.float64]:
    """log phi(v) = (g-1) log(1-v) + log((1-v) + g v (-ln v)) in logarithms throughout: 1-v is 0 to the last bit long before
    its logarithm ends."""
    log_rest: NDArray[np.float64] = -np.logaddexp(0.0, logits)
    log_value: NDArray[np.float64] = -np.logaddexp(0.0, -logits)
    log_surprise = _log_softplus(-logits)
    inner: NDArray[np.float64] = np.logaddexp(log_rest, math.log(gamma) + log_value + log_surprise)
    return (gamma - 1) * log_rest + inner


def _log_softplus(values: NDArray[np.float64]) -> NDArray[np.float64]:
    softplus: NDArray[np.float64] = np.logaddexp(0.0, np.maximum(values, _NO_DIFFERENCE))
    logarithm: NDArray[np.float64] = np.log(softplus)
    return np.where(values < _NO_DIFFERENCE, values, logarithm)


def _holds(bucket: LengthBucket, num_words: int) -> bool:
    return bucket.min_words <= num_words and (bucket.max_words is None or num_words <= bucket.max_words)


def _missing(threshold: Threshold, *, instead: DecisionName) -> AppError:
    message = (
        f"This model has no threshold {threshold.name}: {threshold.why_missing} "
        f"Take another one, such as {instead}, or calibrate on more texts."
    )
    return AppError(
        ErrorCode.CONFIG_INVALID, message, faults=[FieldFault(pointer="/decision", message=message)]
    )
