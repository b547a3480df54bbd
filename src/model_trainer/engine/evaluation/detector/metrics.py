"""Figures of scores and of verdicts, for many weightings of the texts' groups at once.

Shapes: B weightings, G groups, N texts, L levels (texts of equal score share one).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_A_LITTLE_MORE = 1 + 1e-9
"""1 % of 300 texts is 3 texts, although 0.01 * 300 need not be 3."""


@dataclass(frozen=True, slots=True)
class RankingFigures:
    """Of each weighting; NaN where it has but one class."""

    roc_auc: NDArray[np.float64]
    pr_auc: NDArray[np.float64]
    """Average precision."""
    tpr_at_fpr_1: NDArray[np.float64]
    tpr_at_fpr_5: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DecisionFigures:
    """Of each weighting; 0 where a ratio has nothing below its line."""

    f1: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    mcc: NDArray[np.float64]
    fpr: NDArray[np.float64]


class RankedTexts:
    """Texts in descending order of score."""

    def __init__(
        self, scores: NDArray[np.float64], labels: NDArray[np.int8], groups: NDArray[np.int64]
    ) -> None:
        """`groups` are numbered from 0 without gaps."""
        order = np.argsort(scores, kind="stable")[::-1].astype(np.int64)
        ascending, levels = np.sort(scores), np.unique(scores)[::-1]
        self._level_starts = len(scores) - np.searchsorted(ascending, levels, side="right").astype(np.int64)
        self._is_ai = labels[order].astype(np.float64)
        self._groups = groups[order]

    def figures(self, weights_BG: NDArray[np.float64]) -> RankingFigures:
        """Memory: some ten times 8 bytes a text and weighting."""
        weights_BN: NDArray[np.float64] = np.take(weights_BG, self._groups, axis=1)
        ai_BL = self._by_level(weights_BN * self._is_ai)
        human_BL = self._by_level(weights_BN * (1.0 - self._is_ai))
        found_BL = np.cumsum(ai_BL, axis=1)
        accused_BL = np.cumsum(human_BL, axis=1)
        num_ai_B = _last(found_BL)
        num_human_B = _last(accused_BL)
        pairs_B = _total(human_BL * (found_BL - ai_BL / 2))
        precision_BL = _ratio(found_BL, found_BL + accused_BL, otherwise=0.0)
        return RankingFigures(
            roc_auc=_ratio(pairs_B, num_ai_B * num_human_B, otherwise=np.nan),
            pr_auc=_ratio(_total(ai_BL * precision_BL), num_ai_B, otherwise=np.nan),
            tpr_at_fpr_1=_found_within(0.01, found_BL, accused_BL),
            tpr_at_fpr_5=_found_within(0.05, found_BL, accused_BL),
        )

    def roc_auc(self, num_groups: int) -> float:
        """Of all texts alike."""
        return float(np.sum(self.figures(np.ones((1, num_groups))).roc_auc))

    def _by_level(self, values_BN: NDArray[np.float64]) -> NDArray[np.float64]:
        by_level: NDArray[np.float64] = np.add.reduceat(values_BN, self._level_starts, axis=1)
        return by_level


class JudgedTexts:
    """Texts with verdicts, counted group by group."""

    def __init__(
        self, called_ai: NDArray[np.bool_], labels: NDArray[np.int8], groups: NDArray[np.int64]
    ) -> None:
        """`groups` are numbered from 0 without gaps."""
        is_ai = labels.astype(np.bool_)
        self._found_G = np.bincount(groups, weights=called_ai & is_ai)
        self._accused_G = np.bincount(groups, weights=called_ai & ~is_ai)
        self._missed_G = np.bincount(groups, weights=~called_ai & is_ai)
        self._cleared_G = np.bincount(groups, weights=~called_ai & ~is_ai)

    def figures(self, weights_BG: NDArray[np.float64]) -> DecisionFigures:
        """By weighting."""
        tp = weights_BG @ self._found_G
        fp = weights_BG @ self._accused_G
        fn = weights_BG @ self._missed_G
        tn = weights_BG @ self._cleared_G
        spread: NDArray[np.float64] = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        return DecisionFigures(
            f1=_ratio(2 * tp, 2 * tp + fp + fn, otherwise=0.0),
            precision=_ratio(tp, tp + fp, otherwise=0.0),
            recall=_ratio(tp, tp + fn, otherwise=0.0),
            accuracy=_ratio(tp + tn, tp + fp + fn + tn, otherwise=0.0),
            mcc=_ratio(tp * tn - fp * fn, spread, otherwise=0.0),
            fpr=_ratio(fp, fp + tn, otherwise=0.0),
        )


def numbered(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same groups, numbered from 0 without gaps."""
    names = np.unique(groups)
    return np.searchsorted(names, groups).astype(np.int64)


def _found_within(
    share: float, found_BL: NDArray[np.float64], accused_BL: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The share of AI texts above the lowest threshold that calls at most `share` of the human ones AI."""
    allowed_BL = share * _A_LITTLE_MORE * accused_BL[:, -1:]
    within_BL = np.where(accused_BL <= allowed_BL, found_BL, 0.0)
    most_B: NDArray[np.float64] = np.maximum.reduce(within_BL, axis=1)
    return _ratio(most_B, _last(found_BL), otherwise=np.nan)


def _ratio(
    above: NDArray[np.float64], below: NDArray[np.float64], *, otherwise: float
) -> NDArray[np.float64]:
    """above / below, and `otherwise` where below is 0."""
    there = below > 0
    ratio: NDArray[np.float64] = np.where(there, above / np.where(there, below, 1.0), otherwise)
    return ratio


def _total(values_BL: NDArray[np.float64]) -> NDArray[np.float64]:
    total_B: NDArray[np.float64] = np.add.reduce(values_BL, axis=1)
    return total_B


def _last(values_BL: NDArray[np.float64]) -> NDArray[np.float64]:
    last_B: NDArray[np.float64] = values_BL[:, -1]
    return last_B
