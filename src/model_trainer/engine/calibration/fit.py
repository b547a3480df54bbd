"""Fits labels on log-odds: one slope in a range, with or without an intercept, by the exact minimum of a convex function."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_trainer.serving.probabilities import sigmoid

_MOST_STEPS = 200
_ENOUGH = 1e-12
"""Steps smaller than this change no figure that anybody reads."""


@dataclass(frozen=True, slots=True)
class LogisticFit:
    """P(AI) = sigmoid(slope * log-odds + intercept)."""

    slope: float
    intercept: float
    at_bound: bool
    """The likelihood would grow further beyond the range of slopes."""


def fit_logistic(
    log_odds: NDArray[np.float64],
    labels: NDArray[np.int8],
    *,
    slopes: tuple[float, float],
    with_intercept: bool,
) -> LogisticFit:
    """The most likely slope within `slopes`, and intercept; both classes must be there.

    The negative log-likelihood is convex in both, so its least value over intercepts is convex in the slope: its derivative
    rises, and the best slope is where it is 0.
    """
    low, high = slopes
    profile = _Profile(log_odds, labels, with_intercept=with_intercept)
    if profile.at(low)[0] > 0:
        return LogisticFit(low, profile.intercept, at_bound=True)
    if profile.at(high)[0] <= 0:
        return LogisticFit(high, profile.intercept, at_bound=True)
    slope = _root(profile.at, low=low, high=high, start=min(max(1.0, low), high))
    return LogisticFit(slope, profile.intercept, at_bound=False)


class _Profile:
    """The likelihood along the slope; remembers the best intercept, from where the next slope's search begins."""

    def __init__(
        self, log_odds: NDArray[np.float64], labels: NDArray[np.int8], *, with_intercept: bool
    ) -> None:
        self._log_odds = log_odds
        self._signs = 2.0 * labels.astype(np.float64) - 1.0
        self._with_intercept = with_intercept
        self.intercept = 0.0

    def at(self, slope: float) -> tuple[float, float]:
        """First and second derivative."""
        scaled = slope * self._log_odds
        if self._with_intercept:
            self.intercept = _best_intercept(scaled, self._signs, start=self.intercept)
        residuals, weights = _parts(scaled + self.intercept, self._signs)
        weighted = weights * self._log_odds
        steepness = float(weighted @ self._log_odds)
        if self._with_intercept:
            shared = float(np.sum(weighted))
            total = float(np.sum(weights))
            steepness -= shared * shared / total if total > 0 else 0.0
        return float(residuals @ self._log_odds), steepness


def _best_intercept(scaled: NDArray[np.float64], signs: NDArray[np.float64], *, start: float) -> float:
    """Where as many texts are expected to be AI as are."""
    sizes: NDArray[np.float64] = np.abs(scaled)
    widest = float(np.amax(sizes))
    share = (1 + float(np.sum(signs)) / len(signs)) / 2
    own = math.log(share / (1 - share))
    low, high = own - widest, own + widest  # at either end all are on one side of their share

    def excess(intercept: float) -> tuple[float, float]:
        residuals, weights = _parts(scaled + intercept, signs)
        return float(np.sum(residuals)), float(np.sum(weights))

    return _root(excess, low=low, high=high, start=min(max(start, low), high))


def _parts(
    log_odds: NDArray[np.float64], signs: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probability less label, and probability times its rest: exact also where the probability is nearly the label, since
    1 - 1e-20 would be 1."""
    wrong = sigmoid(-signs * log_odds)
    return -signs * wrong, wrong * (1.0 - wrong)


def _root(rising: Callable[[float], tuple[float, float]], *, low: float, high: float, start: float) -> float:
    """Where a rising function, given with its derivative, is 0: Newton's steps, kept within a bracket that narrows.

    It is asked last at what is returned, or a step of no account beside it.
    """
    place = start
    for _ in range(_MOST_STEPS):
        value, steepness = rising(place)
        if value > 0:
            high = place
        else:
            low = place
        step = place - value / steepness if steepness > 0 else math.inf
        after = step if low <= step <= high else (low + high) / 2
        if abs(after - place) <= _ENOUGH * max(1.0, abs(place)):
            break
        place = after
    return place
