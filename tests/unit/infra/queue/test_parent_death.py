import os
import signal

import pytest

from model_trainer.infra.queue.parent_death import PR_SET_PDEATHSIG, die_with_parent, load_process_control


class Kernel:
    """Remembers what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def prctl(self, option: int, argument: int, /) -> int:
        self.asked.append((option, argument))
        return 0


def test_the_kernel_is_asked_to_end_a_child_with_its_parent() -> None:
    kernel = Kernel()
    die_with_parent(os.getppid(), control=kernel)
    assert kernel.asked == [(PR_SET_PDEATHSIG, signal.SIGKILL)]


def test_a_child_whose_parent_went_in_the_meantime_goes_too() -> None:
    with pytest.raises(SystemExit):
        die_with_parent(os.getppid() + 1, control=None)


def test_linux_can_be_asked() -> None:
    control = load_process_control()
    assert control is not None
    assert control.prctl(-1, 0) == -1  # an option that there is not


def test_other_systems_cannot_be_asked() -> None:
    assert load_process_control("darwin") is None
