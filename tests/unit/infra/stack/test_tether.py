"""The child asks to die with its parent, and does not start when the parent has died already."""

import ctypes
import os
import runpy
import signal
import sys
from collections.abc import Iterator

import pytest

from model_trainer.infra.stack import tether
from model_trainer.infra.stack.tether import become, tethered


class RecordingLibc:
    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def prctl(self, option: int, argument: int, /) -> int:
        self.calls.append((option, argument))
        return 0


def test_the_program_runs_with_a_kill_at_the_parents_death() -> None:
    libc = RecordingLibc()
    executed: list[tuple[str, list[str]]] = []

    become(
        ["41", "server", "--port", "1"],
        libc=libc,
        execute=lambda file, argv: executed.append((file, argv)),
        parent=41,
    )

    assert libc.calls == [(1, signal.SIGKILL)]
    assert executed == [("server", ["server", "--port", "1"])]


def test_an_orphan_does_not_become_the_program() -> None:
    executed: list[tuple[str, list[str]]] = []

    become(
        ["41", "server"],
        libc=RecordingLibc(),
        execute=lambda file, argv: executed.append((file, argv)),
        parent=1,
    )

    assert executed == []


def test_the_command_line_names_this_process_as_the_parent() -> None:
    argv = tethered(["server", "--port"])

    assert argv[0] == sys.executable
    assert argv[-3:] == [str(os.getpid()), "server", "--port"]


def test_where_the_kernel_cannot_tell_of_a_death_the_program_runs_by_itself() -> None:
    assert tethered(["server", "--port"], platform="darwin") == ["server", "--port"]


@pytest.fixture
def _not_tied_afterwards() -> Iterator[None]:
    yield
    ctypes.CDLL(None).prctl(1, 0)


@pytest.mark.usefixtures("_not_tied_afterwards")
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has prctl")
def test_run_as_a_script_it_ends_when_the_parent_has_gone_already(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = "0"
    monkeypatch.setattr(sys, "argv", ["tether.py", nobody, "a-program-that-is-not-there"])

    runpy.run_path(tether.__file__, run_name="__main__")
