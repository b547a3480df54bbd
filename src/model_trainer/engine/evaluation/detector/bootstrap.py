"""How far luck moves a figure: resampling by group, shuffled labels, labels redrawn from the probabilities.

Shapes: B resamplings at a time, G groups, N texts.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from model_trainer.core.contracts.detector_evaluation import Figure, Interval, NullTest
from model_trainer.engine.calibration.quality import bin_starts

NULL_SAMPLES = 1000
ECE_SAMPLES = 1000
_RANGE = (0.025, 0.975)
_AT_A_TIME = 1_000_000
"""Numbers in the arrays of one round: a round keeps some ten arrays of 8 bytes each."""


def resamplings(
    labels: NDArray[np.int8], groups: NDArray[np.int64], *, samples: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    """Rounds of resamplings: how often each group is drawn. Those that lack a class are left out: no figure is theirs.

    Whole groups are drawn, since texts of one source document are right or wrong together. `groups` are numbered from 0
    without gaps.
    """
    generator = np.random.default_rng([seed, 1])
    num_groups = int(np.amax(groups)) + 1
    num_ai_G = np.bincount(groups, weights=labels)
    num_human_G = np.bincount(groups, weights=1 - labels)
    for size in _rounds(samples, len(groups)):
        draws = generator.integers(num_groups, size=(size, num_groups))
        firsts = np.arange(0, size * num_groups, num_groups).reshape(size, 1)
        places: NDArray[np.int64] = np.add(draws, firsts)
        counts = np.bincount(places.ravel(), minlength=size * num_groups).astype(np.float64)
        weights_BG = counts.reshape(size, num_groups)
        yield weights_BG[(weights_BG @ num_ai_G > 0) & (weights_BG @ num_human_G > 0)]


def interval_of(rounds: Sequence[NDArray[np.float64]]) -> Interval | None:
    """95 % of the values; None when there are none."""
    values = np.concatenate(rounds) if rounds else np.zeros(0)
    if len(values) == 0:
        return None
    low, high = _RANGE
    return Interval(low=float(np.quantile(values, low)), high=float(np.quantile(values, high)))


def figure(value: NDArray[np.float64], rounds: Sequence[NDArray[np.float64]]) -> Figure:
    """The one value with the interval of its resamplings."""
    return Figure(value=float(np.take(value, 0)), interval=interval_of(rounds))


def null_test(scores: NDArray[np.float64], labels: NDArray[np.int8], *, seed: int) -> NullTest:
    """The ROC-AUC of shuffled labels, and how often it reaches that of the real ones."""
    generator = np.random.default_rng([seed, 2])
    ranks = _middle_ranks(scores)
    num_ai = int(np.count_nonzero(labels))
    pairs = num_ai * (len(labels) - num_ai)
    least = num_ai * (num_ai + 1) / 2
    ours = (float(labels @ ranks) - least) / pairs
    rounds: list[NDArray[np.float64]] = []
    for size in _rounds(NULL_SAMPLES, len(labels)):
        copies_BN = np.tile(labels, (size, 1))
        shuffled_BN: NDArray[np.int8] = generator.permuted(copies_BN, axis=1)
        rounds.append((shuffled_BN @ ranks - least) / pairs)
    areas = np.concatenate(rounds)
    low, high = _RANGE
    reached = int(np.count_nonzero(areas >= ours))
    return NullTest(
        roc_auc_low=float(np.quantile(areas, low)),
        roc_auc_high=float(np.quantile(areas, high)),
        p_value=(1 + reached) / (1 + NULL_SAMPLES),
    )


def ece_interval(predicted: NDArray[np.float64], *, seed: int) -> Interval | None:
    """The calibration errors that these probabilities would show if they were right."""
    generator = np.random.default_rng([seed, 3])
    ordered = np.sort(predicted)
    starts = bin_starts(ordered)
    rounds: list[NDArray[np.float64]] = []
    for size in _rounds(ECE_SAMPLES, len(ordered)):
        labels_BN = generator.random((size, len(ordered))) < ordered
        gaps: NDArray[np.float64] = np.add.reduceat(ordered - labels_BN, starts, axis=1)
        sizes: NDArray[np.float64] = np.abs(gaps)
        errors: NDArray[np.float64] = np.add.reduce(sizes, axis=1) / len(ordered)
        rounds.append(errors)
    return interval_of(rounds)


def _middle_ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 1; equal scores share the mean of their ranks."""
    ordered = np.sort(scores)
    first = np.searchsorted(ordered, scores, side="left").astype(np.float64)
    behind = np.searchsorted(ordered, scores, side="right").astype(np.float64)
    return (first + behind + 1) / 2


def _rounds(samples: int, num_texts: int) -> Iterator[int]:
    """How many to take at a time, so that memory does not grow with the texts."""
    most = max(1, _AT_A_TIME // num_texts)
    for done in range(0, samples, most):
        yield min(most, samples - done)
