"""What every implementation of RunLocks promises; where real processes die, the one that locks files."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_trainer.core.ports.storage import RunLocks
from model_trainer.infra.storage.memory import MemoryRunLocks
from model_trainer.infra.storage.run_locks import LocalRunLocks

RUN = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
OTHER = "01ARZ3NDEKTSV4RRFFQ69G5FAW"
HOLDER = Path(__file__).with_name("lock_holder.py")
SOURCE = str(Path(__file__).parents[2] / "src")
StartHolder = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(params=["files", "memory"])
def locks(request: pytest.FixtureRequest, tmp_path: Path) -> RunLocks:
    if request.param == "memory":
        return MemoryRunLocks(host="here")
    return LocalRunLocks(tmp_path / ".locks", host="here")


@pytest.fixture
def start_holder(tmp_path: Path) -> Iterator[StartHolder]:
    started: list[subprocess.Popen[str]] = []

    def start(*, epoch: int, host: str = "here") -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, str(HOLDER), str(tmp_path), host, RUN, str(epoch)],
            env={**os.environ, "PYTHONPATH": SOURCE},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _patient_for(folder: Path, *, seconds: float) -> LocalRunLocks:
    return LocalRunLocks(folder, host="here", patience_seconds=seconds)


def test_a_lock_is_had_once_and_again_after_it_was_given_up(locks: RunLocks) -> None:
    assert locks.host == "here"
    assert locks.is_free(RUN)
    held = locks.take(RUN, epoch=3)
    assert held is not None
    assert not locks.is_free(RUN)
    assert locks.take(RUN, epoch=3) is None
    held.release()
    held.release()
    assert locks.is_free(RUN)
    assert locks.take(RUN, epoch=3) is not None


def test_who_looks_after_a_run_kills_nobody_for_its_lock_and_is_not_killed_for_it(locks: RunLocks) -> None:
    at_work = locks.take(RUN, epoch=3)
    assert at_work is not None
    assert locks.take_if_free(RUN) is None
    at_work.release()
    looking_after = locks.take_if_free(RUN)
    assert looking_after is not None
    assert not locks.is_free(RUN)
    assert locks.take_if_free(RUN) is None
    assert locks.take(RUN, epoch=9) is None
    looking_after.release()
    assert locks.is_free(RUN)


def test_the_lock_of_one_run_is_no_other_runs(locks: RunLocks) -> None:
    assert locks.take(RUN, epoch=0) is not None
    assert locks.is_free(OTHER)
    assert locks.take(OTHER, epoch=0) is not None


def test_a_holder_of_a_newer_order_is_left_alone(locks: RunLocks) -> None:
    held = locks.take(RUN, epoch=5)
    assert locks.take(RUN, epoch=4) is None
    assert not locks.is_free(RUN)
    assert held is not None
    held.release()


def test_the_death_of_a_holder_frees_its_lock(tmp_path: Path, start_holder: StartHolder) -> None:
    locks = LocalRunLocks(tmp_path, host="here")
    holder = start_holder(epoch=0)
    assert not locks.is_free(RUN)
    assert locks.take(RUN, epoch=0) is None
    holder.kill()
    holder.wait()
    assert locks.is_free(RUN)
    assert locks.take(RUN, epoch=0) is not None


@pytest.mark.parametrize("is_stopped", [True, False])
def test_a_holder_of_an_older_order_is_killed_even_when_it_hangs(
    tmp_path: Path, start_holder: StartHolder, is_stopped: bool
) -> None:
    holder = start_holder(epoch=0)
    if is_stopped:
        holder.send_signal(signal.SIGSTOP)
    assert _patient_for(tmp_path, seconds=0.1).take(RUN, epoch=2) is not None
    assert holder.wait(timeout=10) == -signal.SIGKILL


def test_a_holder_that_is_about_to_end_is_waited_for(tmp_path: Path, start_holder: StartHolder) -> None:
    holder = start_holder(epoch=0)
    glances: list[float] = []

    def pause(seconds: float) -> None:
        glances.append(seconds)
        if len(glances) == 3:
            holder.communicate()  # its input ends, and so does it

    locks = LocalRunLocks(tmp_path, host="here", patience_seconds=60, pause=pause)
    assert locks.take(RUN, epoch=2) is not None
    assert holder.returncode == 0


def test_a_holder_on_another_host_is_neither_waited_for_nor_killed(
    tmp_path: Path, start_holder: StartHolder
) -> None:
    holder = start_holder(epoch=0, host="elsewhere")
    assert _patient_for(tmp_path, seconds=60).take(RUN, epoch=2) is None
    assert holder.poll() is None
