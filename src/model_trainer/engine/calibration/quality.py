"""How far probabilities can be believed: proper scores, their parts, calibration error, reliability."""

import math

import numpy as np
from numpy.typing import NDArray

from model_trainer.core.contracts.calibration import ProbabilityQuality, ReliabilityBin
from model_trainer.engine.calibration.fit import fit_logistic
from model_trainer.serving.probabilities import sigmoid

NUM_BINS = 15
_SLOPES = (-1e3, 1e3)
"""Of the calibration slope: classes that are wholly apart have none, and these ends are as good as any."""


def probability_quality(log_odds: NDArray[np.float64], labels: NDArray[np.int8]) -> ProbabilityQuality:
    """Of the probabilities sigmoid(log_odds); both classes must be there."""
    predicted = sigmoid(log_odds)
    targets = labels.astype(np.float64)
    share = _mean(targets)
    bins = reliability_bins(predicted, labels)
    slope, intercept = _slope_and_intercept(log_odds, labels, share)
    softplus: NDArray[np.float64] = np.logaddexp(0.0, log_odds)
    return ProbabilityQuality(
        nll=_mean(softplus - targets * log_odds),
        brier=_mean((predicted - targets) ** 2),
        brier_reliability=_weighted(bins, [(each.mean_probability - each.share_ai) ** 2 for each in bins]),
        brier_resolution=_weighted(bins, [(each.share_ai - share) ** 2 for each in bins]),
        brier_uncertainty=share * (1 - share),
        ece=_weighted(bins, [abs(each.mean_probability - each.share_ai) for each in bins]),
        slope=slope,
        intercept=intercept,
    )


def reliability_bins(predicted: NDArray[np.float64], labels: NDArray[np.int8]) -> tuple[ReliabilityBin, ...]:
    """The texts in order of their probability, in at most NUM_BINS bins of equal mass."""
    order = np.argsort(predicted, kind="stable").astype(np.int64)
    starts = bin_starts(predicted[order])
    sums: NDArray[np.float64] = np.add.reduceat(predicted[order], starts)
    num_texts: NDArray[np.float64] = np.add.reduceat(np.ones(len(order)), starts)
    targets = labels[order].astype(np.float64)
    num_ai: NDArray[np.float64] = np.add.reduceat(targets, starts)
    probabilities_of: list[float] = sums.tolist()
    counts: list[float] = num_texts.tolist()
    ai_of: list[float] = num_ai.tolist()
    return tuple(
        ReliabilityBin(count=int(count), mean_probability=total / count, share_ai=ai / count)
        for count, total, ai in zip(counts, probabilities_of, ai_of, strict=True)
    )


def bin_starts(ordered: NDArray[np.float64]) -> NDArray[np.int64]:
    """Where the bins of equal mass begin in probabilities that ascend.

    Equal probabilities stay together, or the order of the rows would decide who falls into which bin.
    """
    num_texts = len(ordered)
    cuts = np.arange(NUM_BINS, dtype=np.int64) * num_texts // NUM_BINS
    starts = np.searchsorted(ordered, ordered[np.unique(cuts)], side="left")
    return np.unique(starts).astype(np.int64)


def _slope_and_intercept(
    log_odds: NDArray[np.float64], labels: NDArray[np.int8], share: float
) -> tuple[float, float]:
    lowest = float(np.amin(log_odds))
    if lowest == float(np.amax(log_odds)):  # nothing to find a slope with
        return 1.0, math.log(share / (1 - share)) - lowest
    fit = fit_logistic(log_odds, labels, slopes=_SLOPES, with_intercept=True)
    return fit.slope, fit.intercept


def _mean(values: NDArray[np.float64]) -> float:
    return float(np.sum(values)) / len(values)


def _weighted(bins: tuple[ReliabilityBin, ...], values: list[float]) -> float:
    total = sum(each.count for each in bins)
    return sum(each.count * value for each, value in zip(bins, values, strict=True)) / total
