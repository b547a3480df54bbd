"""The supervisor starts in order, starts crashed processes again, and leaves nothing behind."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from model_trainer.core.config.settings import process_environment
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.stack.supervisor import (
    Patience,
    ProcessSpec,
    Supervisor,
    in_background,
    stop_on_signals,
)

QUICK = Patience(
    ready_seconds=20,
    first_backoff_seconds=0.01,
    longest_backoff_seconds=0.02,
    steady_seconds=60,
    poll_seconds=0.005,
)
LIVES = "import time; time.sleep(60)"
NOTES_ITS_LIFE = """
import signal, sys, time
def note(what):
    with open(sys.argv[1], "a") as file:
        file.write(what + " " + sys.argv[2] + "\\n")
def end(*_):
    note("end")
    raise SystemExit(0)
signal.signal(signal.SIGTERM, end)
note("begin")
time.sleep(60)
"""


def spec(name: str, code: str = LIVES, *arguments: str) -> ProcessSpec:
    return ProcessSpec(
        name=name, argv=(sys.executable, "-S", "-c", code, *arguments), env=process_environment()
    )


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


class Ups:
    """Who came up, and with which process id."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []

    def __call__(self, name: str, pid: int) -> None:
        self.seen.append((name, pid))

    def pids(self, name: str) -> list[int]:
        return [pid for each, pid in self.seen if each == name]


def kill_and_await_the_next(ups: Ups, name: str) -> None:
    before = ups.pids(name)
    os.kill(before[-1], signal.SIGKILL)
    wait_for(lambda: len(ups.pids(name)) == len(before) + 1)


def attempts(patience: Patience, state_folder: Path) -> list[int]:
    """Kills a process three times; how many crashes in a row the supervisor counts each time."""
    ups = Ups()
    with (
        capture_logs() as lines,
        in_background(Supervisor([spec("worker")], state_folder, ups, patience=patience)),
    ):
        for _ in range(3):
            kill_and_await_the_next(ups, "worker")
    return [line["attempt"] for line in lines if line["event"] == "process_crashed"]


def test_each_process_waits_for_the_one_before_and_goes_before_it(tmp_path: Path) -> None:
    notes = tmp_path / "notes"

    def noted(name: str) -> ProcessSpec:
        begun = f"begin {name}\n"
        return replace(
            spec(name, NOTES_ITS_LIFE, str(notes), name),
            is_ready=lambda: notes.exists() and begun in notes.read_text(),
        )

    ups = Ups()
    with in_background(
        Supervisor([noted("redis"), noted("api"), noted("worker")], tmp_path, ups, patience=QUICK)
    ):
        assert [name for name, _ in ups.seen] == ["redis", "api", "worker"]

    assert notes.read_text().split("\n")[:6] == [
        "begin redis",
        "begin api",
        "begin worker",
        "end worker",
        "end api",
        "end redis",
    ]
    assert not any(is_alive(pid) for _, pid in ups.seen)


def test_a_crashed_process_is_started_again_each_time(tmp_path: Path) -> None:
    ups = Ups()
    with in_background(Supervisor([spec("worker"), spec("api")], tmp_path, ups, patience=QUICK)):
        for _ in range(3):
            kill_and_await_the_next(ups, "worker")
        assert len(ups.pids("api")) == 1

    assert not any(is_alive(pid) for _, pid in ups.seen)


def test_a_process_that_crashed_long_ago_has_its_first_backoff_again(tmp_path: Path) -> None:
    assert attempts(replace(QUICK, steady_seconds=0), tmp_path) == [1, 1, 1]


def test_a_process_that_lies_crashed_does_not_hinder_the_stop(tmp_path: Path) -> None:
    patience = replace(QUICK, first_backoff_seconds=3600, longest_backoff_seconds=3600)
    ups = Ups()
    supervisor = Supervisor([spec("worker")], tmp_path, ups, patience=patience)
    with in_background(supervisor):
        os.kill(ups.pids("worker")[0], signal.SIGKILL)
        wait_for(lambda: not Path(f"/proc/{ups.pids('worker')[0]}").exists())

    assert len(ups.seen) == 1


def test_a_process_that_ends_at_once_stops_the_whole_start(tmp_path: Path) -> None:
    log_file = tmp_path / "api.log"
    failing = replace(
        spec("api", "print('port 8000 is taken'); raise SystemExit(3)"),
        is_ready=lambda: False,
        log_file=log_file,
    )
    ups = Ups()

    with (
        pytest.raises(AppError, match="api ended at once with exit code 3") as caught,
        in_background(Supervisor([spec("redis"), failing], tmp_path, ups, patience=QUICK)),
    ):
        pytest.fail("a stack that is not up was handed out")

    assert caught.value.code is ErrorCode.STACK_FAILED
    assert "port 8000 is taken" in caught.value.message
    assert "Mend what its log says" in caught.value.message
    assert not any(is_alive(pid) for _, pid in ups.seen)


def test_a_crash_is_logged_with_what_to_do_about_it(tmp_path: Path) -> None:
    ups = Ups()
    advised = replace(spec("redis"), advice=lambda: "Rebuild it.")
    with (
        capture_logs() as lines,
        in_background(Supervisor([advised], tmp_path, ups, patience=QUICK)),
    ):
        kill_and_await_the_next(ups, "redis")
    assert [line["detail"] for line in lines if line["event"] == "process_crashed"] == ["Rebuild it."]


def test_a_process_that_never_gets_ready_stops_the_whole_start(tmp_path: Path) -> None:
    patience = replace(QUICK, ready_seconds=0.02)
    never = replace(spec("api"), is_ready=lambda: False)

    with (
        pytest.raises(AppError, match="did not get ready in time"),
        in_background(Supervisor([never], tmp_path, Ups(), patience=patience)),
    ):
        pytest.fail("a stack that is not up was handed out")


def test_what_crashes_while_the_next_one_starts_is_started_again(tmp_path: Path) -> None:
    ups = Ups()
    killed: list[int] = []

    def api_is_ready() -> bool:
        if not killed:
            killed.append(ups.pids("redis")[0])
            os.kill(killed[0], signal.SIGKILL)
        return len(ups.pids("redis")) == 2

    api = replace(spec("api"), is_ready=api_is_ready)
    with in_background(Supervisor([spec("redis"), api], tmp_path, ups, patience=QUICK)):
        assert [name for name, _ in ups.seen] == ["redis", "redis", "api"]


def test_a_stop_during_the_start_starts_nothing_more(tmp_path: Path) -> None:
    stop_requested = threading.Event()

    def stops_instead() -> bool:
        stop_requested.set()
        return False

    ups = Ups()
    slow = replace(spec("redis"), is_ready=stops_instead)

    Supervisor([slow, spec("api")], tmp_path, ups, patience=QUICK).run(stop_requested)

    assert ups.seen == []


def test_two_stacks_do_not_share_a_state_folder(tmp_path: Path) -> None:
    with in_background(Supervisor([], tmp_path, Ups(), patience=QUICK)):
        second = Supervisor([spec("api")], tmp_path, Ups(), patience=replace(QUICK, lock_seconds=0))

        with pytest.raises(AppError, match="Another stack"):
            second.run(threading.Event())


def test_signals_ask_for_a_stop_and_then_for_an_end(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    stop_requested = threading.Event()

    with stop_on_signals(stop_requested):
        signal.raise_signal(signal.SIGTERM)
        assert stop_requested.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_ctrl_c_does_not_wait_for_anybody(tmp_path: Path) -> None:
    stop_requested = threading.Event()
    started = tmp_path / "started"
    code = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open(sys.argv[1], 'w').close(); time.sleep(60)"
    stubborn = replace(spec("worker", code, str(started)), is_ready=started.exists, grace_seconds=3600)
    ups = Ups()
    supervisor = Supervisor([spec("redis"), stubborn], tmp_path, ups, patience=QUICK)

    def two_signals() -> None:
        wait_for(supervisor.all_up.is_set)
        os.kill(os.getpid(), signal.SIGINT)
        wait_for(stop_requested.is_set)
        os.kill(os.getpid(), signal.SIGINT)

    with stop_on_signals(stop_requested), ThreadPoolExecutor() as fingers:
        fingers.submit(two_signals)
        with pytest.raises(KeyboardInterrupt):
            supervisor.run(stop_requested)

    assert not any(is_alive(pid) for _, pid in ups.seen)


def test_each_crash_waits_longer_than_the_one_before(tmp_path: Path) -> None:
    patience = replace(QUICK, first_backoff_seconds=0.03, longest_backoff_seconds=3600)
    began = time.monotonic()

    assert attempts(patience, tmp_path) == [1, 2, 3]
    assert time.monotonic() - began >= 0.03 + 0.06 + 0.12


def test_a_second_ctrl_c_hurries_a_stack_in_the_background(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: open(sys.argv[1], 'w').close())\n"
        "open(sys.argv[1] + '.ready', 'w').close()\n"
        "while True: time.sleep(60)\n"
    )
    stubborn = replace(
        spec("worker", code, str(asked)), is_ready=Path(f"{asked}.ready").exists, grace_seconds=3600
    )
    ups = Ups()
    stop_requested = threading.Event()

    def second_signal() -> None:
        wait_for(asked.exists)
        os.kill(os.getpid(), signal.SIGINT)

    def ctrl_c_twice() -> None:
        with in_background(Supervisor([stubborn], tmp_path, ups, patience=QUICK)):
            signal.raise_signal(signal.SIGINT)
            assert stop_requested.is_set()
            fingers.submit(second_signal)

    with ThreadPoolExecutor() as fingers, stop_on_signals(stop_requested), pytest.raises(KeyboardInterrupt):
        ctrl_c_twice()

    assert not any(is_alive(pid) for _, pid in ups.seen)
