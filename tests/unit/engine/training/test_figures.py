from pathlib import Path

import pytest

from model_trainer.engine.devices.cpu import CpuDevice
from model_trainer.engine.training.figures import Figures
from model_trainer.engine.training.meter import Clock
from tests.unit.engine.training.toys import ToyTask, toy_recipe


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_figures_are_of_the_steps_that_this_process_takes(tmp_path: Path) -> None:
    seconds = Seconds()
    clock = Clock(seconds)
    device = CpuDevice(statm=tmp_path / "none")
    figures = Figures(toy_recipe(), ToyTask(), device=device, clock=clock, total_steps=12)
    seconds.now = 100.0  # a checkpoint is found and loaded
    figures.begin(4)
    assert figures.timings(4) == {}, "another process took that step"
    seconds.now += 3.0
    assert figures.timings(6)["step_seconds"] == pytest.approx(1.5)
    assert figures.progress(6).eta_seconds == pytest.approx(18.0)
    assert clock.totals()["train"] == pytest.approx(3.0)
