import importlib
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from model_trainer.engine.evaluation.detector.metrics import JudgedTexts, RankedTexts, numbered
from tests.unit.engine.calibration.toys import drawn_logits

metrics = importlib.import_module("sklearn.metrics")
DRAWN = drawn_logits(400, seed=1)
GROUPS = numbered(np.arange(400) // 3)
WEIGHTS = np.random.default_rng(0).integers(0, 4, (3, int(GROUPS.max()) + 1)).astype(np.float64)


def _scores(decimals: int) -> NDArray[np.float64]:
    return np.round(DRAWN.logits, decimals)


def _tpr_at(share: float, scores: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """By trying every threshold."""
    human, ai = DRAWN.labels == 0, DRAWN.labels == 1
    return max(
        (
            float(weights[ai & (scores > level)].sum() / weights[ai].sum())
            for level in scores
            if weights[human & (scores > level)].sum() <= share * weights[human].sum() + 1e-9
        ),
        default=0.0,
    )


@pytest.mark.parametrize("decimals", [12, 0], ids=["all different", "many ties"])
def test_ranking_is_scikit_learns_for_each_weighting_of_the_groups(decimals: int) -> None:
    scores = _scores(decimals)
    figures = RankedTexts(scores, DRAWN.labels, GROUPS).figures(WEIGHTS)
    for row, of_groups in enumerate(WEIGHTS):
        weights = of_groups[GROUPS]
        area = metrics.roc_auc_score(DRAWN.labels, scores, sample_weight=weights)
        precision = metrics.average_precision_score(DRAWN.labels, scores, sample_weight=weights)
        assert figures.roc_auc[row] == pytest.approx(area, abs=1e-12)
        assert figures.pr_auc[row] == pytest.approx(precision, abs=1e-12)
        assert figures.tpr_at_fpr_1[row] == pytest.approx(_tpr_at(0.01, scores, weights), abs=1e-12)
        assert figures.tpr_at_fpr_5[row] == pytest.approx(_tpr_at(0.05, scores, weights), abs=1e-12)


def test_the_share_that_may_be_accused_counts_to_the_last_text() -> None:
    # 3 of 300 is one percent, although 0.01 * 300 is a little more or less.
    scores = np.concatenate((np.linspace(0, 1, 300), [0.991, 0.985]))
    labels = np.array([0] * 300 + [1, 1], dtype=np.int8)
    ranked = RankedTexts(scores, labels, np.zeros(302, dtype=np.int64))
    assert ranked.figures(np.ones((1, 1))).tpr_at_fpr_1.tolist() == [0.5]
    assert ranked.figures(np.full((1, 1), 7.0)).tpr_at_fpr_1.tolist() == [0.5]


def test_a_weighting_without_one_class_has_no_ranking() -> None:
    ranked = RankedTexts(np.array([1.0, 2.0]), np.array([0, 1], dtype=np.int8), np.array([0, 1]))
    figures = ranked.figures(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    assert [math.isnan(value) for value in figures.roc_auc] == [True, True, False]
    assert [math.isnan(value) for value in figures.pr_auc] == [True, False, False]
    assert [math.isnan(value) for value in figures.tpr_at_fpr_5] == [True, False, False]


def test_the_area_of_all_texts_is_scikit_learns() -> None:
    ranked = RankedTexts(DRAWN.logits, DRAWN.labels, GROUPS)
    expected = metrics.roc_auc_score(DRAWN.labels, DRAWN.logits)
    assert ranked.roc_auc(int(GROUPS.max()) + 1) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("threshold", [-1.0, 0.5, 2.0])
def test_decisions_are_scikit_learns_for_each_weighting_of_the_groups(threshold: float) -> None:
    called_ai = DRAWN.logits > threshold
    figures = JudgedTexts(called_ai, DRAWN.labels, GROUPS).figures(WEIGHTS)
    for row, of_groups in enumerate(WEIGHTS):
        weights = of_groups[GROUPS]
        expected = {
            "f1": metrics.f1_score(DRAWN.labels, called_ai, sample_weight=weights),
            "precision": metrics.precision_score(DRAWN.labels, called_ai, sample_weight=weights),
            "recall": metrics.recall_score(DRAWN.labels, called_ai, sample_weight=weights),
            "accuracy": metrics.accuracy_score(DRAWN.labels, called_ai, sample_weight=weights),
            "mcc": metrics.matthews_corrcoef(DRAWN.labels, called_ai, sample_weight=weights),
            "fpr": 1 - metrics.recall_score(1 - DRAWN.labels, ~called_ai, sample_weight=weights),
        }
        found = {name: getattr(figures, name)[row] for name in expected}
        assert found == pytest.approx(expected, abs=1e-12)


def test_verdicts_that_call_nothing_ai_have_figures_of_nought() -> None:
    judged = JudgedTexts(np.zeros(2, dtype=np.bool_), np.array([0, 1], dtype=np.int8), np.array([0, 1]))
    figures = judged.figures(np.ones((1, 2)))
    assert [figures.f1[0], figures.precision[0], figures.recall[0], figures.mcc[0]] == [0, 0, 0, 0]
    assert figures.accuracy[0] == 0.5


def test_groups_are_numbered_without_gaps() -> None:
    assert numbered(np.array([7, -3, 7, 90])).tolist() == [1, 0, 1, 2]
