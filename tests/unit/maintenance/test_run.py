"""The maintenance loops go on until they are told to stop, and do not hold one another up."""

import threading

import pytest

from model_trainer.maintenance.run import Chore, run_maintenance

PATIENCE_SECONDS = 20.0


class Counting:
    """Counts its rounds; stops everything at the last one."""

    def __init__(self, stop: threading.Event, *, last: int = 0) -> None:
        self.rounds = 0
        self._stop = stop
        self._last = last

    def __call__(self) -> None:
        self.rounds += 1
        if self.rounds == self._last:
            self._stop.set()


def test_each_chore_has_its_own_rhythm() -> None:
    stop = threading.Event()
    often, seldom = Counting(stop, last=5), Counting(stop)

    run_maintenance(prompt=(Chore(seldom, 3600), Chore(often, 0)), patient=(), stop=stop)

    assert often.rounds == 5
    assert seldom.rounds == 1


def test_a_chore_that_takes_long_does_not_delay_the_prompt_ones() -> None:
    stop, many_rounds = threading.Event(), threading.Event()
    often = Counting(stop)

    def look() -> None:
        often()
        if often.rounds == 5:
            many_rounds.set()

    def hash_for_long() -> None:
        assert many_rounds.wait(PATIENCE_SECONDS), "the prompt chores waited"
        stop.set()

    run_maintenance(prompt=(Chore(look, 0),), patient=(Chore(hash_for_long, 0),), stop=stop)

    assert often.rounds >= 5


def test_a_stop_waits_for_what_is_being_done() -> None:
    stop = threading.Event()
    done: list[str] = []

    def close_account() -> None:
        assert stop.wait(PATIENCE_SECONDS)
        done.append("closed")

    run_maintenance(prompt=(Chore(Counting(stop, last=1), 0),), patient=(Chore(close_account, 0),), stop=stop)

    assert done == ["closed"]


def test_a_chore_that_waits_for_another_machine_delays_no_other() -> None:
    stop, others_worked = threading.Event(), threading.Event()
    patient = Counting(stop)

    def clean() -> None:
        patient()
        if patient.rounds == 3:
            others_worked.set()

    def store() -> None:
        assert others_worked.wait(PATIENCE_SECONDS), "the patient chores waited"
        stop.set()

    run_maintenance(prompt=(), patient=(Chore(clean, 0),), remote=(Chore(store, 0),), stop=stop)

    assert patient.rounds >= 3


@pytest.mark.parametrize("fails", ["prompt", "patient", "remote"])
def test_a_defect_in_any_thread_ends_all(fails: str) -> None:
    def fail() -> None:
        raise RuntimeError("a defect")

    stop = threading.Event()
    chores = {name: (Chore(Counting(stop), 3600),) for name in ("prompt", "patient", "remote")}
    chores[fails] = (Chore(fail, 0),)

    with pytest.raises(RuntimeError, match="a defect"):
        run_maintenance(
            prompt=chores["prompt"], patient=chores["patient"], remote=chores["remote"], stop=stop
        )

    assert stop.is_set()


def test_a_stop_before_the_start_does_nothing() -> None:
    stop = threading.Event()
    stop.set()
    chore = Counting(stop)

    run_maintenance(prompt=(Chore(chore, 0),), patient=(Chore(chore, 0),), stop=stop)

    assert chore.rounds == 0


def test_a_stop_between_two_chores_leaves_the_second_undone() -> None:
    stop = threading.Event()
    second = Counting(stop)

    run_maintenance(prompt=(Chore(Counting(stop, last=1), 0), Chore(second, 0)), patient=(), stop=stop)

    assert second.rounds == 0
