"""What people see while a run goes."""

import io

import pytest
from rich.console import Console

from model_trainer.cli.boards import BarBoard, JsonBoard, LineBoard, board_for, clock, headline
from model_trainer.cli.news import News
from model_trainer.cli.output import Output
from model_trainer.client.views import ServerEvent


def event(kind: str, **fields: object) -> ServerEvent:
    """An event in its envelope."""
    return ServerEvent.model_validate({"name": "x", "data": {"seq": 1, "event": {"type": kind, **fields}}})


def progress(phase: str, fraction: float, **more: object) -> ServerEvent:
    return event("trainer.job.progress.v1", phase=phase, message="", progress={"fraction": fraction, **more})


STORY = [
    event("trainer.job.queued.v1"),
    event("trainer.job.started.v1"),
    progress("tokenizing", 0.0),
    progress("tokenizing", 0.6),
    event(
        "trainer.metrics.config.v1", num_parameters=812345, device="cpu", precision="bf16", total_steps=200
    ),
    progress("training", 0.0),
    event(
        "trainer.metrics.progress.v1", step=10, metrics={"loss": 3.14159}, timings={"tokens_per_second": 1.0}
    ),
    progress("training", 0.25, step=50, total_steps=200, tokens_per_second=12345.6, eta_seconds=65.0),
    event("trainer.metrics.progress.v1", step=60, metrics={"validation_loss": 2.5}),
    progress("training", 0.27, step=54, total_steps=200, tokens_per_second=12345.6, eta_seconds=64.0),
    event("trainer.job.evaluated.v1", split="validation", metrics={"loss": 2.0}),
    event("trainer.job.completed.v1", message="Done", metrics={}),
]


def test_bars_show_speed_loss_and_time_left() -> None:
    written = io.StringIO()
    board = BarBoard(Console(file=written, force_terminal=True, width=160, color_system=None))
    with board.open():
        for one in STORY[:-2]:
            board.show(one)
    shown = written.getvalue()
    for part in (
        "tokenizing",
        "training",
        "27%",
        "54/200",
        "12,346 tokens/s",
        "loss 3.142",
        "validation loss 2.500",
        "1:04 left",
    ):
        assert part in shown
    assert "812,345 parameters on cpu in bf16, 200 steps." in shown


def test_a_finished_phase_has_a_full_bar() -> None:
    written = io.StringIO()
    board = BarBoard(Console(file=written, force_terminal=True, width=160, color_system=None))
    with board.open():
        for one in STORY:
            board.show(one)
    assert written.getvalue().count("100%") >= 2
    assert "Evaluated on validation: loss 2.0000" in written.getvalue()


def test_bars_of_a_run_that_was_over_before_are_no_trouble() -> None:
    board = BarBoard(Console(file=io.StringIO(), force_terminal=True))
    with board.open():
        board.show(STORY[-1])


def test_a_log_gets_a_line_a_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    board = LineBoard(Output(as_json=False))
    with board.open():
        for one in [*STORY, progress("training", 0.30)]:
            board.show(one)
    lines = capsys.readouterr().err.splitlines()
    assert [line[:17].rstrip() for line in lines if line.startswith(("tokenizing", "training"))] == [
        "tokenizing     0%",
        "tokenizing    60%",
        "training       0%",
        "training      25%",
    ]
    assert "12,346 tokens/s  loss 3.142  1:05 left" in "\n".join(lines)


def test_the_board_suits_the_reader() -> None:
    assert isinstance(board_for(Output(as_json=True)), JsonBoard)
    assert isinstance(board_for(Output(as_json=False)), LineBoard)
    assert isinstance(board_for(_OnTerminal(as_json=False)), BarBoard)


class _OnTerminal(Output):
    def notes(self) -> Console:
        return Console(file=io.StringIO(), force_terminal=True)


@pytest.mark.parametrize(
    ("news", "said"),
    [
        (News(type="trainer.job.queued.v1"), "It waits for a worker."),
        (News(type="trainer.job.resumed.v1", step=7), "It goes on after step 7."),
        (
            News(type="trainer.job.checkpoint_rejected.v1", path="c/1", why="torn"),
            "A checkpoint was passed over: c/1: torn",
        ),
        (
            News(type="trainer.job.paused.v1", job_id="R"),
            "It stands still and keeps its last checkpoint. Let it go on: model-trainer run resume R",
        ),
        (
            News(type="trainer.job.paused.v1", job_id="R", reason="disk_full"),
            "It stands still (disk_full) and goes on by itself when it can. At once: model-trainer run resume R",
        ),
        (News(type="trainer.job.cancelled.v1"), "It was cancelled."),
        (
            News(type="trainer.job.failed.v1", error_code="DIVERGED", message="NaN."),
            "It failed: DIVERGED: NaN.",
        ),
        (News(type="trainer.job.checkpoint_saved.v1"), ""),
    ],
)
def test_what_happened_is_a_sentence(news: News, said: str) -> None:
    assert headline(news) == said


@pytest.mark.parametrize(("seconds", "shown"), [(5.4, "0:05"), (65, "1:05"), (7384, "2:03:04")])
def test_time_left_is_a_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown
