import importlib

import numpy as np
import pytest

from model_trainer.core.contracts.detector_evaluation import Interval
from model_trainer.engine.calibration.quality import probability_quality
from model_trainer.engine.evaluation.detector.bootstrap import (
    ece_interval,
    figure,
    interval_of,
    null_test,
    resamplings,
)
from model_trainer.engine.evaluation.detector.metrics import RankedTexts
from model_trainer.serving.probabilities import sigmoid
from tests.unit.engine.calibration.toys import drawn_logits


def _all(labels: list[int], groups: list[int], *, samples: int, seed: int = 0) -> np.ndarray:
    rounds = resamplings(
        np.array(labels, dtype=np.int8), np.array(groups, dtype=np.int64), samples=samples, seed=seed
    )
    return np.concatenate([np.zeros((0, max(groups) + 1)), *rounds])


def test_groups_are_drawn_with_replacement_as_many_as_there_are() -> None:
    weights = _all([0, 1] * 10, [*range(20)], samples=500)
    assert weights.shape == (500, 20)
    assert set(weights.sum(axis=1)) == {20.0}
    assert weights.mean(axis=0) == pytest.approx(np.ones(20), abs=0.2)
    assert weights.var() == pytest.approx(0.95, abs=0.05)  # binomial: 20 * 1/20 * 19/20


def test_resamplings_that_lack_a_class_are_left_out() -> None:
    weights = _all([0, 1], [0, 1], samples=400)
    assert {tuple(row) for row in weights} == {(1.0, 1.0)}
    assert 150 < len(weights) < 250


def test_no_resamplings_are_none() -> None:
    assert len(_all([0, 1], [0, 1], samples=0)) == 0


def test_the_seed_decides_the_draws() -> None:
    labels, groups = [0, 1] * 10, [*range(20)]
    assert np.array_equal(_all(labels, groups, samples=9), _all(labels, groups, samples=9))
    assert not np.array_equal(_all(labels, groups, samples=9), _all(labels, groups, samples=9, seed=1))


def test_many_texts_come_in_rounds_so_that_memory_does_not_grow() -> None:
    labels, groups = [0, 1] * 50_000, [0, 1] * 50_000
    rounds = [
        len(each)
        for each in resamplings(
            np.array(labels, dtype=np.int8), np.array([*range(100_000)]), samples=25, seed=0
        )
    ]
    assert rounds == [10, 10, 5]
    assert len(groups) == 100_000


def test_an_interval_holds_the_middle_95_percent() -> None:
    assert interval_of([np.arange(0.0, 500.0), np.arange(500.0, 1001.0)]) == Interval(low=25.0, high=975.0)


def test_no_values_have_no_interval() -> None:
    assert interval_of([]) is None
    assert interval_of([np.zeros(0)]) is None


def test_a_figure_is_its_value_with_the_interval_of_its_resamplings() -> None:
    found = figure(np.array([0.5]), [np.array([0.25, 0.25])])
    assert (found.value, found.interval) == (0.5, Interval(low=0.25, high=0.25))


def test_texts_of_one_source_are_one_draw_so_that_copies_do_not_narrow_the_interval() -> None:
    drawn = drawn_logits(150, seed=2)

    def width(copies: int, groups: np.ndarray) -> float:
        labels = np.tile(drawn.labels, copies)
        ranked = RankedTexts(np.tile(drawn.logits, copies), labels, groups)
        areas = [ranked.figures(each).roc_auc for each in resamplings(labels, groups, samples=800, seed=0)]
        interval = interval_of(areas)
        assert interval is not None
        return interval.high - interval.low

    once = width(1, np.arange(150))
    assert width(4, np.tile(np.arange(150), 4)) == pytest.approx(once, rel=0.01)
    assert width(4, np.arange(600)) < 0.7 * once


def test_the_intervals_width_is_that_of_the_areas_standard_error() -> None:
    drawn = drawn_logits(600, seed=3)
    ranked = RankedTexts(drawn.logits, drawn.labels, np.arange(600))
    interval = interval_of(
        [
            ranked.figures(each).roc_auc
            for each in resamplings(drawn.labels, np.arange(600), samples=1500, seed=0)
        ]
    )
    ai, human = drawn.logits[drawn.labels == 1], drawn.logits[drawn.labels == 0]
    above = (ai[:, None] > human[None, :]).astype(float)  # DeLong's variance
    variance = above.mean(axis=1).var(ddof=1) / len(ai) + above.mean(axis=0).var(ddof=1) / len(human)
    assert interval is not None
    assert (interval.high - interval.low) / 2 == pytest.approx(1.96 * variance**0.5, rel=0.1)


def test_shuffled_labels_leave_an_area_of_a_half_give_or_take_luck() -> None:
    drawn = drawn_logits(500, seed=4)
    found = null_test(drawn.logits, drawn.labels, seed=0)
    num_ai = int(drawn.labels.sum())
    deviation = ((501) / (12 * num_ai * (500 - num_ai))) ** 0.5  # Mann and Whitney 1947
    assert found.roc_auc_low == pytest.approx(0.5 - 1.96 * deviation, abs=0.006)
    assert found.roc_auc_high == pytest.approx(0.5 + 1.96 * deviation, abs=0.006)
    assert found.p_value == pytest.approx(1 / 1001)


@pytest.mark.parametrize("decimals", [12, 0], ids=["all different", "many ties"])
def test_the_p_value_of_weak_scores_is_that_of_the_rank_sum_test(decimals: int) -> None:
    drawn = drawn_logits(200, seed=5)
    scores = np.round(
        np.random.default_rng(7).normal(0, 1, 200) + np.where(drawn.labels == 1, 0.05, 0.0), decimals
    )
    test = importlib.import_module("scipy.stats").mannwhitneyu(
        scores[drawn.labels == 1], scores[drawn.labels == 0], alternative="greater"
    )
    assert 0.01 < test.pvalue < 0.9
    assert null_test(scores, drawn.labels, seed=0).p_value == pytest.approx(test.pvalue, abs=0.04)


def test_scores_that_are_all_equal_rank_nothing() -> None:
    found = null_test(np.zeros(6), np.array([0, 1, 1, 0, 1, 0], dtype=np.int8), seed=0)
    assert (found.roc_auc_low, found.roc_auc_high, found.p_value) == (0.5, 0.5, 1.0)


def test_the_calibration_error_of_right_probabilities_lies_where_luck_puts_it() -> None:
    inside = 0
    for seed in range(40):
        drawn = drawn_logits(300, seed=seed)
        interval = ece_interval(sigmoid(drawn.logits), seed=0)
        assert interval is not None
        inside += interval.low <= probability_quality(drawn.logits, drawn.labels).ece <= interval.high
    assert inside >= 35


def test_the_calibration_error_of_wrong_probabilities_lies_above() -> None:
    drawn = drawn_logits(2000, seed=1, sharper=4.0)
    interval = ece_interval(sigmoid(drawn.logits), seed=0)
    assert interval is not None
    assert probability_quality(drawn.logits, drawn.labels).ece > interval.high
