import importlib
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from model_trainer.core.contracts.detector import ReportSpec
from model_trainer.core.contracts.detector_evaluation import DetectorEvaluation
from model_trainer.engine.evaluation.detector.evaluate import evaluate_detector
from model_trainer.engine.evaluation.detector.plots import (
    PLOTS,
    draw_reliability,
    draw_roc,
    draw_scores,
    write_plots,
)
from model_trainer.serving.probabilities import log_odds
from tests.unit.engine.calibration.toys import calibrated, drawn_logits

TEST = drawn_logits(300, seed=2, sharper=2.0)
CALIBRATION = calibrated(drawn_logits(300, seed=1, sharper=2.0))
ODDS = log_odds(TEST.logits, CALIBRATION)


def _evaluation(samples: int) -> DetectorEvaluation:
    return evaluate_detector(
        TEST,
        CALIBRATION,
        run_id="run",
        evaluation_id="evaluation",
        split="test",
        data_sha256="data",
        report=ReportSpec(bootstrap_samples=samples),
        baseline=None,
    )


EVALUATION = _evaluation(50)


def _names(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def _heights(axes: Axes) -> list[float]:
    return [patch.get_height() for patch in axes.patches if isinstance(patch, Rectangle)]


def test_three_pictures_are_written_and_are_the_same_bytes_again(tmp_path: Path) -> None:
    one = write_plots(TEST, CALIBRATION, EVALUATION, tmp_path / "plots" / "one")
    two = write_plots(TEST, CALIBRATION, EVALUATION, tmp_path / "plots" / "two")
    assert tuple(path.name for path in one) == PLOTS
    assert sorted(path.name for path in one[0].parent.iterdir()) == sorted(PLOTS)
    for first, second in zip(one, two, strict=True):
        content = first.read_bytes()
        assert content.startswith(b"\x89PNG\r\n")
        assert b"Software" not in content
        assert second.read_bytes() == content


def test_the_pictures_are_large_enough_to_read(tmp_path: Path) -> None:
    read = importlib.import_module("matplotlib.image").imread
    for path in write_plots(TEST, CALIBRATION, EVALUATION, tmp_path):
        pixels = read(path)
        assert min(pixels.shape[:2]) >= 480
        assert pixels[..., :3].std() > 0.05  # something is drawn


def test_the_roc_curve_is_scikit_learns_with_each_threshold_on_it() -> None:
    figure = Figure()
    draw_roc(figure, ODDS, TEST.labels, EVALUATION)
    whole, low = figure.axes
    fpr, tpr, _ = importlib.import_module("sklearn.metrics").roc_curve(
        TEST.labels, TEST.logits, drop_intermediate=False
    )
    for axes in (whole, low):
        curve, _, *marks = axes.get_lines()
        assert np.asarray(curve.get_xdata()) == pytest.approx(fpr)
        assert np.asarray(curve.get_ydata()) == pytest.approx(tpr)
        assert [np.asarray(mark.get_ydata())[0] for mark in marks] == [
            each.recall.value for each in EVALUATION.decisions
        ]
    assert [np.asarray(mark.get_xdata())[0] for mark in whole.get_lines()[2:]] == [
        each.fpr.value for each in EVALUATION.decisions
    ]
    assert _names(whole) == ["0.5", "max F1", "Youden", "1 % FPR", "5 % FPR", "precision"]
    assert (whole.get_xscale(), low.get_xscale()) == ("linear", "log")


def test_thresholds_without_false_alarms_stand_at_the_edge_of_the_logarithmic_axis() -> None:
    figure = Figure()
    half, *rest = EVALUATION.decisions
    clean = half.model_copy(update={"fpr": half.fpr.model_copy(update={"value": 0.0})})
    draw_roc(figure, ODDS, TEST.labels, EVALUATION.model_copy(update={"decisions": (clean, *rest)}))
    low = figure.axes[1]
    assert np.asarray(low.get_lines()[2].get_xdata())[0] == low.get_xlim()[0] == 0.001


def test_the_title_tells_the_area_with_its_interval_where_there_is_one() -> None:
    titles = []
    for evaluation in (EVALUATION, _evaluation(0)):
        figure = Figure()
        draw_roc(figure, ODDS, TEST.labels, evaluation)
        titles.append(figure.get_suptitle())
    area = EVALUATION.ranking.roc_auc
    assert area.interval is not None
    assert titles == [
        f"ROC, test: area {area.value:.3f} ({area.interval.low:.3f} to {area.interval.high:.3f})",
        f"ROC, test: area {area.value:.3f}",
    ]


def test_reliability_shows_each_bin_and_where_luck_would_put_it() -> None:
    figure = Figure()
    draw_reliability(figure, EVALUATION)
    (axes,) = figure.axes
    _, bins = axes.get_lines()
    assert np.asarray(bins.get_xdata()).tolist() == [each.mean_probability for each in EVALUATION.reliability]
    assert np.asarray(bins.get_ydata()).tolist() == [each.share_ai for each in EVALUATION.reliability]
    (luck,) = axes.collections
    law = importlib.import_module("scipy.stats").binom
    for path, each in zip(luck.get_paths(), EVALUATION.reliability, strict=True):
        expected = law.ppf([0.025, 0.975], each.count, each.mean_probability) / each.count
        assert np.asarray(path.vertices)[:, 1] == pytest.approx(expected)
    assert f"{EVALUATION.probabilities.ece:.3f}" in axes.get_title()


def test_scores_show_each_class_whole_and_each_threshold() -> None:
    figure = Figure()
    draw_scores(figure, ODDS, TEST.labels, CALIBRATION)
    (axes,) = figure.axes
    heights = _heights(axes)
    assert sum(heights[:60]) == pytest.approx(1.0)
    assert sum(heights[60:]) == pytest.approx(1.0)
    num_ai = int(TEST.labels.sum())
    assert sorted(_names(axes)) == sorted(
        [
            f"human ({300 - num_ai})",
            f"AI ({num_ai})",
            "0.5",
            "max F1",
            "Youden",
            "1 % FPR",
            "5 % FPR",
            "precision",
        ]
    )
    places = [np.asarray(line.get_xdata())[0] for line in axes.get_lines()]
    values = [each.value for each in CALIBRATION.thresholds.thresholds if each.value is not None]
    assert 1 / (1 + np.exp(-np.array(places))) == pytest.approx(values)


def test_scores_far_out_are_counted_at_the_edge_and_missing_thresholds_are_not_drawn() -> None:
    figure = Figure()
    few = calibrated(drawn_logits(60, seed=3))
    draw_scores(figure, ODDS * 100, TEST.labels, few)
    (axes,) = figure.axes
    assert axes.get_xlim() == (-12.5, 12.5)
    assert sum(_heights(axes)[:60]) == pytest.approx(1.0)
    missing = [each.name for each in few.thresholds.thresholds if each.value is None]
    assert "fpr_1" in missing
    assert len(axes.get_lines()) == 6 - len(missing)
