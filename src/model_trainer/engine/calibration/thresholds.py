"""Finds thresholds on validation's probabilities: AI when the probability is greater."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_trainer.core.contracts.calibration import AbstainBand, FprRange, LengthBucket, Threshold
from model_trainer.core.contracts.detector import CalibrateSpec, DecisionName
from model_trainer.engine.calibration.order_statistics import one_of_each, order_for, share_above

FEWEST_FOR_A_BUCKET = 100
"""Texts of each class for a threshold that is tuned in one length bucket: a share found in fewer is known no better than
to 10 points (95 %), worse than the threshold of all texts serves."""


@dataclass(frozen=True, slots=True)
class _Curve:
    """Every way to cut the texts in two by probability, from 'none is AI' on, with how many of each class are above."""

    thresholds: NDArray[np.float64]
    true_positives: NDArray[np.float64]
    false_positives: NDArray[np.float64]


def find_thresholds(
    predicted: NDArray[np.float64],
    labels: NDArray[np.int8],
    groups: NDArray[np.int64],
    spec: CalibrateSpec,
) -> tuple[Threshold, ...]:
    """All of them, one of each name; both classes must be there. `groups` are equal for texts of one source document."""
    scores = _Scores(predicted, labels, groups)
    return (
        scores.described("half", 0.5),
        scores.described("max_f1", _most_f1(scores)),
        scores.described("youden", _most_youden(scores)),
        _with_target_fpr(scores, "fpr_1", 0.01),
        _with_target_fpr(scores, "fpr_5", 0.05),
        _with_precision(scores, spec.target_precision),
    )


def find_band(
    predicted: NDArray[np.float64],
    labels: NDArray[np.int8],
    groups: NDArray[np.int64],
    spec: CalibrateSpec,
) -> tuple[AbstainBand | None, str | None]:
    """Between which probabilities nothing is claimed, or why there is no such band."""
    scores = _Scores(predicted, labels, groups)
    high_order = order_for(len(scores.sources), spec.band_false_positives)
    low_order = order_for(scores.num_ai, spec.band_misses)
    if high_order is None:
        return None, _too_few(len(scores.sources), "human source documents", spec.band_false_positives)
    if low_order is None:
        return None, _too_few(scores.num_ai, "AI texts", spec.band_misses)
    high = _item(scores.sources, high_order - 1)
    # As many AI scores are below it as human ones are above the other end; texts that score exactly it count as missed.
    low = float(np.nextafter(_item(scores.ai, scores.num_ai - low_order), -1.0))
    if low >= high:
        return None, "The classes are so far apart that nothing is left between the band's two ends."
    if low < 0:
        return None, "Too many AI texts have probability 0."
    return AbstainBand(low=low, high=high), None


def find_buckets(
    predicted: NDArray[np.float64],
    labels: NDArray[np.int8],
    groups: NDArray[np.int64],
    num_words: NDArray[np.int32],
    spec: CalibrateSpec,
) -> tuple[LengthBucket, ...]:
    """The lengths of spec.length_buckets, with thresholds of their own where there are texts enough; none without any."""
    if not spec.length_buckets:
        return ()
    edges = (0, *spec.length_buckets)
    ends: tuple[int | None, ...] = (*(edge - 1 for edge in spec.length_buckets), None)
    buckets: list[LengthBucket] = []
    for least, most in zip(edges, ends, strict=True):
        inside = num_words >= least if most is None else (num_words >= least) & (num_words <= most)
        num_ai = int(np.count_nonzero(labels[inside]))
        num_human = int(np.count_nonzero(inside)) - num_ai
        buckets.append(
            LengthBucket(
                min_words=least,
                max_words=most,
                num_human=num_human,
                num_ai=num_ai,
                thresholds=_own(predicted[inside], labels[inside], groups[inside], spec)
                if min(num_human, num_ai) >= FEWEST_FOR_A_BUCKET
                else (),
            )
        )
    return tuple(buckets)


def _own(
    predicted: NDArray[np.float64],
    labels: NDArray[np.int8],
    groups: NDArray[np.int64],
    spec: CalibrateSpec,
) -> tuple[Threshold, ...]:
    """Thresholds that depend on the texts, where these have them."""
    found = find_thresholds(predicted, labels, groups, spec)
    return tuple(each for each in found if each.name != "half" and each.value is not None)


class _Scores:
    """Probabilities by class, each in ascending order."""

    def __init__(
        self, predicted: NDArray[np.float64], labels: NDArray[np.int8], groups: NDArray[np.int64]
    ) -> None:
        is_ai = labels.astype(np.bool_)
        self.human = np.sort(predicted[~is_ai])
        self.sources = np.sort(predicted[~is_ai][one_of_each(groups[~is_ai])])
        """One human text of each source document."""
        self.ai = np.sort(predicted[is_ai])
        self.num_human = len(self.human)
        self.num_ai = len(self.ai)

    def described(self, name: DecisionName, value: float, fpr_range: FprRange | None = None) -> Threshold:
        """The threshold with what it does to these texts."""
        false_positives = self.num_human - int(np.searchsorted(self.human, value, side="right"))
        true_positives = self.num_ai - int(np.searchsorted(self.ai, value, side="right"))
        num_called_ai = true_positives + false_positives
        return Threshold(
            name=name,
            value=value,
            fpr_range=fpr_range,
            validation_fpr=false_positives / self.num_human,
            validation_tpr=true_positives / self.num_ai,
            validation_precision=true_positives / num_called_ai if num_called_ai else 0.0,
            validation_f1=2 * true_positives / (num_called_ai + self.num_ai),
        )

    def curve(self) -> _Curve:
        """All cuts: halfway between neighbours, so that luck on either side is alike."""
        levels = np.unique(np.concatenate((self.human, self.ai)))[::-1]
        below = np.concatenate((levels[1:], np.zeros(1)))
        # None is AI above the highest; below each level all that reach it are.
        halfway = below + (levels - below) / 2
        cuts: NDArray[np.float64] = np.where(halfway < levels, halfway, below)
        thresholds = np.concatenate((levels[:1], cuts))
        return _Curve(
            thresholds=thresholds,
            true_positives=_above(self.ai, thresholds),
            false_positives=_above(self.human, thresholds),
        )


def _most_f1(scores: _Scores) -> float:
    curve = scores.curve()
    called_ai = curve.true_positives + curve.false_positives
    return _best(curve, 2 * curve.true_positives / (called_ai + scores.num_ai))


def _most_youden(scores: _Scores) -> float:
    curve = scores.curve()
    return _best(curve, curve.true_positives / scores.num_ai - curve.false_positives / scores.num_human)


def _with_target_fpr(scores: _Scores, name: DecisionName, target: float) -> Threshold:
    num_sources = len(scores.sources)
    order = order_for(num_sources, target)
    if order is None:
        missing = _too_few(num_sources, "human source documents", target)
        return Threshold(name=name, value=None, why_missing=missing)
    low, high = share_above(num_sources, order)
    fpr_range = FprRange(
        target=target,
        num_human=num_sources,
        order=order,
        expected=(num_sources + 1 - order) / (num_sources + 1),
        low=low,
        high=high,
    )
    return scores.described(name, _item(scores.sources, order - 1), fpr_range)


def _with_precision(scores: _Scores, target: float) -> Threshold:
    """The lowest cut with at least this precision: it finds most."""
    curve = scores.curve()
    called_ai = curve.true_positives + curve.false_positives
    enough = np.flatnonzero((curve.true_positives >= target * called_ai) & (called_ai > 0))
    if len(enough) == 0:
        return Threshold(
            name="precision",
            value=None,
            why_missing=f"No threshold on these texts reaches a precision of {target:g}.",
        )
    return scores.described("precision", _item(curve.thresholds, int(np.amax(enough))))


def _best(curve: _Curve, gains: NDArray[np.float64]) -> float:
    """Where the gain is greatest; of equals the highest cut, which calls fewest texts AI."""
    return _item(curve.thresholds, int(np.argmax(gains)))


def _above(ordered: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    return len(ordered) - np.searchsorted(ordered, thresholds, side="right").astype(np.float64)


def _item(values: NDArray[np.float64], place: int) -> float:
    return float(np.take(values, place))


def _too_few(number: int, kind: str, share: float) -> str:
    needed = math.ceil(1 / share - 1e-9) - 1
    return f"It needs at least {needed} {kind} to keep a share of {share:g}; validation has {number}."
