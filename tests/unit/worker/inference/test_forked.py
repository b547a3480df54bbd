"""A real forked child at the end of a real pipe, doing nothing that computes."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from model_trainer.worker.inference.child import Line
from model_trainer.worker.inference.forked import ForkedChild, hear_no_signals


def echo(line: Line, parent_pid: int) -> None:
    """Says what it hears, and who its parent is, until nobody talks to it."""
    while True:
        try:
            heard = line.recv_bytes()
        except EOFError:
            return
        if heard == b"die":
            os.kill(os.getpid(), signal.SIGKILL)
        if heard == b"leave":
            os._exit(3)
        line.send_bytes(b"%b %d" % (heard, parent_pid))


@pytest.fixture
def child() -> Iterator[ForkedChild]:
    child = ForkedChild(echo)
    yield child
    child.kill()


def test_a_child_answers_over_its_pipe_and_goes_when_its_parent_hangs_up(child: ForkedChild) -> None:
    child.send(b"hello")
    assert child.has_said(within_seconds=10)
    assert child.receive() == b"hello %d" % os.getpid()
    assert not child.has_said(within_seconds=0)
    assert (child.is_alive(), child.fate) == (True, "is alive")
    began = time.monotonic()
    child.end()
    assert time.monotonic() - began < 10
    assert (child.is_alive(), child.fate) == (False, "ended with code 0")


def test_a_child_that_dies_is_noticed_and_says_of_what(child: ForkedChild) -> None:
    child.send(b"die")
    assert child.has_said(within_seconds=10)
    with pytest.raises(EOFError):
        child.receive()
    child.end()
    assert child.fate == "was ended by SIGKILL"
    with pytest.raises(OSError, match="closed"):
        child.send(b"anybody there?")


def test_a_child_that_leaves_by_itself_says_with_what_code(child: ForkedChild) -> None:
    child.send(b"leave")
    child.has_said(within_seconds=10)
    child.end()
    assert child.fate == "ended with code 3"


def lingering(line: Line, parent_pid: int) -> None:
    """Has something to do yet when nobody talks to it any more."""
    echo(line, parent_pid)
    time.sleep(0.3)
    os._exit(7)


def test_a_child_is_given_time_to_go() -> None:
    child = ForkedChild(lingering, end_seconds=30)
    child.end()
    assert child.fate == "ended with code 7"


def stuck(line: Line, _parent_pid: int) -> None:
    """Neither listens nor goes."""
    line.send_bytes(b"stuck")
    time.sleep(600)


def test_a_child_that_does_not_go_is_killed() -> None:
    child = ForkedChild(stuck, end_seconds=0.05)
    assert child.receive() == b"stuck"
    os.kill(child.pid, signal.SIGTERM)
    os.kill(child.pid, signal.SIGINT)
    assert not child.has_said(within_seconds=0.05)
    assert child.is_alive()  # when to go is its parent's word
    child.end()
    assert child.fate == "was ended by SIGKILL"


def test_signals_for_the_whole_group_are_not_heard() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        hear_no_signals()
        assert signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
