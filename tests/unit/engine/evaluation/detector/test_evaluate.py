import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model_trainer.core.contracts.calibration import Calibration
from model_trainer.core.contracts.detector import CalibrateSpec, ReportSpec
from model_trainer.core.contracts.detector_evaluation import DetectorEvaluation
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.calibration.quality import probability_quality, reliability_bins
from model_trainer.engine.data.logits import Logits
from model_trainer.engine.evaluation.detector.evaluate import (
    evaluate_detector,
    read_evaluation,
    write_evaluation,
)
from model_trainer.serving.probabilities import log_odds, probabilities, threshold_for
from tests.unit.engine.calibration.toys import calibrated, drawn_logits, logits_of

metrics = importlib.import_module("sklearn.metrics")
VALIDATION = drawn_logits(1500, seed=1, sharper=2.0)
TEST = drawn_logits(900, seed=2, sharper=2.0)
CALIBRATION = calibrated(VALIDATION, CalibrateSpec(length_buckets=()))


def _evaluated(
    logits: Logits = TEST,
    calibration: Calibration = CALIBRATION,
    *,
    samples: int = 200,
    baseline: tuple[str, Logits] | None = None,
    seed: int = 0,
) -> DetectorEvaluation:
    return evaluate_detector(
        logits,
        calibration,
        run_id="run",
        evaluation_id="evaluation",
        split="test",
        data_sha256="data",
        report=ReportSpec(bootstrap_samples=samples),
        baseline=baseline,
        seed=seed,
    )


def test_it_says_what_was_measured_on_what() -> None:
    logits = replace(TEST, groups=np.arange(900) // 2)
    found = _evaluated(logits)
    assert (found.run_id, found.evaluation_id, found.split, found.data_sha256) == (
        "run",
        "evaluation",
        "test",
        "data",
    )
    assert found.text_sha256 == "texts 2"
    assert found.num_ai == TEST.labels.sum()
    assert found.num_human == 900 - TEST.labels.sum()
    assert found.num_groups == 450
    assert found.comparison is None
    assert found.warnings == ()


def test_the_ranking_is_scikit_learns_inside_its_intervals() -> None:
    ranking = _evaluated().ranking
    assert ranking.roc_auc.value == pytest.approx(metrics.roc_auc_score(TEST.labels, TEST.logits))
    assert ranking.pr_auc.value == pytest.approx(metrics.average_precision_score(TEST.labels, TEST.logits))
    for each in (ranking.roc_auc, ranking.pr_auc, ranking.tpr_at_fpr_1, ranking.tpr_at_fpr_5):
        assert each.interval is not None
        assert each.interval.low < each.value < each.interval.high
    assert ranking.tpr_at_fpr_1.value < ranking.tpr_at_fpr_5.value


def test_each_threshold_has_its_decisions() -> None:
    predicted = probabilities(TEST.logits, CALIBRATION)
    found = _evaluated().decisions
    assert [each.name for each in found] == ["half", "max_f1", "youden", "fpr_1", "fpr_5", "precision"]
    for each in found:
        assert each.threshold == CALIBRATION.thresholds.named(each.name).value
        verdicts = predicted > each.threshold
        assert each.f1.value == pytest.approx(metrics.f1_score(TEST.labels, verdicts))
        assert each.precision.value == pytest.approx(metrics.precision_score(TEST.labels, verdicts))
        assert each.recall.value == pytest.approx(metrics.recall_score(TEST.labels, verdicts))
        assert each.accuracy.value == pytest.approx(metrics.accuracy_score(TEST.labels, verdicts))
        assert each.mcc.value == pytest.approx(metrics.matthews_corrcoef(TEST.labels, verdicts))
        assert each.fpr.value == pytest.approx(verdicts[TEST.labels == 0].mean())
        for figure in (each.f1, each.precision, each.recall, each.accuracy, each.mcc, each.fpr):
            assert figure.interval is not None
            assert figure.interval.low < figure.value < figure.interval.high


def test_thresholds_that_the_calibration_lacks_have_no_decisions() -> None:
    few = calibrated(drawn_logits(60, seed=3))
    names = [each.name for each in _evaluated(calibration=few, samples=0).decisions]
    assert "fpr_1" not in names
    assert "fpr_5" in names


def test_the_realised_fpr_is_held_against_the_exact_range_of_what_was_promised() -> None:
    law = importlib.import_module("scipy.stats").betabinom
    num_human = int((TEST.labels == 0).sum())
    for each in _evaluated(samples=0).decisions:
        promise = CALIBRATION.thresholds.named(each.name).fpr_range
        if promise is None:
            assert each.promised_fpr is None
            assert each.kept_promise is None
        else:
            among = law(num_human, promise.num_human + 1 - promise.order, promise.order)
            assert each.promised_fpr is not None
            assert each.promised_fpr.low == pytest.approx(among.ppf(0.025) / num_human)
            assert each.promised_fpr.high == pytest.approx(among.ppf(0.975) / num_human)
            assert each.kept_promise


def test_a_promise_is_about_one_text_of_each_source_document() -> None:
    law = importlib.import_module("scipy.stats").betabinom
    human = np.flatnonzero(TEST.labels == 0)
    groups = TEST.groups.copy()
    groups[human] = np.arange(len(human)) // 5
    copies = TEST.logits.copy()
    copies[human] = copies[human[np.arange(len(human)) // 5 * 5]]  # the five texts of a document score alike
    found = _evaluated(replace(TEST, groups=groups, logits=copies), samples=0)
    num_sources = len(np.unique(groups[human]))
    for each in found.decisions:
        assert each.fpr_by_source is not None
        assert each.fpr_by_source * num_sources == pytest.approx(round(each.fpr_by_source * num_sources))
        assert each.fpr_by_source == pytest.approx(each.fpr.value, abs=5 / len(human))
        promise = CALIBRATION.thresholds.named(each.name).fpr_range
        if promise is not None and each.promised_fpr is not None:
            among = law(num_sources, promise.num_human + 1 - promise.order, promise.order)
            assert each.promised_fpr.high == pytest.approx(among.ppf(0.975) / num_sources)


def test_one_document_in_many_copies_breaks_no_promise() -> None:
    human = np.flatnonzero(TEST.labels == 0)
    copies = human[: len(human) // 4]
    groups, logits = TEST.groups.copy(), TEST.logits.copy()
    groups[copies], logits[copies] = groups[copies[0]], 50.0
    found = {each.name: each for each in _evaluated(replace(TEST, groups=groups, logits=logits)).decisions}
    fpr_5 = found["fpr_5"]
    assert fpr_5.promised_fpr is not None
    assert fpr_5.fpr.value > fpr_5.promised_fpr.high
    assert fpr_5.kept_promise


def test_a_broken_promise_is_said() -> None:
    shifted = replace(TEST, logits=TEST.logits + 2.0)
    found = _evaluated(shifted)
    kept = {each.name: each.kept_promise for each in found.decisions}
    assert kept["fpr_1"] is kept["fpr_5"] is False
    one, five, probability = found.warnings
    assert one.startswith("fpr_1: ")
    assert five.startswith("fpr_5: ")
    assert "Calibrate on texts like these" in probability


def test_fewer_false_alarms_than_promised_break_nothing() -> None:
    shifted = replace(TEST, logits=np.where(TEST.labels == 0, TEST.logits - 9.0, TEST.logits))
    kept = {
        each.name: (each.fpr.value, each.kept_promise) for each in _evaluated(shifted, samples=0).decisions
    }
    assert kept["fpr_5"] == (0.0, True)


def test_the_texts_of_the_calibration_promise_nothing_and_that_is_said() -> None:
    found = _evaluated(VALIDATION)
    assert all(each.promised_fpr is None for each in found.decisions)
    assert found.warnings[0].startswith("These are the texts that the calibration was fitted on")


def test_probabilities_are_measured_as_they_are_served() -> None:
    found = _evaluated()
    odds = log_odds(TEST.logits, CALIBRATION)
    assert found.probabilities == probability_quality(odds, TEST.labels)
    assert found.reliability == reliability_bins(probabilities(TEST.logits, CALIBRATION), TEST.labels)
    assert found.ece_interval is not None
    assert found.ece_interval.low < found.probabilities.ece < found.ece_interval.high
    assert found.decision == "max_f1"


def test_the_share_within_the_band_is_counted() -> None:
    band = CALIBRATION.thresholds.band
    assert band is not None
    predicted = probabilities(TEST.logits, CALIBRATION)
    outside = (predicted <= band.low).mean() + (predicted > band.high).mean()
    assert _evaluated(samples=0).uncertain == pytest.approx(1 - outside)
    assert 0.1 < outside < 0.9


def test_without_a_band_nothing_is_uncertain() -> None:
    few = calibrated(drawn_logits(60, seed=3))
    assert _evaluated(calibration=few, samples=0).uncertain == 0.0


def test_verdicts_by_length_have_figures_of_their_own() -> None:
    calibration = calibrated(VALIDATION, CalibrateSpec(length_buckets=(200,)))
    found = _evaluated(calibration=calibration).by_length
    predicted = probabilities(TEST.logits, calibration)
    verdicts = [
        probability > threshold_for(calibration, None, int(num_words)).value
        for probability, num_words in zip(predicted, TEST.num_words, strict=True)
    ]
    assert found is not None
    assert found.name == "max_f1"
    assert found.threshold == calibration.optimal_threshold
    assert found.f1.value == pytest.approx(metrics.f1_score(TEST.labels, verdicts))
    assert found.f1.interval is not None
    assert found.promised_fpr is None
    assert _evaluated(samples=0).by_length is None


def test_slices_and_attacks_come_along() -> None:
    logits = logits_of(
        TEST.logits,
        TEST.labels,
        domains=["mail", "news"] * 450,
        attacked_rows=range(900),
        attacked={"case": TEST.logits.tolist()},
    )
    found = _evaluated(logits, samples=0)
    assert [each.value for each in found.slices] == ["mail", "news"]
    assert [(each.attack, each.flips) for each in found.robustness] == [("case", 0.0)]


def test_columns_with_very_many_values_are_said() -> None:
    logits = logits_of(TEST.logits, TEST.labels, domains=[f"domain {row}" for row in range(900)])
    assert any(
        each.startswith("domain: only the 50 of 900") for each in _evaluated(logits, samples=0).warnings
    )


def test_worthless_scores_are_said_to_be_no_better_than_luck() -> None:
    luck = np.random.default_rng(5).normal(0, 1, 900)
    found = _evaluated(replace(TEST, logits=luck), samples=0)
    assert found.null_test.roc_auc_low < found.ranking.roc_auc.value < found.null_test.roc_auc_high
    assert found.null_test.p_value > 0.05
    assert "Luck alone tells these texts apart as well as the model does." in found.warnings


def test_few_texts_are_said() -> None:
    found = _evaluated(drawn_logits(150, seed=4), samples=0)
    assert found.warnings[0].startswith(f"Measured on {found.num_human} human and {found.num_ai} AI texts")


def test_intervals_are_left_out_when_not_asked_for() -> None:
    found = _evaluated(samples=0, baseline=("other", TEST))
    assert found.ranking.roc_auc.interval is None
    assert found.decisions[0].f1.interval is None
    assert found.ece_interval is None
    assert found.comparison is not None
    assert found.comparison.interval is None


def test_another_run_is_compared_on_the_same_resamplings() -> None:
    calibration = calibrated(VALIDATION, CalibrateSpec(length_buckets=(200,)))
    noise = np.random.default_rng(0).normal(0, 6, 900)
    found = _evaluated(replace(TEST, logits=TEST.logits + noise), calibration, baseline=("other", TEST))
    assert found.comparison is not None
    assert found.comparison.run_id == "other"
    assert found.comparison.ours == found.ranking.roc_auc.value
    assert found.comparison.theirs == pytest.approx(metrics.roc_auc_score(TEST.labels, TEST.logits))
    assert found.comparison.regression
    same = _evaluated(baseline=("itself", TEST)).comparison
    assert same is not None
    assert same.interval is not None
    assert (same.interval.low, same.interval.high, same.regression) == (0.0, 0.0, False)


def test_one_class_alone_is_refused() -> None:
    with pytest.raises(AppError) as caught:
        _evaluated(logits_of([0.1, 0.2], [1, 1]))
    assert caught.value.code == ErrorCode.DATA_TOO_SMALL


def test_the_same_logits_give_the_same_bytes_and_another_seed_other_intervals(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        write_evaluation(_evaluated(seed=seed), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    other = read_evaluation(tmp_path / "three")
    assert other.ranking.roc_auc.interval != _evaluated().ranking.roc_auc.interval
    assert other.ranking.roc_auc.value == _evaluated().ranking.roc_auc.value


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "eval_metrics.json"
    found = _evaluated()
    write_evaluation(found, path)
    assert read_evaluation(path) == found


def test_metrics_that_are_not_there_are_said(tmp_path: Path) -> None:
    with pytest.raises(AppError, match=r"There is no eval_metrics\.json") as caught:
        read_evaluation(tmp_path / "eval_metrics.json")
    assert caught.value.code == ErrorCode.ARTIFACT_NOT_FOUND


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff"])
def test_metrics_that_are_broken_are_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "eval_metrics.json"
    path.write_bytes(content)
    with pytest.raises(AppError, match="Evaluate this model again") as caught:
        read_evaluation(path)
    assert caught.value.code == ErrorCode.ARTIFACT_CORRUPT
