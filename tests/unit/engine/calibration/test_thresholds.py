import importlib
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from model_trainer.core.contracts.calibration import AbstainBand, Threshold
from model_trainer.core.contracts.detector import CalibrateSpec, DecisionName
from model_trainer.engine.calibration.thresholds import find_band, find_buckets, find_thresholds
from model_trainer.serving.probabilities import sigmoid
from tests.unit.engine.calibration.toys import drawn_logits

SPEC = CalibrateSpec()
Verdicts = NDArray[np.bool_]


def _alone(labels: NDArray[np.int8]) -> NDArray[np.int64]:
    """Each text its own source document."""
    return np.arange(len(labels))


def _band(
    predicted: NDArray[np.float64], labels: NDArray[np.int8], spec: CalibrateSpec = SPEC
) -> tuple[AbstainBand | None, str | None]:
    return find_band(predicted, labels, _alone(labels), spec)


def _drawn(count: int, seed: int, *, decimals: int = 15) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    drawn = drawn_logits(count, seed=seed)
    return np.round(sigmoid(drawn.logits), decimals), drawn.labels


def _named(
    name: DecisionName,
    predicted: NDArray[np.float64],
    labels: NDArray[np.int8],
    spec: CalibrateSpec = SPEC,
) -> Threshold:
    return next(
        each for each in find_thresholds(predicted, labels, _alone(labels), spec) if each.name == name
    )


def _every_verdict(predicted: NDArray[np.float64]) -> list[Verdicts]:
    """What each possible threshold decides: all texts from some score upwards are AI, or none."""
    return [predicted >= level for level in np.unique(predicted)] + [np.zeros(len(predicted), dtype=np.bool_)]


def _youden(labels: NDArray[np.int8], verdicts: Verdicts) -> float:
    return float(verdicts[labels == 1].mean() - verdicts[labels == 0].mean())


def _f1(labels: NDArray[np.int8], verdicts: Verdicts) -> float:
    return float(importlib.import_module("sklearn.metrics").f1_score(labels, verdicts, zero_division=0))


@pytest.mark.parametrize(("name", "gain"), [("max_f1", _f1), ("youden", _youden)])
@pytest.mark.parametrize("decimals", [15, 1], ids=["all different", "many ties"])
@pytest.mark.parametrize(("count", "seed"), [(12, 0), (60, 1), (300, 2)])
def test_the_best_threshold_is_the_best_of_all_by_brute_force(
    name: DecisionName,
    gain: Callable[[NDArray[np.int8], Verdicts], float],
    decimals: int,
    count: int,
    seed: int,
) -> None:
    predicted, labels = _drawn(count, seed, decimals=decimals)
    best = max(gain(labels, verdicts) for verdicts in _every_verdict(predicted))
    found = _named(name, predicted, labels)
    assert found.value is not None
    assert gain(labels, predicted > found.value) == pytest.approx(best, abs=1e-12)


def test_a_threshold_lies_halfway_between_the_scores_it_parts() -> None:
    found = _named("max_f1", np.array([0.1, 0.2, 0.6, 0.9]), np.array([0, 0, 1, 1], dtype=np.int8))
    assert found.value == pytest.approx(0.4)


@pytest.mark.parametrize("low", [0.5, float(np.nextafter(0.5, 1.0))], ids=["even", "odd"])
def test_scores_that_are_neighbours_among_floats_are_parted_all_the_same(low: float) -> None:
    high = float(np.nextafter(low, 1.0))
    found = _named("max_f1", np.array([low, high]), np.array([0, 1], dtype=np.int8))
    assert found.value == low
    assert found.validation_f1 == 1.0


def test_worthless_scores_have_most_f1_where_all_texts_are_ai() -> None:
    predicted, labels = np.full(10, 0.3), np.array([0, 1] * 5, dtype=np.int8)
    found = _named("max_f1", predicted, labels)
    assert found.value is not None
    assert found.value < 0.3
    assert found.validation_tpr == found.validation_fpr == 1.0


@pytest.mark.parametrize("decimals", [15, 1], ids=["all different", "many ties"])
@pytest.mark.parametrize("target", [0.6, 0.8, 0.95])
def test_target_precision_is_reached_with_the_most_texts_found_by_brute_force(
    target: float, decimals: int
) -> None:
    predicted, labels = _drawn(200, 5, decimals=decimals)
    precise = [
        verdicts
        for verdicts in _every_verdict(predicted)
        if verdicts.any() and labels[verdicts].mean() >= target
    ]
    found = _named("precision", predicted, labels, CalibrateSpec(target_precision=target))
    assert found.value is not None
    verdicts = predicted > found.value
    assert labels[verdicts].mean() >= target
    assert verdicts.sum() == max(each.sum() for each in precise)


def test_a_precision_that_no_threshold_reaches_has_none_and_says_so() -> None:
    labels = np.array([1, 0, 0], dtype=np.int8)
    found = _named("precision", np.array([0.2, 0.5, 0.9]), labels)
    assert found.value is None
    assert found.why_missing == "No threshold on these texts reaches a precision of 0.95."


@pytest.mark.parametrize(("name", "target", "order"), [("fpr_1", 0.01, 199), ("fpr_5", 0.05, 191)])
def test_a_target_fpr_is_an_order_statistic_of_the_human_scores(
    name: DecisionName, target: float, order: int
) -> None:
    human = np.random.default_rng(0).permutation(np.linspace(0.001, 0.2, 200))
    predicted = np.concatenate((human, [0.1, 0.7]))
    found = _named(name, predicted, np.array([0] * 200 + [1, 1], dtype=np.int8))
    assert found.value == sorted(human)[order - 1]
    assert found.validation_fpr == (200 - order) / 200
    assert found.validation_tpr == 0.5
    assert found.validation_precision == 1 / (1 + 200 - order)
    assert found.fpr_range is not None
    assert (found.fpr_range.target, found.fpr_range.num_human, found.fpr_range.order) == (target, 200, order)
    assert found.fpr_range.expected == (201 - order) / 201
    assert found.fpr_range.low < found.fpr_range.expected < found.fpr_range.high


def test_human_scores_that_tie_with_the_threshold_are_human() -> None:
    predicted = np.array([0.1] * 50 + [0.8] * 50 + [0.9])
    found = _named("fpr_5", predicted, np.array([0] * 100 + [1], dtype=np.int8))
    assert found.value == 0.8
    assert found.validation_fpr == 0.0
    assert found.validation_tpr == 1.0


def test_too_few_human_texts_have_no_threshold_for_a_target_fpr_and_say_how_many_it_takes() -> None:
    predicted, labels = np.linspace(0, 1, 99), np.array([0] * 98 + [1], dtype=np.int8)
    found = _named("fpr_1", predicted, labels)
    assert found.value is None
    assert found.why_missing == (
        "It needs at least 99 human source documents to keep a share of 0.01; validation has 98."
    )
    assert _named("fpr_5", predicted, labels).value is not None


def test_half_is_there_with_what_it_does() -> None:
    found = _named("half", np.array([0.2, 0.5, 0.6, 0.9]), np.array([0, 1, 0, 1], dtype=np.int8))
    assert found.value == 0.5
    assert (found.validation_fpr, found.validation_tpr) == (0.5, 0.5)
    assert (found.validation_precision, found.validation_f1) == (0.5, 0.5)


def test_a_threshold_that_calls_nothing_ai_has_no_precision() -> None:
    found = _named("half", np.array([0.1, 0.2]), np.array([0, 1], dtype=np.int8))
    assert (found.validation_precision, found.validation_f1) == (0.0, 0.0)


def test_outside_the_band_at_most_the_asked_shares_are_wrong() -> None:
    predicted, labels = _drawn(4000, 8)
    band, why = _band(predicted, labels)
    assert band is not None
    assert why is None
    wrong_above = (predicted[labels == 0] > band.high).mean()
    wrong_below = (predicted[labels == 1] <= band.low).mean()
    assert 0.007 < wrong_above <= 0.01
    assert 0.045 < wrong_below <= 0.05


def test_the_lower_end_lies_just_below_an_order_statistic_of_the_ai_scores() -> None:
    ai = np.linspace(0.1, 0.9, 99)
    predicted = np.concatenate((np.full(99, 0.5), ai))
    band, _ = _band(predicted, np.array([0] * 99 + [1] * 99, dtype=np.int8))
    assert band is not None
    # Of 99 + 1 texts, 5 % are below the fifth.
    assert band.low == np.nextafter(ai[4], 0.0)
    assert band.high == 0.5


def test_ai_texts_that_tie_at_the_lower_end_are_not_called_human() -> None:
    predicted = np.array([0.3] * 100 + [0.2] * 50 + [0.9] * 50)
    band, _ = _band(predicted, np.array([0] * 100 + [1] * 100, dtype=np.int8))
    assert band is not None
    assert band.low < 0.2 < band.high == 0.3


@pytest.mark.parametrize(
    ("num_human", "num_ai", "why"),
    [
        (98, 500, "It needs at least 99 human source documents to keep a share of 0.01; validation has 98."),
        (500, 18, "It needs at least 19 AI texts to keep a share of 0.05; validation has 18."),
    ],
)
def test_too_few_texts_have_no_band(num_human: int, num_ai: int, why: str) -> None:
    labels = np.array([0] * num_human + [1] * num_ai, dtype=np.int8)
    band, reason = _band(np.linspace(0.1, 0.9, len(labels))[::-1], labels)
    assert band is None
    assert reason == why


def test_classes_that_are_apart_have_no_band_between_them() -> None:
    labels = np.array([0] * 100 + [1] * 100, dtype=np.int8)
    band, why = _band(np.linspace(0.01, 0.99, 200), labels)
    assert band is None
    assert why == "The classes are so far apart that nothing is left between the band's two ends."


def test_ai_texts_of_probability_nought_leave_no_lower_end() -> None:
    labels = np.array([0] * 100 + [1] * 100, dtype=np.int8)
    band, why = _band(np.array([0.5] * 100 + [0.0] * 50 + [0.9] * 50), labels)
    assert band is None
    assert why == "Too many AI texts have probability 0."


def test_a_length_has_thresholds_of_its_own_where_it_has_a_hundred_texts_of_each_class() -> None:
    spec = CalibrateSpec(length_buckets=(60, 120))
    drawn = drawn_logits(900, seed=9)
    predicted, labels = sigmoid(drawn.logits), drawn.labels
    num_words = np.repeat([10, 60, 119, 120], [100, 350, 350, 100]).astype(np.int32)
    short, middle, long = find_buckets(predicted, labels, _alone(labels), num_words, spec)
    assert [(each.min_words, each.max_words) for each in (short, middle, long)] == [
        (0, 59),
        (60, 119),
        (120, None),
    ]
    assert short.num_human + short.num_ai == 100
    assert long.num_human + long.num_ai == 100
    assert short.thresholds == long.thresholds == ()
    inside = slice(100, 800)
    assert middle.num_ai == labels[inside].sum()
    expected = [
        each
        for each in find_thresholds(predicted[inside], labels[inside], _alone(labels[inside]), spec)
        if each.name != "half"
    ]
    assert list(middle.thresholds) == expected


def test_thresholds_that_a_length_has_too_few_texts_for_are_left_out() -> None:
    labels = np.array([0] * 100 + [1] * 100, dtype=np.int8)
    predicted = np.linspace(0.9, 0.1, 200)  # the wrong way round: no precision to be had
    bucket, _ = find_buckets(
        predicted, labels, _alone(labels), np.full(200, 7, dtype=np.int32), CalibrateSpec(length_buckets=(8,))
    )
    assert (bucket.min_words, bucket.max_words) == (0, 7)
    assert [each.name for each in bucket.thresholds] == ["max_f1", "youden", "fpr_1", "fpr_5"]


@pytest.mark.parametrize(
    ("num_human", "num_ai", "own"), [(100, 100, True), (99, 100, False), (100, 99, False)]
)
def test_both_classes_must_be_many_enough(num_human: int, num_ai: int, own: bool) -> None:
    labels = np.array([0] * num_human + [1] * num_ai, dtype=np.int8)
    predicted = np.linspace(0.1, 0.9, len(labels))
    bucket, _ = find_buckets(
        predicted,
        labels,
        _alone(labels),
        np.full(len(labels), 7, dtype=np.int32),
        CalibrateSpec(length_buckets=(8,)),
    )
    assert bool(bucket.thresholds) is own


def test_without_lengths_there_are_no_buckets() -> None:
    drawn = drawn_logits(900, seed=9)
    spec = CalibrateSpec(length_buckets=())
    assert find_buckets(sigmoid(drawn.logits), drawn.labels, drawn.groups, drawn.num_words, spec) == ()


def test_of_each_source_document_one_human_text_counts_for_a_promise() -> None:
    """A hundred documents with ten near-copies each: a thousand texts, and no more witnesses than documents."""
    draw = np.random.default_rng(3)
    of_document = draw.uniform(0.1, 0.8, 100)
    human = np.repeat(of_document, 10) + draw.uniform(0, 1e-6, 1000)
    predicted = np.concatenate((human, draw.uniform(0.2, 0.99, 100)))
    labels = np.array([0] * 1000 + [1] * 100, dtype=np.int8)
    groups = np.concatenate((np.repeat(np.arange(100), 10), np.arange(100)))
    found = {each.name: each for each in find_thresholds(predicted, labels, groups, SPEC)}
    fpr_1 = found["fpr_1"]
    assert fpr_1.fpr_range is not None
    assert (fpr_1.fpr_range.num_human, fpr_1.fpr_range.order) == (100, 100)
    assert fpr_1.value == pytest.approx(of_document.max(), abs=1e-6)
    few = find_thresholds(predicted, labels, np.minimum(groups, 97), SPEC)
    missing = next(each.why_missing for each in few if each.name == "fpr_1")
    assert missing == (
        "It needs at least 99 human source documents to keep a share of 0.01; validation has 98."
    )


def test_the_share_is_kept_on_new_documents_whose_texts_are_copies() -> None:
    """By simulation; with every text counted as a witness the promised range would be far too narrow."""
    draw = np.random.default_rng(5)
    inside = 0
    for _ in range(200):
        human = np.repeat(draw.uniform(0, 1, 60), 5)
        predicted = np.concatenate((human, np.full(10, 0.99)))
        labels = np.array([0] * 300 + [1] * 10, dtype=np.int8)
        groups = np.concatenate((np.repeat(np.arange(60), 5), np.arange(10)))
        found = next(
            each for each in find_thresholds(predicted, labels, groups, SPEC) if each.name == "fpr_5"
        )
        assert found.value is not None
        assert found.fpr_range is not None
        # Scores are uniform: the true share above the threshold is what is left of one.
        inside += found.fpr_range.low <= 1 - found.value <= found.fpr_range.high
    assert 0.9 < inside / 200 < 0.99
