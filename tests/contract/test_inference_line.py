"""Requests to models taken from the line, held, given back and reaped: what every store promises."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.inference import GivenBack, InferenceKind, InferenceStatus
from model_trainer.core.errors import ErrorCode
from model_trainer.infra.persistence.inference_rules import SEEN, UNANSWERED_SECONDS
from model_trainer.infra.persistence.redis_client import RedisClient
from tests.contract.inference_stores import (
    LEASE_SECONDS,
    RUN_ID,
    SETTINGS,
    TIMINGS,
    TOO_LARGE,
    InferenceUnderTest,
    conversation,
    ids,
    key_of,
    memory_inference,
    redis_inference,
)
from tests.contract.refusals import expect

# ---------------------------------------------------------------- taking


def test_the_oldest_is_taken_first(asked: InferenceUnderTest) -> None:
    waiting = [asked.submit() for _ in range(3)]
    record = asked.take_one("a")
    assert record.request.request_id == waiting[0]
    assert record == asked.get(waiting[0])
    assert (record.status, record.owner, record.tries) == (InferenceStatus.RUNNING, "a", 1)
    assert record.started_at_ms is not None
    assert record.started_at_ms >= record.created_at_ms
    assert [asked.take_one("b").request.request_id for _ in range(2)] == waiting[1:]
    assert asked.take() == ()


def test_those_with_the_same_batch_key_come_along(asked: InferenceUnderTest) -> None:
    waiting = [asked.submit(batch_key=key) for key in "xyxxyx"]
    assert ids(asked.take(most=3)) == [waiting[0], waiting[2], waiting[3]]
    assert ids(asked.take()) == [waiting[1], waiting[4]]
    assert ids(asked.take()) == [waiting[5]]
    assert asked.inference.depth() == 0


def test_a_batch_is_made_of_the_head_of_the_line(asked: InferenceUnderTest) -> None:
    first = asked.submit(batch_key="x")
    for _ in range(SEEN - 2):
        asked.submit(batch_key="y")
    last_seen, not_seen = asked.submit(batch_key="x"), asked.submit(batch_key="x")
    assert ids(asked.take()) == [first, last_seen]
    assert asked.get(not_seen).status is InferenceStatus.QUEUED


def test_nobody_comes_for_a_while_and_nothing_is_taken(asked: InferenceUnderTest) -> None:
    before = time.monotonic()
    assert asked.inference.take("a", most=1, lease_seconds=60, wait_seconds=0.05) == ()
    assert 0.04 < time.monotonic() - before < 5.0


def test_who_waits_for_work_is_woken_up_by_it(asked: InferenceUnderTest) -> None:
    with ThreadPoolExecutor(2) as threads:
        waiting = [
            threads.submit(asked.inference.take, owner, most=1, lease_seconds=60, wait_seconds=20.0)
            for owner in "ab"
        ]
        time.sleep(0.02)
        before = time.monotonic()
        submitted = {asked.submit(), asked.submit()}
        taken = {ids(one.result())[0] for one in waiting}
    assert taken == submitted
    assert time.monotonic() - before < 10.0


def test_expired_requests_in_line_are_passed_over(asked: InferenceUnderTest) -> None:
    for _ in range(SEEN + 3):
        record = asked.get(asked.submit())
        asked.expire(key_of(record), UNANSWERED_SECONDS + 1.0)
    live = asked.submit()
    assert ids(asked.take()) == [live]
    assert asked.inference.depth() == 0


def test_each_of_a_thousand_requests_is_taken_once(request: pytest.FixtureRequest) -> None:
    settings = SETTINGS.model_copy(update={"max_waiting": 1000})
    client: RedisClient = request.getfixturevalue("client")
    for asked in (redis_inference(client, settings), memory_inference(settings)):
        submitted = [asked.submit(batch_key="xy"[number % 2]) for number in range(1000)]
        start = threading.Barrier(4)

        def take_all(
            owner: str, asked: InferenceUnderTest = asked, start: threading.Barrier = start
        ) -> list[str]:
            start.wait()
            taken: list[str] = []
            while records := asked.take(owner, most=7):
                taken += ids(records)
            return taken

        with ThreadPoolExecutor(4) as threads:
            shares = list(threads.map(take_all, "abcd"))
        assert Counter(one for share in shares for one in share) == Counter(submitted)
        asked.close()


# ---------------------------------------------------------------- holding, giving back, reaping


def test_requests_given_back_are_taken_again_before_newer_ones(asked: InferenceUnderTest) -> None:
    old = [asked.submit() for _ in range(2)]
    records = asked.take("a")
    new = asked.submit()
    asked.inference.give_back("a", records, why=GivenBack.STOPPED)
    given_back = asked.get(old[0])
    assert (given_back.status, given_back.owner) == (InferenceStatus.QUEUED, None)
    assert (given_back.started_at_ms, given_back.tries) == (None, 1)
    assert ids(asked.take("b")) == [*old, new]
    assert asked.get(old[0]).tries == 2


@pytest.mark.parametrize("why", [GivenBack.APART, GivenBack.LOST])
def test_requests_that_may_do_harm_are_taken_alone(asked: InferenceUnderTest, why: GivenBack) -> None:
    bold = [asked.submit() for _ in range(2)]
    records = asked.take("a")
    asked.inference.give_back("a", records, why=why)
    meek = [asked.submit() for _ in range(2)]
    assert [ids(asked.take("b")) for _ in range(3)] == [[bold[0]], [bold[1]], meek]


def test_who_goes_alone_once_goes_alone_for_good(asked: InferenceUnderTest) -> None:
    bold = asked.submit()
    asked.inference.give_back("a", (asked.take_one("a"),), why=GivenBack.LOST)
    asked.inference.give_back("a", (asked.take_one("a"),), why=GivenBack.STOPPED)
    asked.submit()
    assert ids(asked.take("b")) == [bold]


def test_one_who_goes_alone_is_left_in_line_by_a_batch(asked: InferenceUnderTest) -> None:
    first, bold, last = [asked.submit() for _ in range(3)]
    records = asked.take("a")
    asked.inference.give_back("a", records[1:2], why=GivenBack.LOST)
    asked.inference.give_back("a", records, why=GivenBack.STOPPED)
    assert ids(asked.take("b")) == [first, last]
    assert ids(asked.take("b")) == [bold]


def test_deaths_are_counted_and_stops_are_not(asked: InferenceUnderTest) -> None:
    request_id = asked.submit()
    deaths: list[int] = []
    for why in (GivenBack.STOPPED, GivenBack.LOST, GivenBack.APART, GivenBack.LOST):
        record = asked.take_one("a")
        for _ in range(2):  # the reply to the first may have been lost
            asked.inference.give_back("a", (record,), why=why)
        deaths.append(asked.get(request_id).deaths)
    assert deaths == [0, 1, 1, 2]
    assert asked.take_one("a").deaths == 2


def test_giving_back_forgets_what_was_told(asked: InferenceUnderTest) -> None:
    asked.submit()
    record = asked.take_one("a")
    asked.tell("a", record, "once", "twice")
    asked.inference.give_back("a", (record,), why=GivenBack.STOPPED)
    assert asked.told(record) == []
    again = asked.take_one("a")
    asked.tell("a", again, "anew")
    assert asked.told(again) == [(1, "anew")]


def test_nothing_can_be_held_or_given_back_without_being_there(asked: InferenceUnderTest) -> None:
    asked.inference.renew("a", (), lease_seconds=60)
    asked.inference.give_back("a", (), why=GivenBack.LOST)
    assert asked.inference.reap(most_deaths=2) == ()


def test_whoever_is_heard_of_keeps_its_requests(asked: InferenceUnderTest) -> None:
    asked.submit()
    record = asked.take_one("a", lease_seconds=LEASE_SECONDS)
    asked.inference.renew("a", (record,), lease_seconds=60)
    asked.pass_time(LEASE_SECONDS + 0.01)
    assert asked.inference.reap(most_deaths=2) == ()
    assert asked.get(record.request.request_id).owner == "a"


def test_requests_of_a_silent_owner_go_back_in_line_and_are_taken_alone(asked: InferenceUnderTest) -> None:
    silent = [asked.submit() for _ in range(2)]
    records = asked.take("a", lease_seconds=LEASE_SECONDS)
    asked.tell("a", records[0], "half a")
    held = asked.submit()
    asked.take_one("b")
    asked.pass_time(LEASE_SECONDS + 0.01)
    assert sorted(asked.inference.reap(most_deaths=2)) == sorted(silent)
    assert asked.get(held).status is InferenceStatus.RUNNING
    assert asked.told(records[0]) == []
    assert [ids(asked.take("c")) for _ in range(2)] == [[silent[0]], [silent[1]]]
    assert asked.inference.reap(most_deaths=2) == ()


def test_a_request_whose_owners_died_too_often_fails(asked: InferenceUnderTest) -> None:
    request_id = asked.submit()
    for _ in range(3):
        asked.inference.give_back("a", (asked.take_one("a"),), why=GivenBack.STOPPED)
    for _ in range(2):
        asked.take_one("a", lease_seconds=LEASE_SECONDS)
        asked.pass_time(LEASE_SECONDS + 0.01)
        asked.announced()
        assert asked.inference.reap(most_deaths=2) == (request_id,)
    record = asked.get(request_id)
    assert record.status is InferenceStatus.FAILED
    assert record.problem is not None
    assert record.problem.code is ErrorCode.WORKER_LOST
    assert (record.tries, record.deaths) == (5, 2)
    assert record.finished_at_ms is not None
    assert asked.announced() == [request_id]
    assert asked.take() == ()


def test_a_request_that_expired_under_its_owner_is_nobodys(asked: InferenceUnderTest) -> None:
    asked.submit()
    record = asked.take_one("a", lease_seconds=LEASE_SECONDS)
    asked.expire(key_of(record), UNANSWERED_SECONDS + 1.0)
    asked.pass_time(LEASE_SECONDS + 0.01)
    assert not asked.complete("a", record)
    assert asked.inference.reap(most_deaths=2) == ()
    assert asked.take() == ()


@pytest.mark.parametrize("next_owner", ["a", "b"])
def test_a_stale_try_changes_nothing(asked: InferenceUnderTest, next_owner: str) -> None:
    chat = new_ulid()
    asked.submit(conversation_id=chat)
    stale = asked.take_one("a")
    asked.inference.give_back("a", (stale,), why=GivenBack.STOPPED)
    present = asked.take_one(next_owner, lease_seconds=LEASE_SECONDS)
    asked.announced()
    asked.tell("a", stale, "late")
    assert not asked.inference.complete(
        "a", stale, result={}, timings=TIMINGS, conversation=conversation(chat, "late")
    )
    assert not asked.inference.fail("a", stale, TOO_LARGE)
    asked.inference.give_back("a", (stale,), why=GivenBack.LOST)
    assert asked.get(present.request.request_id, InferenceKind.CHAT) == present
    assert asked.told(present) == []
    assert asked.announced() == []
    with expect(ErrorCode.REQUEST_NOT_FOUND):
        asked.inference.conversation(RUN_ID, chat)
    asked.inference.renew("a", (stale,), lease_seconds=60)
    asked.pass_time(LEASE_SECONDS + 0.01)
    assert asked.inference.reap(most_deaths=9) == (present.request.request_id,)
