import importlib
from fractions import Fraction

import numpy as np
import pytest

from model_trainer.engine.calibration.order_statistics import (
    order_for,
    share_above,
    share_above_among,
    share_found_among,
)


@pytest.mark.parametrize("share", ["0.01", "0.05", "0.1", "0.18", "0.2", "0.42"])
def test_the_order_is_the_least_that_keeps_the_share_by_brute_force(share: str) -> None:
    for num_texts in range(1, 400):
        # A new text is above the k-th smallest of n with probability (n + 1 - k) / (n + 1), exactly.
        fits = [
            order
            for order in range(1, num_texts + 1)
            if Fraction(num_texts + 1 - order, num_texts + 1) <= Fraction(share)
        ]
        assert order_for(num_texts, float(share)) == (fits[0] if fits else None)


def test_one_percent_needs_99_texts() -> None:
    assert order_for(98, 0.01) is None
    assert order_for(99, 0.01) == 99


@pytest.mark.parametrize(
    ("num_texts", "order"), [(99, 99), (300, 298), (1000, 951), (19, 19), (50_000, 49_501)]
)
def test_the_range_of_the_share_is_scipys_beta(num_texts: int, order: int) -> None:
    expected = importlib.import_module("scipy.stats").beta(num_texts + 1 - order, order).ppf([0.025, 0.975])
    assert share_above(num_texts, order) == pytest.approx(tuple(expected), rel=1e-7)


@pytest.mark.parametrize(("num_texts", "order"), [(99, 99), (300, 298), (1000, 951)])
@pytest.mark.parametrize("num_new", [1, 7, 540, 3000])
def test_the_range_among_new_texts_is_scipys_beta_binomial(num_texts: int, order: int, num_new: int) -> None:
    law = importlib.import_module("scipy.stats").betabinom(num_new, num_texts + 1 - order, order)
    expected = law.ppf([0.025, 0.975]) / num_new
    assert share_above_among(num_new, num_texts=num_texts, order=order) == pytest.approx(tuple(expected))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.93, 1.0])
@pytest.mark.parametrize("num_texts", [1, 20, 1000])
def test_the_range_of_what_is_found_is_scipys_binomial(num_texts: int, share: float) -> None:
    law = importlib.import_module("scipy.stats").binom(num_texts, share)
    expected = tuple(law.ppf([0.025, 0.975]) / num_texts)
    assert share_found_among(num_texts, share) == pytest.approx(expected)


@pytest.mark.parametrize(("num_texts", "share"), [(120, 0.01), (60, 0.05), (333, 0.05)])
@pytest.mark.parametrize("levels", [None, 20], ids=["continuous", "tied"])
def test_new_texts_above_the_threshold_are_no_more_than_promised_on_average(
    num_texts: int, share: float, levels: int | None
) -> None:
    generator = np.random.default_rng(6)
    order = order_for(num_texts, share)
    assert order is not None
    scores = generator.random((4000, num_texts + 50))
    if levels is not None:
        scores = np.floor(scores * levels)
    thresholds = np.sort(scores[:, :num_texts], axis=1)[:, order - 1]
    above = scores[:, num_texts:] > thresholds[:, None]
    standard_error = above.mean(axis=1).std() / 4000**0.5
    assert above.mean() <= share + 3 * standard_error
