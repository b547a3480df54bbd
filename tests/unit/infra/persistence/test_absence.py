"""A server that did not answer in time is not waited for by everybody."""

import threading

import pytest

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.absence import Absence


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def is_refused(absence: Absence) -> bool:
    """Whether a caller is turned away at once."""
    try:
        absence.check()
    except AppError as error:
        return error.code is ErrorCode.STORE_UNAVAILABLE
    return False


def test_callers_are_refused_for_a_moment_and_then_one_finds_out() -> None:
    clock = Hand()
    absence = Absence(seconds=1.0, clock=clock)
    assert not is_refused(absence)

    absence.noticed()
    assert is_refused(absence)
    clock.now += 1.0
    assert [is_refused(absence) for _ in range(3)] == [False, True, True]
    clock.now += 1.0
    assert not is_refused(absence)
    absence.ended()
    assert [is_refused(absence) for _ in range(3)] == [False, False, False]


@pytest.mark.parametrize("times", [1, 3])
def test_an_absence_of_no_length_refuses_nobody(times: int) -> None:
    absence = Absence(seconds=0.0)
    for _ in range(times):
        absence.noticed()
        assert not is_refused(absence)


def test_news_of_an_answer_waits_for_who_is_looking() -> None:
    """One thread compares the moment until which it counts as away while another hears that it is back."""
    absences: list[Absence] = []
    others: list[threading.Thread] = []

    def clock() -> float:
        if absences and not others:
            others.append(threading.Thread(target=absences[0].ended))
            others[0].start()
            others[0].join(0.05)
        return 100.0

    absence = Absence(seconds=1.0, clock=clock)
    absence.noticed()
    absences.append(absence)
    assert is_refused(absence)
    others[0].join()
    assert not is_refused(absence)
