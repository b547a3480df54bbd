import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from model_trainer.core.ports.storage import LockHolder
from model_trainer.infra.storage.processes import Processes


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def _described(pid: int) -> LockHolder:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return replace(Processes().this_one(host="h", epoch=1), pid=pid, started_ticks=int(fields[19]))


def test_a_process_describes_itself(tmp_path: Path) -> None:
    me = Processes().this_one(host="h", epoch=7)
    assert (me.host, me.epoch, me.pid) == ("h", 7, os.getpid())
    assert Processes().knows(me)
    assert Processes().is_alive(me)


def test_a_later_process_of_the_same_number_is_somebody_else(sleeper: "subprocess.Popen[bytes]") -> None:
    before = replace(_described(sleeper.pid), started_ticks=_described(sleeper.pid).started_ticks - 1)
    assert not Processes().is_alive(before)
    assert not Processes().kill(before)
    assert sleeper.poll() is None


def test_a_process_is_ended_outright(sleeper: "subprocess.Popen[bytes]") -> None:
    holder = _described(sleeper.pid)
    sleeper.send_signal(signal.SIGSTOP)
    assert Processes().kill(holder)
    assert sleeper.wait(timeout=10) == -signal.SIGKILL
    assert not Processes().is_alive(holder)
    assert not Processes().kill(holder)


def test_a_process_that_has_ended_and_that_nobody_waited_for_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    holder = replace(Processes().this_one(host="h", epoch=1), pid=process.pid, started_ticks=1)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not Processes().is_alive(holder)
    assert not Processes().kill(holder)
    process.wait()


def test_neither_itself_nor_a_process_of_another_start_is_ended(sleeper: "subprocess.Popen[bytes]") -> None:
    processes = Processes()
    assert not processes.kill(processes.this_one(host="h", epoch=1))
    assert not processes.kill(replace(_described(sleeper.pid), boot_id="another"))
    assert sleeper.poll() is None


def test_what_may_not_be_ended_is_left(sleeper: "subprocess.Popen[bytes]") -> None:
    class Forbidden:
        def pidfd_open(self, pid: int, /) -> int:
            return os.open(os.devnull, os.O_RDONLY)  # no process' descriptor: the kernel refuses

    assert not Processes(system=Forbidden()).kill(_described(sleeper.pid))
    assert sleeper.poll() is None


def test_where_processes_cannot_be_told_nobody_is_known(tmp_path: Path) -> None:
    processes = Processes(tmp_path / "no proc", system=object())
    me = processes.this_one(host="h", epoch=1)
    assert (me.boot_id, me.started_ticks) == ("", 0)
    assert not processes.knows(me)
    assert not processes.is_alive(me)
    assert not processes.kill(me)
