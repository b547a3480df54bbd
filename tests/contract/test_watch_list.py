"""What every watch list promises: one holder at a time writes, all of it or nothing, and nobody else."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from model_trainer.core.contracts.feed import WatchState
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.feed import WatchList
from model_trainer.infra.persistence.memory_watch_list import MemoryWatchList
from model_trainer.infra.persistence.redis_client import RedisClient
from model_trainer.infra.persistence.redis_watch_list import RedisWatchList

US, THEM = "us", "them"
EMPTY = WatchState(position=None, channel=None, notes={})
SHORT = 0.04


@dataclass
class ListUnderTest:
    """A list, and a way to let time pass."""

    watch_list: WatchList
    pass_time: Callable[[float], None]


@pytest.fixture(params=["redis", "memory"])
def timed(request: pytest.FixtureRequest) -> ListUnderTest:
    if request.param == "redis":
        client: RedisClient = request.getfixturevalue("client")
        return ListUnderTest(RedisWatchList(client), time.sleep)
    now = [1000.0]

    def pass_time(seconds: float) -> None:
        now[0] += seconds

    return ListUnderTest(MemoryWatchList(clock=lambda: now[0]), pass_time)


@pytest.fixture
def watch_list(timed: ListUnderTest) -> WatchList:
    return timed.watch_list


@pytest.fixture
def held(watch_list: WatchList) -> WatchList:
    assert watch_list.hold(US, seconds=60)
    return watch_list


def refused() -> "pytest.RaisesExc[AppError]":
    return pytest.raises(AppError, check=lambda error: error.code is ErrorCode.LEASE_LOST)


# ---------------------------------------------------------------- what is written down


def test_at_first_nothing_is_written_down(watch_list: WatchList) -> None:
    assert watch_list.load() == EMPTY


def test_what_is_kept_is_there_for_the_next_one(held: WatchList) -> None:
    held.keep(US, position="5-0", channel="77", notes={"run-1": '{"a": "ü\\n"}', "run-2": ""})
    assert held.load() == WatchState(
        position="5-0", channel="77", notes={"run-1": '{"a": "ü\\n"}', "run-2": ""}
    )


def test_what_is_not_given_stays(held: WatchList) -> None:
    held.keep(US, position="5-0", channel="77", notes={"run-1": "one"})
    held.keep(US, notes={"run-2": "two"})
    held.keep(US, position="6-0")
    held.keep(US, channel="78")
    held.keep(US)
    assert held.load() == WatchState(position="6-0", channel="78", notes={"run-1": "one", "run-2": "two"})


def test_a_note_takes_the_place_of_the_earlier_one(held: WatchList) -> None:
    held.keep(US, notes={"run-1": "old", "run-2": "stays"})
    held.keep(US, notes={"run-1": "new"})
    assert held.load().notes == {"run-1": "new", "run-2": "stays"}


def test_what_is_gone_is_removed_whether_it_was_there_or_not(held: WatchList) -> None:
    held.keep(US, notes={"run-1": "one", "run-2": "two"})
    held.keep(
        US, position="7-0", notes={"run-3": "three", "run-4": "at once"}, gone=["run-1", "run-4", "nobody"]
    )
    assert held.load() == WatchState(position="7-0", channel=None, notes={"run-2": "two", "run-3": "three"})


def test_keeping_it_twice_is_keeping_it_once(held: WatchList) -> None:
    held.keep(US, notes={"run-1": "one"})
    for _ in range(2):
        held.keep(US, position="7-0", channel="77", notes={"run-2": "two"}, gone=["run-1"])
    assert held.load() == WatchState(position="7-0", channel="77", notes={"run-2": "two"})


def test_who_changes_what_was_loaded_changes_nothing_here(held: WatchList) -> None:
    held.keep(US, notes={"run-1": "one"})
    held.load().notes.clear()
    assert held.load().notes == {"run-1": "one"}


# ---------------------------------------------------------------- who may write


def test_one_at_a_time_holds_the_list(held: WatchList) -> None:
    assert not held.hold(THEM, seconds=60)
    assert held.hold(US, seconds=60)


def test_who_does_not_hold_the_list_writes_nothing(watch_list: WatchList) -> None:
    with refused():
        watch_list.keep(US, position="1-0")
    watch_list.hold(US, seconds=60)
    watch_list.keep(US, position="2-0", channel="77", notes={"run-1": "one"})
    with refused() as caught:
        watch_list.keep(THEM, position="3-0", channel="78", notes={"run-1": "theirs"}, gone=["run-1"])
    assert caught.value.facts["holder"] == THEM
    assert watch_list.load() == WatchState(position="2-0", channel="77", notes={"run-1": "one"})


def test_a_hold_that_ran_out_is_free_for_anybody_and_its_holder_writes_nothing(timed: ListUnderTest) -> None:
    timed.watch_list.hold(US, seconds=SHORT)
    timed.pass_time(SHORT + 0.01)
    with refused():
        timed.watch_list.keep(US, position="1-0")
    assert timed.watch_list.hold(THEM, seconds=60)
    with refused():
        timed.watch_list.keep(US, position="1-0")
    timed.watch_list.keep(THEM, position="2-0")
    assert timed.watch_list.load().position == "2-0"
    assert not timed.watch_list.hold(US, seconds=60)


def test_who_holds_on_holds_longer(timed: ListUnderTest) -> None:
    timed.watch_list.hold(US, seconds=SHORT)
    timed.watch_list.hold(US, seconds=60)
    timed.pass_time(SHORT + 0.01)
    assert not timed.watch_list.hold(THEM, seconds=60)
    timed.watch_list.keep(US, position="1-0")


def test_a_list_that_was_let_go_is_free_at_once(held: WatchList) -> None:
    held.keep(US, position="1-0")
    held.let_go(US)
    with refused():
        held.keep(US, position="2-0")
    assert held.hold(THEM, seconds=60)
    assert held.load().position == "1-0"


def test_nobody_lets_go_for_another(held: WatchList) -> None:
    held.let_go(THEM)
    assert not held.hold(THEM, seconds=60)


def test_letting_go_of_what_nobody_holds_is_no_fault(watch_list: WatchList) -> None:
    watch_list.let_go(US)
    assert watch_list.hold(THEM, seconds=60)
