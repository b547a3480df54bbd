from collections.abc import Iterator

import pytest
import torch

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.training.meter import Clock, LossWindow


def add(window: LossWindow, *rows: tuple[float, float], first: int = 1) -> None:
    for step, (loss, norm) in enumerate(rows, start=first):
        window.add(torch.tensor(loss), torch.tensor(norm), step=step)


def test_a_row_is_the_mean_since_the_last_one() -> None:
    window = LossWindow(overflow_is_normal=False)
    add(window, (4.0, 1.0), (2.0, 3.0))
    assert window.take() == {"loss": 3.0, "gradient_norm": 2.0}
    add(window, (1.0, 0.5), first=3)
    assert window.take() == {"loss": 1.0, "gradient_norm": 0.5}


def test_sums_do_not_depend_on_when_figures_are_read() -> None:
    rows = [(0.1 * step, 1.0 / step) for step in range(1, 700)]
    often, seldom = LossWindow(overflow_is_normal=False), LossWindow(overflow_is_normal=False)
    for step, row in enumerate(rows, start=1):
        add(often, row, first=step)
        often.read()
        add(seldom, row, first=step)
    seldom.read()
    assert often.state == seldom.state
    assert often.state.num_steps == 699


@pytest.mark.parametrize(
    "bad", [(float("nan"), 1.0), (float("inf"), 1.0), (1.0, float("nan")), (1.0, float("inf"))]
)
def test_the_step_that_was_not_finite_is_named(bad: tuple[float, float]) -> None:
    window = LossWindow(overflow_is_normal=False)
    add(window, (1.0, 1.0), bad, (1.0, 1.0), first=41)
    with pytest.raises(AppError, match="step 42") as caught:
        window.read()
    assert caught.value.code is ErrorCode.DIVERGED
    assert caught.value.facts == {"step": 42}


def test_overflowing_gradients_are_left_out_where_they_are_normal() -> None:
    window = LossWindow(overflow_is_normal=True)
    add(window, (1.0, float("inf")), (3.0, 2.0))
    assert window.take() == {"loss": 2.0, "gradient_norm": 2.0}
    add(window, (1.0, float("inf")))
    assert window.take() == {"loss": 1.0}


def test_figures_do_not_wait_for_ever() -> None:
    window = LossWindow(overflow_is_normal=False)
    with pytest.raises(AppError, match="step 1"):
        add(window, *[(float("nan"), 1.0)] * 256)


def ticking(*times: float) -> Clock:
    values: Iterator[float] = iter(times)
    return Clock(lambda: next(values))


def test_time_aside_is_not_training() -> None:
    clock = ticking(100.0, 110.0, 114.0, 120.0, 125.0)
    with clock.aside("evaluate"):
        pass
    assert clock.window_seconds() == 16.0
    assert clock.totals() == {"train": 21.0, "evaluate": 4.0, "checkpoint": 0.0}


def test_the_pace_follows_recent_steps() -> None:
    clock = ticking(0.0, 1.0, 3.0)
    assert clock.step() == 1.0
    assert clock.step() == pytest.approx(1.1)
