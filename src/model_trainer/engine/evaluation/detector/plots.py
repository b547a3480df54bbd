"""Pictures of an evaluation: ROC, reliability and scores, as PNG files that are the same bytes for the same figures."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model_trainer.core.contracts.calibration import Calibration, Threshold
from model_trainer.core.contracts.detector_evaluation import DetectorEvaluation
from model_trainer.core.files import write_atomically
from model_trainer.engine.calibration.order_statistics import share_found_among
from model_trainer.engine.data.logits import Logits
from model_trainer.serving.probabilities import log_odds

PLOTS = ("roc.png", "reliability.png", "scores.png")

_HUMAN, _AI, _QUIET = "#3b6ea5", "#c8553d", "#8a8a8a"
_THRESHOLD_NAMES = {
    "half": "0.5",
    "max_f1": "max F1",
    "youden": "Youden",
    "fpr_1": "1 % FPR",
    "fpr_5": "5 % FPR",
    "precision": "precision",
}
_MARKERS = {"half": "o", "max_f1": "s", "youden": "D", "fpr_1": "v", "fpr_5": "^", "precision": "P"}
_LINES = {
    "half": ":",
    "max_f1": "-",
    "youden": "-.",
    "fpr_1": "--",
    "fpr_5": (0, (6, 1)),
    "precision": (0, (1, 3)),
}
_LEAST_RATE = 1e-3
"""Where the logarithmic axis of false positive rates begins, unless there are human texts for less."""
_WIDEST = 12.0
"""Log-odds beyond which scores are counted at the edge: 1 in 160 000."""
_TICKS = (0.0001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.9999)


def write_plots(
    logits: Logits, calibration: Calibration, evaluation: DetectorEvaluation, folder: Path
) -> tuple[Path, ...]:
    """PLOTS in `folder`, which is made when it is not there; both classes must be in the texts."""
    folder.mkdir(parents=True, exist_ok=True)
    roc, reliability, scores = (folder / name for name in PLOTS)
    odds = log_odds(logits.logits, calibration)
    _write(roc, (9.6, 4.6), lambda figure: draw_roc(figure, odds, logits.labels, evaluation))
    _write(reliability, (5.6, 5.8), lambda figure: draw_reliability(figure, evaluation))
    _write(scores, (8.4, 4.4), lambda figure: draw_scores(figure, odds, logits.labels, calibration))
    return roc, reliability, scores


def draw_roc(
    figure: Figure, odds: NDArray[np.float64], labels: NDArray[np.int8], evaluation: DetectorEvaluation
) -> None:
    """The whole curve beside its beginning on a logarithmic axis, with each threshold on it."""
    human, ai = _by_class(odds, labels)
    levels = np.unique(odds)[::-1]
    fpr = np.concatenate((np.zeros(1), _shares_at_least(human, levels)))
    tpr = np.concatenate((np.zeros(1), _shares_at_least(ai, levels)))
    area = evaluation.ranking.roc_auc
    span = "" if area.interval is None else f" ({area.interval.low:.3f} to {area.interval.high:.3f})"
    figure.suptitle(f"ROC, {evaluation.split}: area {area.value:.3f}{span}")
    whole = figure.add_subplot(1, 2, 1)
    low = figure.add_subplot(1, 2, 2)
    least = min(_LEAST_RATE, 0.5 / len(human))
    for axes in (whole, low):
        axes.step(fpr, tpr, where="post", color=_AI, linewidth=1.6)
        luck = np.geomspace(least, 1.0, 200)
        axes.plot(luck, luck, color=_QUIET, linewidth=0.8, linestyle="--")
        for each in evaluation.decisions:
            axes.plot(
                max(each.fpr.value, least) if axes is low else each.fpr.value,
                each.recall.value,
                marker=_MARKERS[each.name],
                linestyle="none",
                markersize=7,
                color="black",
                markerfacecolor="white",
                label=_THRESHOLD_NAMES[each.name],
                clip_on=False,
                zorder=3,
            )
        _dress(axes, "Human texts called AI (FPR)", "AI texts found (TPR)")
        axes.set_ylim(0.0, 1.0)
    whole.set_xlim(0.0, 1.0)
    whole.legend(loc="lower right", frameon=False, title="Thresholds")
    low.set_xscale("log")
    low.set_xlim(least, 1.0)
    low.set_title("Few false alarms, enlarged", fontsize=10)
    whole.set_title("All", fontsize=10)


def draw_reliability(figure: Figure, evaluation: DetectorEvaluation) -> None:
    """What came true of what was said, bin by bin, with where luck alone would put each bin."""
    bins = evaluation.reliability
    expected = [each.mean_probability for each in bins]
    ranges = [share_found_among(each.count, each.mean_probability) for each in bins]
    quality = evaluation.probabilities
    axes = figure.add_subplot(1, 1, 1)
    axes.plot([0.0, 1.0], [0.0, 1.0], color=_QUIET, linewidth=0.8, linestyle="--")
    axes.vlines(
        expected,
        [low for low, _ in ranges],
        [high for _, high in ranges],
        color=_QUIET,
        alpha=0.45,
        linewidth=6,
        label="95 % of luck, were they right",
    )
    axes.plot(
        expected,
        [each.share_ai for each in bins],
        marker="o",
        linestyle="none",
        color=_AI,
        label=f"{len(bins)} bins of equal mass",
    )
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.legend(loc="upper left", frameon=False)
    axes.set_title(
        f"Reliability, {evaluation.split}: calibration error {quality.ece:.3f}, Brier {quality.brier:.3f}",
        fontsize=11,
    )
    _dress(axes, "Mean probability of AI", "Share that is AI")


def draw_scores(
    figure: Figure, odds: NDArray[np.float64], labels: NDArray[np.int8], calibration: Calibration
) -> None:
    """How the probabilities of each class lie around the thresholds."""
    human, ai = (np.clip(values, -_WIDEST, _WIDEST) for values in _by_class(odds, labels))
    sizes: NDArray[np.float64] = np.abs(np.concatenate((human, ai)))
    widest = max(4.0, float(np.amax(sizes))) + 0.5
    edges: list[float] = np.linspace(-widest, widest, 61).tolist()
    axes = figure.add_subplot(1, 1, 1)
    for values, color, name in ((human, _HUMAN, "human"), (ai, _AI, "AI")):
        weights = np.ones(len(values)) / len(values)
        axes.hist(
            values, bins=edges, weights=weights, color=color, alpha=0.55, label=f"{name} ({len(values)})"
        )
    for threshold in calibration.thresholds.thresholds:
        place = _log_odds_of(threshold)
        if place is not None:
            axes.axvline(
                min(max(place, -widest), widest),
                color="black",
                linewidth=1.1,
                linestyle=_LINES[threshold.name],
                label=_THRESHOLD_NAMES[threshold.name],
            )
    ticks = [(float(np.log(p / (1 - p))), f"{p:g}") for p in _TICKS]
    axes.set_xticks([place for place, _ in ticks], [name for _, name in ticks])
    axes.set_xlim(-widest, widest)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    axes.set_title("Scores by class", fontsize=11)
    _dress(axes, "Calibrated probability of AI (axis in log-odds)", "Share of the class")


def _write(path: Path, inches: tuple[float, float], draw: Callable[[Figure], None]) -> None:
    figure = Figure(figsize=inches, dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure)
    buffer = BytesIO()
    unsigned: dict[str, str | None] = {"Software": None}  # matplotlib's version would change the bytes
    figure.savefig(buffer, format="png", metadata=unsigned)
    write_atomically(path, buffer.getvalue())


def _dress(axes: Axes, below: str, beside: str) -> None:
    axes.set_xlabel(below)
    axes.set_ylabel(beside)
    axes.grid(visible=True, color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _by_class(
    odds: NDArray[np.float64], labels: NDArray[np.int8]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Human texts', AI texts', each in ascending order."""
    is_ai = labels.astype(np.bool_)
    return np.sort(odds[~is_ai]), np.sort(odds[is_ai])


def _shares_at_least(ordered: NDArray[np.float64], levels: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 - np.searchsorted(ordered, levels, side="left").astype(np.float64) / len(ordered)


def _log_odds_of(threshold: Threshold) -> float | None:
    """None for a threshold that is not there; 0 and 1 lie beyond every edge."""
    if threshold.value is None:
        return None
    value = min(max(threshold.value, 1e-12), 1 - 1e-12)
    return float(np.log(value / (1 - value)))
