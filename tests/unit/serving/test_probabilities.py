import math

import numpy as np
import pytest
from numpy.typing import NDArray

from model_trainer.core.contracts.calibration import (
    AbstainBand,
    Calibration,
    LengthBucket,
    ProbabilityQuality,
    Threshold,
    Thresholds,
)
from model_trainer.core.contracts.detector import CalibrateSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.serving.probabilities import (
    band_of,
    bucket_name,
    log_odds,
    probabilities,
    sigmoid,
    threshold_for,
    undo_loss,
)

_QUALITY = ProbabilityQuality(
    nll=0.5,
    brier=0.1,
    brier_reliability=0.1,
    brier_resolution=0.1,
    brier_uncertainty=0.1,
    ece=0.1,
    slope=1.0,
    intercept=0.0,
)


def _bucket(least: int, most: int | None, *thresholds: Threshold) -> LengthBucket:
    return LengthBucket(min_words=least, max_words=most, num_human=9, num_ai=9, thresholds=thresholds)


def _calibration(
    *,
    focal_gamma: float = 0.0,
    positive_weight: float = 1.0,
    temperature: float = 1.0,
    bias: float = 0.0,
    band: AbstainBand | None = None,
    buckets: tuple[LengthBucket, ...] = (),
) -> Calibration:
    return Calibration(
        asked=CalibrateSpec(),
        num_human=9,
        num_ai=9,
        logits_sha256="0",
        focal_gamma=focal_gamma,
        positive_weight=positive_weight,
        temperature=temperature,
        temperature_at_bound=False,
        bias=bias,
        optimal_threshold=0.4,
        before=_QUALITY,
        after=_QUALITY,
        reliability=(),
        thresholds=Thresholds(
            decision="max_f1",
            thresholds=(
                Threshold(name="max_f1", value=0.4),
                Threshold(name="fpr_5", value=0.8),
                Threshold(name="fpr_1", value=None, why_missing="It needs 99 human texts."),
            ),
            band=band,
            length_buckets=buckets,
        ),
    )


def _logits(*values: float) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)


def _best_logit(posterior: float, *, gamma: float, weight: float) -> float:
    """The logit of least risk under our loss, by trying them all."""
    logits = np.linspace(-14, 14, 1_400_001)
    ai, human = -np.logaddexp(0, -logits), -np.logaddexp(0, logits)
    risk = -(weight * posterior * np.exp(gamma * human) * ai + (1 - posterior) * np.exp(gamma * ai) * human)
    return float(logits[np.argmin(risk)])


@pytest.mark.parametrize("weight", [1.0, 0.3, 4.0])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_what_the_loss_does_to_the_posterior_is_undone(gamma: float, weight: float) -> None:
    for posterior in (0.001, 0.03, 0.3, 0.5, 0.8, 0.99):
        logit = _best_logit(posterior, gamma=gamma, weight=weight)
        undone = undo_loss(_logits(logit), focal_gamma=gamma, positive_weight=weight)
        assert sigmoid(undone)[0] == pytest.approx(posterior, abs=2e-4)


def test_plain_cross_entropy_has_nothing_to_undo() -> None:
    logits = _logits(-1e6, -3.0, 0.0, 0.1, 1e6)
    assert undo_loss(logits, focal_gamma=0.0, positive_weight=1.0).tolist() == logits.tolist()


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 2.0, 10.0])
def test_undoing_keeps_the_order_however_extreme_the_logits(gamma: float) -> None:
    logits = np.concatenate(([-1e5, -5e3], np.linspace(-1000, 1000, 200_001), [5e3, 1e5]))
    with np.errstate(all="raise", under="ignore"):
        undone = undo_loss(logits, focal_gamma=gamma, positive_weight=3.0)
    assert np.all(np.isfinite(undone))
    assert np.all(np.diff(undone) > 0)


def test_undoing_is_as_exact_at_the_edge_of_the_small_numbers_as_anywhere() -> None:
    # Far out phi(v) is (1+g) (1-v)^g and phi(1-v) is 1, so that the odds of v grow by g times the logit less log(1+g).
    logits = _logits(-40.0, -30.001, -29.999, 29.999, 30.001, 40.0)
    undone = undo_loss(logits, focal_gamma=2.0, positive_weight=1.0)
    assert undone == pytest.approx(3 * logits - np.sign(logits) * math.log(3), abs=1e-9)


def test_a_probability_is_the_undone_logit_over_the_temperature_plus_the_bias() -> None:
    calibration = _calibration(positive_weight=math.e, temperature=2.0, bias=0.25)
    assert log_odds(_logits(2.0), calibration).tolist() == [0.75]
    assert probabilities(_logits(2.0), calibration)[0] == pytest.approx(1 / (1 + math.exp(-0.75)), abs=1e-15)


def test_focal_loss_is_undone_with_the_calibrations_gamma() -> None:
    expected = undo_loss(_logits(1.0), focal_gamma=2.0, positive_weight=1.0)
    assert log_odds(_logits(1.0), _calibration(focal_gamma=2.0)).tolist() == expected.tolist()


def test_probabilities_of_extreme_logits_are_numbers() -> None:
    with np.errstate(all="raise", under="ignore"):
        assert sigmoid(_logits(-1e9, -800.0, 0.0, 800.0, 1e9)).tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_small_probabilities_keep_their_digits() -> None:
    assert sigmoid(_logits(-100.0))[0] == pytest.approx(math.exp(-100), rel=1e-12)


BUCKETS = (
    _bucket(0, 59, Threshold(name="fpr_5", value=0.95)),
    _bucket(60, 119, Threshold(name="max_f1", value=0.6), Threshold(name="fpr_1", value=None)),
    _bucket(120, None, Threshold(name="max_f1", value=0.3)),
)


@pytest.mark.parametrize(
    ("num_words", "value", "bucket"),
    [(59, 0.4, None), (60, 0.6, "60-119"), (119, 0.6, "60-119"), (120, 0.3, "120+"), (10**6, 0.3, "120+")],
)
def test_a_text_is_judged_by_the_threshold_of_its_length_where_there_is_one(
    num_words: int, value: float, bucket: str | None
) -> None:
    calibration = _calibration(buckets=BUCKETS)
    assert threshold_for(calibration, None, num_words) == ("max_f1", value, bucket)


def test_a_request_names_another_threshold() -> None:
    calibration = _calibration(buckets=BUCKETS)
    assert threshold_for(calibration, "fpr_5", 10) == ("fpr_5", 0.95, "0-59")
    assert threshold_for(calibration, "fpr_5", 100) == ("fpr_5", 0.8, None)


def test_a_threshold_that_is_not_there_is_refused_with_the_reason_and_another_one() -> None:
    with pytest.raises(AppError) as caught:
        threshold_for(_calibration(buckets=BUCKETS), "fpr_1", 100)
    assert caught.value.code == ErrorCode.CONFIG_INVALID
    assert "It needs 99 human texts." in caught.value.message
    assert "max_f1" in caught.value.message
    assert [fault.pointer for fault in caught.value.faults] == ["/decision"]


@pytest.mark.parametrize(
    ("probability", "verdict"),
    [(0.0, "human"), (0.2, "human"), (0.200001, "uncertain"), (0.7, "uncertain"), (0.700001, "ai")],
)
def test_between_the_ends_of_the_band_nothing_is_claimed(probability: float, verdict: str) -> None:
    calibration = _calibration(band=AbstainBand(low=0.2, high=0.7))
    assert band_of(probability, calibration, threshold=0.9) == verdict


def test_without_a_band_the_threshold_of_the_verdict_says_it() -> None:
    assert [band_of(value, _calibration(), threshold=0.7) for value in (0.7, 0.700001)] == ["human", "ai"]


def test_buckets_are_named_by_their_lengths() -> None:
    assert [bucket_name(bucket) for bucket in BUCKETS] == ["0-59", "60-119", "120+"]
