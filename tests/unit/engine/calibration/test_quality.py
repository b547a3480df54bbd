import importlib
import math

import numpy as np
import pytest

from model_trainer.engine.calibration.quality import (
    NUM_BINS,
    bin_starts,
    probability_quality,
    reliability_bins,
)
from model_trainer.serving.probabilities import sigmoid
from tests.unit.engine.calibration.toys import drawn_logits

DRAWN = drawn_logits(1500, seed=1, sharper=2.0, shifted=0.5)


def test_scores_are_scikit_learns() -> None:
    metrics = importlib.import_module("sklearn.metrics")
    quality = probability_quality(DRAWN.logits, DRAWN.labels)
    predicted = sigmoid(DRAWN.logits)
    assert quality.brier == pytest.approx(metrics.brier_score_loss(DRAWN.labels, predicted), abs=1e-12)
    assert quality.nll == pytest.approx(metrics.log_loss(DRAWN.labels, predicted), abs=1e-12)


def test_reliability_bins_are_scikit_learns_quantile_bins() -> None:
    curve = importlib.import_module("sklearn.calibration").calibration_curve
    predicted = sigmoid(DRAWN.logits)
    shares, means = curve(DRAWN.labels, predicted, n_bins=NUM_BINS, strategy="quantile")
    bins = reliability_bins(predicted, DRAWN.labels)
    assert [each.count for each in bins] == [100] * NUM_BINS
    assert [each.mean_probability for each in bins] == pytest.approx(means, abs=1e-12)
    assert [each.share_ai for each in bins] == pytest.approx(shares, abs=1e-12)
    assert probability_quality(DRAWN.logits, DRAWN.labels).ece == pytest.approx(
        np.mean(np.abs(shares - means)), abs=1e-12
    )


def test_the_parts_of_the_brier_score_add_up_where_bins_hold_one_probability_each() -> None:
    # Murphy's identity is exact then.
    generator = np.random.default_rng(2)
    odds = np.repeat([-2.0, -0.5, 0.3, 1.7], 60)
    labels = (generator.random(240) < sigmoid(odds + 0.4)).astype(np.int8)
    quality = probability_quality(odds, labels)
    assert quality.brier == pytest.approx(
        quality.brier_reliability - quality.brier_resolution + quality.brier_uncertainty, abs=1e-12
    )
    assert quality.brier_uncertainty == pytest.approx(labels.mean() * (1 - labels.mean()))
    assert quality.brier_resolution > 0.05


def test_probabilities_that_are_right_have_slope_one_and_intercept_nought() -> None:
    drawn = drawn_logits(20_000, seed=3)
    quality = probability_quality(drawn.logits, drawn.labels)
    assert quality.slope == pytest.approx(1.0, abs=0.05)
    assert quality.intercept == pytest.approx(0.0, abs=0.05)
    assert quality.ece < 0.02


def test_too_sure_probabilities_have_a_slope_below_one() -> None:
    quality = probability_quality(*_sharper(4.0))
    assert quality.slope == pytest.approx(0.25, abs=0.02)


def _sharper(factor: float) -> tuple[np.ndarray, np.ndarray]:
    drawn = drawn_logits(20_000, seed=3, sharper=factor)
    return drawn.logits, drawn.labels


def test_a_single_probability_for_all_has_an_intercept_only() -> None:
    quality = probability_quality(np.full(4, 2.0), np.array([1, 0, 0, 0], dtype=np.int8))
    assert quality.slope == 1.0
    assert quality.intercept == pytest.approx(math.log(1 / 3) - 2.0)
    assert quality.brier_resolution == 0.0


def test_figures_stay_numbers_where_a_sure_text_is_wrong() -> None:
    quality = probability_quality(np.array([800.0, -800.0, 1.0]), np.array([0, 1, 1], dtype=np.int8))
    assert quality.nll == pytest.approx((800 + 800 + math.log1p(math.exp(-1))) / 3)


def test_equal_probabilities_share_a_bin_so_that_the_order_of_rows_changes_nothing() -> None:
    predicted = np.array([0.1] * 50 + [0.2] * 3 + [0.9] * 47)
    labels = np.array([1, 0] * 50, dtype=np.int8)
    turned = np.random.default_rng(0).permutation(100)
    bins = reliability_bins(predicted, labels)
    assert [each.count for each in bins] == [53, 47]
    assert reliability_bins(predicted[turned], labels[turned]) == bins


def test_fewer_texts_than_bins_have_a_bin_each() -> None:
    assert bin_starts(np.array([0.1, 0.2, 0.7])).tolist() == [0, 1, 2]
