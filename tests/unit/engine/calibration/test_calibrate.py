import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model_trainer.core.contracts.calibration import Calibration, Thresholds
from model_trainer.core.contracts.detector import CalibrateSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.calibration.calibrate import calibrate, read_calibration, write_calibration
from model_trainer.engine.calibration.quality import probability_quality, reliability_bins
from model_trainer.serving.probabilities import log_odds, probabilities
from tests.unit.engine.calibration.toys import calibrated, drawn_logits, logits_of


def test_too_sure_logits_are_cooled_by_the_factor_they_are_too_sure_by() -> None:
    calibration = calibrated(drawn_logits(20_000, seed=1, sharper=3.0))
    assert calibration.temperature == pytest.approx(3.0, abs=0.15)
    assert calibration.bias == 0.0
    assert calibration.after.nll < calibration.before.nll
    assert calibration.after.ece < 0.02 < calibration.before.ece
    assert calibration.warnings == ()


def test_with_a_bias_it_is_platt_scaling_as_scikit_learn_fits_it() -> None:
    drawn = drawn_logits(1000, seed=2, sharper=2.0, shifted=0.7)
    calibration = calibrated(drawn, CalibrateSpec(fit_bias=True))
    linear_model = importlib.import_module("sklearn.linear_model")
    reference = linear_model.LogisticRegression(C=np.inf, tol=1e-10).fit(drawn.logits[:, None], drawn.labels)
    expected = reference.predict_proba(drawn.logits[:, None])[:, 1]
    assert probabilities(drawn.logits, calibration) == pytest.approx(expected, abs=1e-6)
    assert calibration.bias == pytest.approx(0.7, abs=0.15)


def test_focal_loss_and_class_weights_are_undone_before_anything_is_fitted() -> None:
    drawn = drawn_logits(20_000, seed=3)
    trained_with_weight = replace(drawn, logits=drawn.logits + np.log(5.0))
    calibration = calibrate(trained_with_weight, CalibrateSpec(), focal_gamma=0.0, positive_weight=5.0)
    assert calibration.positive_weight == 5.0
    assert calibration.temperature == pytest.approx(1.0, abs=0.05)
    assert calibration.after.intercept == pytest.approx(0.0, abs=0.05)
    focal = calibrate(drawn, CalibrateSpec(), focal_gamma=2.0, positive_weight=1.0)
    assert focal.focal_gamma == 2.0
    assert focal.temperature > 1.5


def test_promises_count_source_documents_not_texts() -> None:
    drawn = drawn_logits(1000, seed=8)
    thresholds = calibrated(replace(drawn, groups=np.arange(1000) // 20)).thresholds
    assert thresholds.named("fpr_1").value is None, "fifty documents are too few"
    fpr_5 = thresholds.named("fpr_5").fpr_range
    assert fpr_5 is not None
    assert fpr_5.num_human == 50
    assert thresholds.why_no_band is not None
    pairs = np.where(drawn.labels == 0, np.arange(1000), 0)
    alone = calibrated(replace(drawn, groups=pairs)).thresholds.named("fpr_1").fpr_range
    assert alone is not None
    assert alone.num_human == np.count_nonzero(drawn.labels == 0), "AI texts may share a source"


def test_the_loss_is_left_alone_when_asked() -> None:
    drawn = drawn_logits(500, seed=4)
    asked = CalibrateSpec(undo_loss=False)
    calibration = calibrate(drawn, asked, focal_gamma=2.0, positive_weight=5.0)
    assert (calibration.focal_gamma, calibration.positive_weight) == (0.0, 1.0)
    assert calibration.temperature == calibrated(drawn).temperature
    assert calibration.asked == asked


def test_it_says_what_it_was_fitted_on() -> None:
    drawn = drawn_logits(300, seed=5)
    calibration = calibrated(drawn)
    assert calibration.num_ai == drawn.labels.sum()
    assert calibration.num_human == 300 - drawn.labels.sum()
    assert calibration.logits_sha256 == drawn.digest()
    assert calibration.fitted_on == "validation"
    external = calibrate(drawn, CalibrateSpec(), focal_gamma=0.0, positive_weight=1.0, fitted_on="external")
    assert external.fitted_on == "external"


def test_its_figures_are_those_of_the_probabilities_that_serving_computes() -> None:
    drawn = drawn_logits(700, seed=6, sharper=2.0)
    calibration = calibrated(drawn, CalibrateSpec(fit_bias=True))
    predicted = probabilities(drawn.logits, calibration)
    assert calibration.before == probability_quality(drawn.logits, drawn.labels)
    assert calibration.after == probability_quality(log_odds(drawn.logits, calibration), drawn.labels)
    assert calibration.reliability == reliability_bins(predicted, drawn.labels)
    fpr_5 = calibration.thresholds.named("fpr_5")
    assert (predicted[drawn.labels == 0] > (fpr_5.value or 0)).mean() == fpr_5.validation_fpr


def test_thresholds_band_and_lengths_come_along() -> None:
    calibration = calibrated(drawn_logits(3000, seed=7), CalibrateSpec(length_buckets=(200,)))
    found = calibration.thresholds
    assert [each.name for each in found.thresholds] == [
        "half",
        "max_f1",
        "youden",
        "fpr_1",
        "fpr_5",
        "precision",
    ]
    assert found.decision == "max_f1"
    assert calibration.optimal_threshold == found.named("max_f1").value
    assert found.band is not None
    assert [bool(bucket.thresholds) for bucket in found.length_buckets] == [True, True]


def test_the_asked_decision_decides() -> None:
    calibration = calibrated(drawn_logits(600, seed=8), CalibrateSpec(decision="fpr_5"))
    assert calibration.thresholds.decision == "fpr_5"
    assert calibration.optimal_threshold == calibration.thresholds.named("fpr_5").value


def test_a_decision_that_validation_is_too_small_for_is_replaced_with_a_warning() -> None:
    calibration = calibrated(drawn_logits(60, seed=9), CalibrateSpec(decision="fpr_1"))
    assert calibration.thresholds.decision == "max_f1"
    assert calibration.optimal_threshold == calibration.thresholds.named("max_f1").value
    assert calibration.thresholds.why_no_band is not None
    few, replaced = calibration.warnings
    assert few.startswith(f"Calibrated on {calibration.num_human} human and {calibration.num_ai} AI texts")
    assert replaced.startswith("decision: there is no fpr_1, max_f1 decides instead. It needs at least 99")


@pytest.mark.parametrize(
    ("num_human", "num_ai", "few"), [(100, 100, False), (99, 300, True), (300, 99, True)]
)
def test_few_texts_of_a_class_are_said(num_human: int, num_ai: int, few: bool) -> None:
    labels = np.array([0] * num_human + [1] * num_ai, dtype=np.int8)
    values = np.random.default_rng(0).normal(0, 1, len(labels)) + labels
    assert bool(calibrated(logits_of(values, labels)).warnings) is few


def test_texts_that_are_wholly_apart_end_at_the_bound_with_a_warning() -> None:
    values, labels = np.linspace(-3, 3, 400), [0] * 200 + [1] * 200
    calibration = calibrated(logits_of(values, labels))
    assert calibration.temperature == 0.05
    assert calibration.temperature_at_bound
    (warning,) = calibration.warnings
    assert "beyond 0.05" in warning


def test_worthless_logits_end_at_the_other_bound() -> None:
    drawn = drawn_logits(400, seed=1)
    calibration = calibrated(replace(drawn, logits=-drawn.logits))
    assert calibration.temperature == 20.0
    assert calibration.temperature_at_bound
    assert "beyond 20" in calibration.warnings[0]


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_is_refused(label: int) -> None:
    with pytest.raises(AppError, match=f"{3 - 3 * label} human and {3 * label} AI") as caught:
        calibrated(logits_of([0.1, 0.2, 0.3], [label] * 3))
    assert caught.value.code == ErrorCode.DATA_TOO_SMALL
    assert [fault.pointer for fault in caught.value.faults] == ["/data_paths"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_numbers_are_refused(value: float) -> None:
    with pytest.raises(AppError) as caught:
        calibrated(logits_of([0.1, value], [0, 1]))
    assert caught.value.code == ErrorCode.DIVERGED


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    calibration = calibrated(drawn_logits(500, seed=2))
    write_calibration(calibration, tmp_path)
    assert read_calibration(tmp_path) == calibration
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calibration.json", "thresholds.json"]
    kept = Thresholds.model_validate_json((tmp_path / "thresholds.json").read_bytes())
    assert kept == calibration.thresholds


def test_the_same_logits_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_calibration(calibrated(drawn_logits(500, seed=2)), tmp_path / name)
    for file in ("calibration.json", "thresholds.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_calibration_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(AppError, match=r"There is no calibration\.json") as caught:
        read_calibration(tmp_path)
    assert caught.value.code == ErrorCode.ARTIFACT_NOT_FOUND


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff"])
def test_a_calibration_that_is_broken_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "calibration.json").write_bytes(content)
    with pytest.raises(AppError, match="Calibrate this model again") as caught:
        read_calibration(tmp_path)
    assert caught.value.code == ErrorCode.ARTIFACT_CORRUPT


def test_a_calibration_survives_json_to_the_last_bit() -> None:
    drawn = drawn_logits(500, seed=2, sharper=1.7)
    calibration = calibrated(drawn)
    again = Calibration.model_validate_json(calibration.model_dump_json())
    assert probabilities(drawn.logits, again).tolist() == probabilities(drawn.logits, calibration).tolist()
