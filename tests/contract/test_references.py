"""What every account of references promises: nothing is removed under a run, and no run begins with what is going."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.store import References
from model_trainer.infra.persistence.memory_references import MemoryReferences
from model_trainer.infra.persistence.redis_client import RedisClient
from model_trainer.infra.persistence.redis_references import NAMED_RUNS, RedisReferences

FILE = f"file:{'a' * 64}"
TOKENIZER = "tokenizer:01JZZZZZZZZZZZZZZZZZZZZZZZ"
OURS, THEIRS = "ours", "theirs"


@dataclass
class ReferencesUnderTest:
    """References, and a way to let time pass."""

    references: References
    pass_time: Callable[[float], None]


@pytest.fixture(params=["redis", "memory"])
def account(request: pytest.FixtureRequest) -> ReferencesUnderTest:
    if request.param == "redis":
        client: RedisClient = request.getfixturevalue("client")
        return ReferencesUnderTest(RedisReferences(client), time.sleep)
    now = [1000.0]

    def pass_time(seconds: float) -> None:
        now[0] += seconds

    return ReferencesUnderTest(MemoryReferences(clock=lambda: now[0]), pass_time)


@pytest.fixture
def references(account: ReferencesUnderTest) -> References:
    return account.references


def refused() -> "pytest.RaisesExc[AppError]":
    return pytest.raises(AppError, check=lambda error: error.code is ErrorCode.CONFLICT)


def test_a_thing_knows_the_runs_that_need_it(references: References) -> None:
    references.refer("run-2", [FILE, TOKENIZER])
    references.refer("run-1", [FILE])
    assert references.referred_by(FILE, limit=10) == ("run-1", "run-2")
    assert references.referred_by(TOKENIZER, limit=10) == ("run-2",)
    assert len(references.referred_by(FILE, limit=1)) == 1


def test_nobody_needs_what_nobody_named(references: References) -> None:
    assert references.referred_by(FILE, limit=10) == ()


def test_a_run_may_need_nothing(references: References) -> None:
    references.refer("run-1", [])
    references.release("run-1", [])


def test_saying_it_twice_is_saying_it_once(references: References) -> None:
    references.refer("run-1", [FILE])
    references.refer("run-1", [FILE])
    references.release("run-1", [FILE])
    assert references.referred_by(FILE, limit=10) == ()


def test_a_release_takes_back_what_was_said_of_that_run_alone(references: References) -> None:
    references.refer("run-1", [FILE, TOKENIZER])
    references.refer("run-2", [FILE])
    references.release("run-1", [FILE])
    assert references.referred_by(FILE, limit=10) == ("run-2",)
    assert references.referred_by(TOKENIZER, limit=10) == ("run-1",)


def test_what_is_needed_is_not_removed(references: References) -> None:
    references.refer("run-2", [FILE])
    references.refer("run-1", [FILE])
    assert references.begin_removal(FILE, owner=OURS, seconds=60) == ("run-1", "run-2")
    references.refer("run-3", [FILE])


def test_of_many_runs_some_are_named(references: References) -> None:
    for number in range(NAMED_RUNS + 5):
        references.refer(f"run-{number:02}", [FILE])
    named = references.begin_removal(FILE, owner=OURS, seconds=60)
    assert len(set(named)) == NAMED_RUNS
    assert list(named) == sorted(named)


def test_what_is_being_removed_cannot_be_named_and_the_rest_is_not_said_either(
    references: References,
) -> None:
    assert references.begin_removal(FILE, owner=OURS, seconds=60) == ()
    with refused() as caught:
        references.refer("run-1", [TOKENIZER, FILE])
    assert "a" * 64 in caught.value.message
    assert references.referred_by(TOKENIZER, limit=10) == ()
    references.refer("run-1", [TOKENIZER])


def test_a_removal_may_be_begun_again(references: References) -> None:
    references.begin_removal(FILE, owner=OURS, seconds=60)
    assert references.begin_removal(FILE, owner=OURS, seconds=60) == ()


def test_a_second_removal_is_refused_while_the_first_goes_on(references: References) -> None:
    references.begin_removal(FILE, owner=OURS, seconds=60)
    with refused() as caught:
        references.begin_removal(FILE, owner=THEIRS, seconds=60)
    assert "a" * 64 in caught.value.message
    references.end_removal(FILE, owner=OURS)
    assert references.begin_removal(FILE, owner=THEIRS, seconds=60) == ()


def test_nobody_ends_the_removal_of_another(references: References) -> None:
    references.begin_removal(FILE, owner=OURS, seconds=60)
    references.end_removal(FILE, owner=THEIRS)
    with refused():
        references.refer("run-1", [FILE])


def test_who_comes_back_after_its_removal_ran_out_does_not_end_that_of_another(
    account: ReferencesUnderTest,
) -> None:
    account.references.begin_removal(FILE, owner=OURS, seconds=0.03)
    account.pass_time(0.04)
    account.references.end_removal(FILE, owner=OURS)
    assert account.references.begin_removal(FILE, owner=THEIRS, seconds=60) == ()
    account.references.end_removal(FILE, owner=OURS)
    with refused():
        account.references.refer("run-1", [FILE])


def test_when_a_removal_has_ended_the_thing_may_be_named(references: References) -> None:
    references.begin_removal(FILE, owner=OURS, seconds=60)
    references.end_removal(FILE, owner=OURS)
    references.refer("run-1", [FILE])
    assert references.referred_by(FILE, limit=10) == ("run-1",)


def test_ending_a_removal_that_never_began_is_no_fault(references: References) -> None:
    references.end_removal(FILE, owner=OURS)


def test_a_removal_that_nobody_ends_runs_out(account: ReferencesUnderTest) -> None:
    account.references.begin_removal(FILE, owner=OURS, seconds=0.03)
    with refused():
        account.references.refer("run-1", [FILE])
    account.pass_time(0.04)
    account.references.refer("run-1", [FILE])
    assert account.references.referred_by(FILE, limit=10) == ("run-1",)


def test_of_two_removals_exactly_one_has_its_way(references: References) -> None:
    things = [f"file:{number:064x}" for number in range(200)]
    start = threading.Barrier(2)

    def granted(owner: str, thing: str) -> bool:
        try:
            return references.begin_removal(thing, owner=owner, seconds=60) == ()
        except AppError:
            return False

    def at_once(owner: str) -> list[bool]:
        return [start.wait() >= 0 and granted(owner, thing) for thing in things]

    with ThreadPoolExecutor(2) as threads:
        ours, theirs = threads.map(at_once, (OURS, THEIRS))
    assert ours == [not is_granted for is_granted in theirs]


def test_of_a_run_and_a_removal_exactly_one_has_its_way(references: References) -> None:
    things = [f"file:{number:064x}" for number in range(200)]
    start = threading.Barrier(2)

    def wants(thing: str) -> bool:
        try:
            references.refer("run-1", [thing])
        except AppError:
            return False
        return True

    def goes(thing: str) -> bool:
        return references.begin_removal(thing, owner=OURS, seconds=60) == ()

    def at_once(act: Callable[[str], bool]) -> list[bool]:
        return [start.wait() >= 0 and act(thing) for thing in things]

    with ThreadPoolExecutor(2) as threads:
        wanted, gone = threads.map(at_once, (wants, goes))
    assert wanted == [not is_gone for is_gone in gone]
