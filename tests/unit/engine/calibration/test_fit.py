import importlib

import numpy as np
import pytest

from model_trainer.engine.calibration.fit import fit_logistic
from tests.unit.engine.calibration.toys import drawn_logits

RANGE = (0.05, 20.0)


@pytest.mark.parametrize("with_intercept", [True, False])
@pytest.mark.parametrize("sharper", [0.3, 1.0, 6.0])
def test_the_fit_is_scikit_learns_without_its_penalty(with_intercept: bool, sharper: float) -> None:
    drawn = drawn_logits(800, seed=3, sharper=sharper, shifted=1.5)
    reference = importlib.import_module("sklearn.linear_model").LogisticRegression(
        C=np.inf, fit_intercept=with_intercept, tol=1e-10, max_iter=1000
    )
    reference.fit(drawn.logits[:, None], drawn.labels)
    fit = fit_logistic(drawn.logits, drawn.labels, slopes=RANGE, with_intercept=with_intercept)
    assert fit.slope == pytest.approx(reference.coef_[0, 0], rel=1e-5)
    assert fit.intercept == pytest.approx(float(np.ravel(reference.intercept_)[0]), abs=1e-5)
    assert not fit.at_bound


@pytest.mark.parametrize("with_intercept", [True, False])
@pytest.mark.parametrize("size", [0.1, 5.0, 500.0])
def test_classes_that_are_wholly_apart_stop_at_the_steepest_slope(with_intercept: bool, size: float) -> None:
    labels = np.array([0, 1, 0, 1], dtype=np.int8)
    fit = fit_logistic(
        np.where(labels == 1, size, -size), labels, slopes=RANGE, with_intercept=with_intercept
    )
    assert fit.slope == 20.0
    assert fit.at_bound
    assert abs(fit.intercept) <= 20 * size


def test_scores_that_point_the_wrong_way_stop_at_the_flattest_slope() -> None:
    drawn = drawn_logits(500, seed=4)
    fit = fit_logistic(-drawn.logits, drawn.labels, slopes=RANGE, with_intercept=False)
    assert fit.slope == 0.05
    assert fit.at_bound
    assert fit.intercept == 0.0


def test_at_a_bound_the_intercept_is_still_the_best_one() -> None:
    drawn = drawn_logits(500, seed=4, shifted=2.0)
    fit = fit_logistic(-drawn.logits, drawn.labels, slopes=RANGE, with_intercept=True)
    predicted = 1 / (1 + np.exp(0.05 * drawn.logits - fit.intercept))
    assert predicted.mean() == pytest.approx(drawn.labels.mean(), abs=1e-9)


def test_the_intercept_is_found_where_newtons_steps_alone_would_run_away() -> None:
    # A few scores far out: the curve is flat almost everywhere, and steep between.
    scores = np.array([-900.0, -700.0, 3.0, 4.0, 800.0, 950.0])
    labels = np.array([0, 0, 1, 0, 1, 1], dtype=np.int8)
    fit = fit_logistic(scores, labels, slopes=(1.0, 1.0 + 1e-9), with_intercept=True)
    predicted = 1 / (1 + np.exp(-np.clip(scores + fit.intercept, -700, 700)))
    assert predicted.sum() == pytest.approx(3.0, abs=1e-6)


def test_a_range_may_reach_below_zero() -> None:
    drawn = drawn_logits(2000, seed=5)
    fit = fit_logistic(-drawn.logits, drawn.labels, slopes=(-10.0, 10.0), with_intercept=True)
    assert fit.slope == pytest.approx(-1.0, abs=0.1)
    assert not fit.at_bound
