"""What an order statistic promises: exact ranges of a false positive rate, in validation's texts and in others'."""

import math

import numpy as np
from numpy.typing import NDArray

_HALVINGS = 60
_DRAW_SEED = 0
RANGE = (0.025, 0.975)


def one_of_each(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of one text of each group, drawn the same way each time, in order: texts of one source document are no
    independent witnesses, and an order statistic counts only those."""
    shuffled: NDArray[np.int64] = np.random.default_rng(_DRAW_SEED).permutation(len(groups))
    first: dict[int, int] = {}
    for place in range(len(groups)):
        text = int(np.take(shuffled, place))
        first.setdefault(int(np.take(groups, text)), text)
    return np.sort(np.fromiter(first.values(), np.int64, count=len(first)))


def order_for(num_texts: int, share: float) -> int | None:
    """The least k for which at most `share` of new texts are expected above the k-th smallest of `num_texts`; None when
    even the largest is not enough.

    k = ceil((n + 1)(1 - share)): a new text's rank among n + 1 is uniform, whatever the distribution of scores.
    """
    order = math.ceil((num_texts + 1) * (1 - share) - 1e-9)  # 1 - 0.05 is a little more than 0.95
    return order if order <= num_texts else None


def share_above(num_texts: int, order: int) -> tuple[float, float]:
    """The 2.5 % and 97.5 % points of Beta(n + 1 - k, k): of the share of all texts above the k-th smallest of n."""
    low, high = RANGE
    return _beta_point(num_texts, order, low), _beta_point(num_texts, order, high)


def share_above_among(num_new: int, *, num_texts: int, order: int) -> tuple[float, float]:
    """The same for the share of `num_new` new texts: beta-binomial, so that both samples' luck counts."""
    above = num_texts + 1 - order
    counts = np.arange(num_new + 1)
    logs = (
        _log_choices(num_new, num_new + 1)
        + _log_factorials(counts + (above - 1))
        + _log_factorials((num_new + order - 1) - counts)
    )
    constant = math.lgamma(num_texts + 1) - math.lgamma(num_new + num_texts + 1)
    constant -= math.lgamma(above) + math.lgamma(order)
    chances: NDArray[np.float64] = np.exp(logs + constant)
    low, high = _points(chances)
    return low / num_new, high / num_new


def share_found_among(num_texts: int, share: float) -> tuple[float, float]:
    """Where the share of AI among `num_texts` texts falls that are each AI with probability `share`: binomial."""
    found = np.arange(num_texts + 1).astype(np.float64)
    sure = 1e-15  # keeps the logarithms finite where a probability is 0 or 1
    chance = min(max(share, sure), 1 - sure)
    choices = _log_choices(num_texts, num_texts + 1)
    logs = choices + found * math.log(chance) + (num_texts - found) * math.log1p(-chance)
    chances: NDArray[np.float64] = np.exp(logs)
    low, high = _points(chances)
    return low / num_texts, high / num_texts


def _points(chances: NDArray[np.float64]) -> tuple[int, int]:
    """The 2.5 % and 97.5 % points of a distribution over 0, 1 and so on."""
    up_to = np.cumsum(chances)
    low, high = (int(np.searchsorted(up_to, probability)) for probability in RANGE)
    return low, high


def _beta_point(num_texts: int, order: int, probability: float) -> float:
    """Where Beta(n + 1 - k, k) has `probability` below it. Below x lies the chance that n + 1 - k or more of n uniform
    numbers are less than x, and that falls with n + 1 - k alone: the range is halved until none is left."""
    num_terms = num_texts + 1 - order
    below = np.arange(num_terms).astype(np.float64)
    choices = _log_choices(num_texts, num_terms)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        logs = choices + below * math.log(middle) + (num_texts - below) * math.log1p(-middle)
        chances: NDArray[np.float64] = np.exp(logs)
        if 1 - float(np.sum(chances)) < probability:
            low = middle
        else:
            high = middle
    return high


def _log_choices(num_texts: int, num_terms: int) -> NDArray[np.float64]:
    """How many ways there are to take 0, 1, and so on of so many texts."""
    taken = np.arange(num_terms)
    return math.lgamma(num_texts + 1) - _log_factorials(taken) - _log_factorials(num_texts - taken)


def _log_factorials(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """log n!, of each."""
    largest = int(np.amax(numbers))
    logs: NDArray[np.float64] = np.log(np.maximum(np.arange(largest + 1), 1))
    return np.take(np.cumsum(logs), numbers)
