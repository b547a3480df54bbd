"""The loss curve of a run as a PNG: training and validation loss by step. Few points, small file, no free text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from model_trainer.client.views import SeriesRowView
from model_trainer.core.contracts.ids import is_ulid
from model_trainer.discord_bot.cards.safe_text import word

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_POINTS = 600
"""Of one line: there are not many more pixels."""
_COLORS = 128
"""Of the picture: half the bytes, and nothing to be seen of it."""
_INCHES, _DPI = (9.0, 4.5), 100
_LAST_STEP = 10**15
_HIGHEST = 1e12
_LOGARITHMIC_FROM = 8.0
"""How many times the lowest loss the highest is, before the axis becomes logarithmic."""
_GROUND, _INK, _GRID = "#2b2d31", "#dbdee1", "#45484f"
"""Discord's own dark; opaque, so that it reads on white too."""
_TRAINING, _VALIDATION = "#5aa9e6", "#ffb454"


@dataclass(frozen=True, slots=True)
class _Line:
    """A loss by step, in order."""

    name: str
    color: str
    points: tuple[tuple[int, float], ...]


def loss_curve(rows: Sequence[SeriesRowView], *, family: str = "", run_id: str = "") -> bytes | None:
    """900 by 450 pixels; None where no line can be drawn. Takes a moment: to be called in a thread."""
    training = _Line("Training", _TRAINING, _points(rows, "loss"))
    validation = _Line("Validation", _VALIDATION, _points(rows, "validation_loss"))
    if max(len(training.points), len(validation.points)) < 2:
        return None
    return _drawn([line for line in (training, validation) if line.points], _title(family, run_id))


def thinned(points: Sequence[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    """At most MOST_POINTS of them, the first and the last, the highest and the lowest of each stretch among them."""
    if len(points) <= MOST_POINTS:
        return tuple(points)
    size = math.ceil(len(points) / (MOST_POINTS // 4))
    kept: list[tuple[int, float]] = []
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        kept += sorted({stretch[0], max(stretch, key=_loss), min(stretch, key=_loss), stretch[-1]})
    return tuple(kept)


def _loss(point: tuple[int, float]) -> float:
    return point[1]


def _points(rows: Sequence[SeriesRowView], name: str) -> tuple[tuple[int, float], ...]:
    """Numbers that can be drawn; of a step that was taken twice, the later row counts."""
    by_step = {
        row.step: row.metrics[name]
        for row in rows
        if name in row.metrics and 0 <= row.step < _LAST_STEP and abs(row.metrics[name]) < _HIGHEST
    }
    return thinned(sorted(by_step.items()))


def _title(family: str, run_id: str) -> str:
    """What is sure to be neither text of people nor markup."""
    short = f"run \u2026{run_id[-6:]}" if is_ulid(run_id) else ""
    return " ".join(part for part in (word(family), short) if part)


def _drawn(lines: Sequence[_Line], title: str) -> bytes:
    # Slow to import, and only here of use. Pillow is what matplotlib itself writes PNG files with.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained", facecolor=_GROUND)
    FigureCanvasAgg(figure)
    _draw(figure, lines, title)
    drawn, sent = BytesIO(), BytesIO()
    figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(_COLORS).save(sent, "PNG", optimize=True)
    return sent.getvalue()


def _draw(figure: "Figure", lines: Sequence[_Line], title: str) -> None:
    axes = figure.add_subplot(1, 1, 1)
    for line in lines:
        steps, losses = [step for step, _ in line.points], [loss for _, loss in line.points]
        marker = "o" if len(line.points) <= 40 else ""
        axes.plot(
            steps,
            losses,
            color=line.color,
            linewidth=1.8 if marker else 1.3,
            marker=marker,
            markersize=4,
            label=f"{line.name} {losses[-1]:.4g}",
        )
    validation = lines[-1]
    if validation.color == _VALIDATION and len(validation.points) > 1:
        _mark_best(axes, validation)
    _dress(axes, title)
    every = [loss for line in lines for _, loss in line.points]
    if min(every) > 0 and max(every) / min(every) >= _LOGARITHMIC_FROM:
        _make_logarithmic(axes)


def _mark_best(axes: "Axes", line: _Line) -> None:
    step, loss = min(line.points, key=_loss)
    axes.plot(
        [step],
        [loss],
        marker="*",
        markersize=13,
        linestyle="none",
        color=line.color,
        markeredgecolor=_GROUND,
        label=f"Best {loss:.4g} at step {step:,}",
        zorder=4,
    )


def _make_logarithmic(axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(base=10.0, subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _dress(axes: "Axes", title: str) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_facecolor(_GROUND)
    axes.set_title(title, color=_INK, fontsize=12, loc="left")
    axes.set_xlabel("Step", color=_INK)
    axes.set_ylabel("Loss", color=_INK)
    axes.tick_params(colors=_INK, which="both")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.margins(x=0.02)
    axes.grid(visible=True, color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GRID)
    axes.legend(loc="upper right", frameon=False, labelcolor=_INK, fontsize=10)
