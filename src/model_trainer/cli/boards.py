"""Boards show how a run goes: bars on a terminal, lines in a log file, JSON for programs."""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from model_trainer.cli.news import News, news_of
from model_trainer.cli.output import Output, printable
from model_trainer.client.views import ProgressView, ServerEvent
from model_trainer.core.contracts.base import dump_json

LINE_EVERY_FRACTION = 0.1
LOSSES = ("loss", "validation_loss")
SERIES_ROW = "trainer.metrics.progress.v1"
COMPLETED = "trainer.job.completed.v1"


class Board(Protocol):
    """Shows events as they come."""

    def open(self) -> AbstractContextManager[object]:
        """Inside, it may move."""
        ...

    def show(self, event: ServerEvent) -> None:
        """One event."""
        ...


def board_for(output: Output) -> Board:
    """The board that suits who is reading."""
    if output.as_json:
        return JsonBoard(output)
    console = output.notes()
    return BarBoard(console) if console.is_terminal else LineBoard(output)


class JsonBoard:
    """Each event as one line of JSON."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def open(self) -> AbstractContextManager[object]:
        """Nothing moves."""
        return nullcontext()

    def show(self, event: ServerEvent) -> None:
        """One line."""
        self._output.line(dump_json(event.data))


class LineBoard:
    """A line for each phase, each tenth of it, and each thing that happened."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._told = _Told()
        self._phase = ""
        self._next_fraction = 0.0

    def open(self) -> AbstractContextManager[object]:
        """Nothing moves."""
        return nullcontext()

    def show(self, event: ServerEvent) -> None:
        """One line, or none."""
        news = news_of(event)
        self._told.hear(news)
        if news.progress is None:
            said = headline(news)
            if said:
                self._output.note(said)
            return
        if news.phase != self._phase:
            self._phase, self._next_fraction = news.phase, 0.0
        fraction = news.progress.fraction
        if fraction >= self._next_fraction:
            self._next_fraction = fraction + LINE_EVERY_FRACTION
            self._output.note(f"{news.phase:<12} {fraction:4.0%}  {self._told.facts()}".rstrip())


class BarBoard:
    """A bar for each phase, with tokens per second, loss and the time left."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<12}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%", markup=False),
            TextColumn("{task.fields[facts]}", markup=False),
            console=console,
        )
        self._told = _Told()
        self._phase = ""
        self._by_phase: dict[str, TaskID] = {}

    def open(self) -> AbstractContextManager[object]:
        """Inside, bars move."""
        return self._bars

    def show(self, event: ServerEvent) -> None:
        """Moves a bar, or prints a line above the bars."""
        news = news_of(event)
        self._told.hear(news)
        if news.progress is not None:
            self._enter(news.phase)
            self._bars.update(self._by_phase[news.phase], completed=news.progress.fraction)
        said = headline(news)
        if said:
            self._bars.print(Text(printable(said)))
        if news.type == COMPLETED:
            self._finish(self._phase)
        if self._phase in self._by_phase:
            self._bars.update(self._by_phase[self._phase], facts=printable(self._told.facts()))

    def _enter(self, phase: str) -> None:
        """Phases follow one another: when one begins, the one before is done."""
        if phase != self._phase:
            self._finish(self._phase)
            self._phase = phase
        if phase not in self._by_phase:
            self._by_phase[phase] = self._bars.add_task(printable(phase), total=1.0, facts="")

    def _finish(self, phase: str) -> None:
        if phase in self._by_phase:
            self._bars.update(self._by_phase[phase], completed=1.0, facts="")


class _Told:
    """What the last events said, put together."""

    def __init__(self) -> None:
        self._metrics: dict[str, float] = {}
        self._progress: ProgressView | None = None
        self._training = False

    def hear(self, news: News) -> None:
        """One more event."""
        if news.type == SERIES_ROW:
            self._metrics |= news.metrics
        if news.progress is not None:
            self._progress = news.progress
            self._training = news.phase == "training"

    def facts(self) -> str:
        """Steps, speed, loss, time left: those that are known."""
        found: list[str] = []
        progress = self._progress
        if progress is not None and progress.total_steps:
            found.append(f"{progress.step}/{progress.total_steps}")
        if progress is not None and progress.tokens_per_second:
            found.append(f"{progress.tokens_per_second:,.0f} tokens/s")
        if self._training:
            found += [
                f"{name.replace('_', ' ')} {self._metrics[name]:.3f}"
                for name in LOSSES
                if name in self._metrics
            ]
        if progress is not None and progress.eta_seconds is not None:
            found.append(f"{clock(progress.eta_seconds)} left")
        return "  ".join(found)


def headline(news: News) -> str:
    """A sentence for an event that is not progress; empty for those that people need not see."""
    match news.type:
        case "trainer.job.queued.v1":
            return "It waits for a worker."
        case "trainer.job.started.v1":
            return "A worker has started."
        case "trainer.job.resumed.v1":
            return f"It goes on after step {news.step}."
        case "trainer.job.checkpoint_rejected.v1":
            return f"A checkpoint was passed over: {news.path}: {news.why}"
        case "trainer.metrics.config.v1":
            return f"{news.num_parameters:,} parameters on {news.device} in {news.precision}, {news.total_steps} steps."
        case "trainer.job.evaluated.v1":
            measured = ", ".join(f"{name} {value:.4f}" for name, value in news.metrics.items())
            return f"Evaluated on {news.split}: {measured}"
        case "trainer.job.paused.v1":
            return f"It stands still{_why_paused(news)}"
        case "trainer.job.cancelled.v1":
            return "It was cancelled."
        case "trainer.job.failed.v1":
            return f"It failed: {news.error_code}: {news.message}"
        case _:
            return ""


def _why_paused(news: News) -> str:
    """Who can end the pause."""
    resume = f"model-trainer run resume {news.job_id}"
    if news.reason is None:
        return f" and keeps its last checkpoint. Let it go on: {resume}"
    return f" ({news.reason}) and goes on by itself when it can. At once: {resume}"


def clock(seconds: float) -> str:
    """Seconds as 1:05 or 2:03:04."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
