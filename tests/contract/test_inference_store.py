"""What every store of requests to models promises, whichever means it has."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.inference import (
    MOST_TURNS,
    Conversation,
    GivenBack,
    InferenceKind,
    InferenceRecord,
    InferenceStatus,
    Turn,
)
from model_trainer.core.contracts.run import IdempotencyKey, Problem
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.inference_rules import SEEN, UNANSWERED_SECONDS
from model_trainer.infra.persistence.redis_client import RedisClient
from tests.contract.inference_stores import (
    LEASE_SECONDS,
    RUN_ID,
    SETTINGS,
    TIMINGS,
    InferenceUnderTest,
    memory_inference,
    new_request,
    redis_inference,
)

KEY = IdempotencyKey(key="k", body_sha256="1" * 64)
REUSED = IdempotencyKey(key="k", body_sha256="2" * 64)
TOO_LARGE = Problem(code=ErrorCode.OUT_OF_MEMORY, message="Ask for less.")


@pytest.fixture(params=["redis", "memory"])
def asked(request: pytest.FixtureRequest) -> Iterator[InferenceUnderTest]:
    """An empty store."""
    if request.param == "memory":
        yield memory_inference()
        return
    client: RedisClient = request.getfixturevalue("client")
    in_redis = redis_inference(client)
    yield in_redis
    in_redis.close()


def expect(code: ErrorCode) -> "pytest.RaisesExc[AppError]":
    return pytest.raises(AppError, check=lambda error: error.code is code)


def ids(records: tuple[InferenceRecord, ...]) -> list[str]:
    return [record.request.request_id for record in records]


def key_of(record: InferenceRecord) -> str:
    request = record.request
    return f"{request.kind.value}:{request.run_id}:{request.request_id}"


def conversation(conversation_id: str, *contents: str) -> Conversation:
    turns = tuple(Turn(role="user", content=content) for content in contents)
    return Conversation(conversation_id=conversation_id, run_id=RUN_ID, system="Be brief.", turns=turns)


# ---------------------------------------------------------------- in line


def test_a_new_request_waits_with_all_that_was_said_of_it(asked: InferenceUnderTest) -> None:
    request = new_request()
    submission = asked.inference.submit(request, idempotency=None)
    record = submission.record
    assert not submission.replayed
    assert record == asked.get(request.request_id)
    assert record.request == request
    assert (record.status, record.tries, record.owner) == (InferenceStatus.QUEUED, 0, None)
    assert record.created_at_ms > 1_600_000_000_000
    assert (record.started_at_ms, record.finished_at_ms) == (None, None)
    assert (record.result, record.problem, record.timings) == (None, None, None)
    assert asked.inference.depth() == 1


def test_a_request_is_known_by_kind_run_and_id(asked: InferenceUnderTest) -> None:
    request_id = asked.submit()
    for kind, run_id, asked_id in (
        (InferenceKind.SCORE, RUN_ID, request_id),
        (InferenceKind.GENERATE, new_ulid(), request_id),
        (InferenceKind.GENERATE, RUN_ID, new_ulid()),
    ):
        with expect(ErrorCode.REQUEST_NOT_FOUND):
            asked.inference.get(kind, run_id, asked_id)


def test_the_same_request_sent_twice_stands_once(asked: InferenceUnderTest) -> None:
    request = new_request()
    first = asked.inference.submit(request, idempotency=KEY)
    second = asked.inference.submit(request, idempotency=KEY)
    assert (first.replayed, second.replayed) == (False, False)
    assert second.record == first.record
    assert asked.inference.depth() == 1


def test_a_full_line_refuses_until_somebody_takes(asked: InferenceUnderTest) -> None:
    for _ in range(SETTINGS.max_waiting):
        asked.submit()
    with expect(ErrorCode.SERVICE_UNAVAILABLE) as caught:
        asked.submit()
    assert "INFERENCE__MAX_WAITING" in caught.value.message
    assert asked.inference.depth() == SETTINGS.max_waiting
    asked.take_one()
    asked.submit()
    assert asked.inference.depth() == SETTINGS.max_waiting


# ---------------------------------------------------------------- idempotency


def test_a_key_gives_back_the_first_request(asked: InferenceUnderTest) -> None:
    assert asked.inference.find_submission(KEY) is None
    first = asked.inference.submit(new_request(), idempotency=KEY)
    asked.complete("a", asked.take_one())
    second = asked.inference.submit(new_request(), idempotency=KEY)
    assert (first.replayed, second.replayed) == (False, True)
    assert second.record.request == first.record.request
    assert second.record.status is InferenceStatus.COMPLETED
    assert asked.inference.find_submission(KEY) == second
    assert asked.inference.depth() == 0


def test_a_key_with_another_body_is_refused(asked: InferenceUnderTest) -> None:
    asked.submit(idempotency=KEY)
    with expect(ErrorCode.IDEMPOTENCY_KEY_REUSED):
        asked.inference.submit(new_request(), idempotency=REUSED)
    with expect(ErrorCode.IDEMPOTENCY_KEY_REUSED):
        asked.inference.find_submission(REUSED)
    assert asked.inference.depth() == 1


def test_a_repeated_request_is_neither_too_many_nor_another_message(asked: InferenceUnderTest) -> None:
    chat = new_ulid()
    asked.submit(conversation_id=chat, idempotency=KEY)
    for _ in range(SETTINGS.max_waiting - 1):
        asked.submit()
    again = new_request(conversation_id=chat)
    assert asked.inference.submit(again, idempotency=KEY).replayed


def test_a_request_whose_answer_has_expired_is_not_done_again_by_accident(asked: InferenceUnderTest) -> None:
    asked.submit(idempotency=KEY)
    record = asked.take_one()
    asked.complete("a", record)
    asked.expire(key_of(record), SETTINGS.result_ttl_seconds + 1.0)
    assert asked.inference.find_submission(KEY) is None
    with expect(ErrorCode.REQUEST_NOT_FOUND) as caught:
        asked.inference.submit(new_request(), idempotency=KEY)
    assert "new key" in caught.value.message
    assert asked.inference.depth() == 0


def test_many_requests_with_one_key_at_once_make_one(asked: InferenceUnderTest) -> None:
    with ThreadPoolExecutor(8) as threads:
        submissions = list(
            threads.map(lambda _: asked.inference.submit(new_request(), idempotency=KEY), range(8))
        )
    assert len({submission.record.request.request_id for submission in submissions}) == 1
    assert [submission.replayed for submission in submissions].count(False) == 1
    assert asked.inference.depth() == 1


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


# ---------------------------------------------------------------- answers


def test_an_answer_is_kept_with_its_times(asked: InferenceUnderTest) -> None:
    request_id = asked.submit()
    record = asked.take_one("a")
    assert asked.complete("a", record, "42")
    answered = asked.get(request_id)
    assert answered.status is InferenceStatus.COMPLETED
    assert (answered.result, answered.timings) == ('{"answer":"42"}', TIMINGS)
    assert (answered.problem, answered.owner, answered.tries) == (None, "a", 1)
    assert answered.finished_at_ms is not None
    assert answered.finished_at_ms >= record.created_at_ms


def test_an_answer_given_twice_stays_as_it_was(asked: InferenceUnderTest) -> None:
    request_id = asked.submit()
    record = asked.take_one("a")
    asked.complete("a", record, "first")
    assert asked.complete("a", record, "second")
    assert not asked.complete("b", record, "third")
    assert not asked.inference.fail("a", record, TOO_LARGE)
    assert asked.get(request_id).result == '{"answer":"first"}'


def test_a_request_fails_with_its_reason(asked: InferenceUnderTest) -> None:
    request_id = asked.submit()
    record = asked.take_one("a")
    assert asked.inference.fail("a", record, TOO_LARGE)
    assert asked.inference.fail("a", record, TOO_LARGE)
    failed = asked.get(request_id)
    assert (failed.status, failed.problem) == (InferenceStatus.FAILED, TOO_LARGE)
    assert (failed.result, failed.timings) == (None, None)
    assert failed.finished_at_ms is not None


def test_an_answer_is_kept_for_a_while(asked: InferenceUnderTest) -> None:
    request_id = asked.submit()
    record = asked.take_one("a")
    asked.complete("a", record)
    asked.expire(key_of(record), SETTINGS.result_ttl_seconds - 60.0)
    assert asked.get(request_id).status is InferenceStatus.COMPLETED
    asked.expire(key_of(record), 61.0)
    with expect(ErrorCode.REQUEST_NOT_FOUND):
        asked.get(request_id)


def test_whoever_waits_hears_of_each_news(asked: InferenceUnderTest) -> None:
    first, second = asked.submit(), asked.submit()
    one, two = asked.take("a")
    asked.announced()
    asked.tell("a", one, "a piece")
    assert asked.announced() == [first]
    asked.complete("a", one)
    assert asked.announced() == [first]
    asked.inference.fail("a", two, TOO_LARGE)
    assert asked.announced() == [second]


def test_pieces_are_numbered_as_they_come(asked: InferenceUnderTest) -> None:
    asked.submit()
    record = asked.take_one("a")
    asked.tell("a", record, "one", "two")
    asked.tell("a", record, "two", "four")
    assert asked.told(record) == [(1, "one"), (2, "two"), (3, "two"), (4, "four")]
    some = asked.inference.pieces_after(record, after=1, limit=2)
    assert [(one.seq, one.piece.text) for one in some] == [(2, "two"), (3, "two")]
    assert asked.inference.pieces_after(record, after=4, limit=2) == ()
    assert len(asked.inference.pieces_after(record, after=-3, limit=1)) == 1
    asked.complete("a", record)
    assert len(asked.told(record)) == 4


def test_a_request_that_is_not_there_has_told_nothing(asked: InferenceUnderTest) -> None:
    asked.submit()
    record = asked.take_one("a")
    other = record.model_copy(update={"request": new_request()})
    asked.tell("a", other, "lost")
    assert asked.told(other) == []


# ---------------------------------------------------------------- conversations


def test_a_conversation_is_kept_with_the_answer(asked: InferenceUnderTest) -> None:
    chat = new_ulid()
    asked.submit(conversation_id=chat)
    said = conversation(chat, "Hello.", "Ä?")
    assert asked.inference.complete("a", asked.take_one("a"), result={}, timings=TIMINGS, conversation=said)
    assert asked.inference.conversation(RUN_ID, chat) == said
    for run_id, other in ((RUN_ID, new_ulid()), (new_ulid(), chat)):
        with expect(ErrorCode.REQUEST_NOT_FOUND):
            asked.inference.conversation(run_id, other)


def test_a_conversation_is_kept_for_a_while_after_its_last_turn(asked: InferenceUnderTest) -> None:
    chat = new_ulid()
    key = f"chat:conversation:{RUN_ID}:{chat}"
    for words in ("one", "two"):
        asked.submit(conversation_id=chat)
        record = asked.take_one("a")
        asked.inference.complete(
            "a", record, result={}, timings=TIMINGS, conversation=conversation(chat, words)
        )
        asked.expire(key, SETTINGS.conversation_ttl_seconds - 60.0)
        assert asked.inference.conversation(RUN_ID, chat).turns[0].content == words
    asked.expire(key, 61.0)
    with expect(ErrorCode.REQUEST_NOT_FOUND):
        asked.inference.conversation(RUN_ID, chat)


def test_one_message_of_a_conversation_is_answered_at_a_time(asked: InferenceUnderTest) -> None:
    chat, other = new_ulid(), new_ulid()
    first = asked.submit(conversation_id=chat)
    with expect(ErrorCode.CONFLICT) as caught:
        asked.submit(conversation_id=chat)
    assert first in caught.value.message
    assert caught.value.faults[0].pointer == "/conversation_id"
    record = asked.take_one("a")
    with expect(ErrorCode.CONFLICT):
        asked.submit(conversation_id=chat)
    asked.inference.give_back("a", (record,), why=GivenBack.STOPPED)
    with expect(ErrorCode.CONFLICT):
        asked.submit(conversation_id=chat)
    asked.submit(conversation_id=other)
    assert asked.inference.depth() == 2


def test_after_an_answer_or_a_failure_the_next_message_may_come(asked: InferenceUnderTest) -> None:
    chat = new_ulid()
    asked.submit(conversation_id=chat)
    asked.inference.fail("a", asked.take_one("a"), TOO_LARGE)
    asked.submit(conversation_id=chat)
    asked.complete("a", asked.take_one("a"))
    asked.submit(conversation_id=chat)
    record = asked.take_one("a", lease_seconds=LEASE_SECONDS)
    asked.pass_time(LEASE_SECONDS + 0.01)
    asked.inference.reap(most_deaths=1)
    asked.submit(conversation_id=chat)
    with expect(ErrorCode.REQUEST_NOT_FOUND):
        asked.inference.conversation(RUN_ID, chat)
    assert asked.get(record.request.request_id, InferenceKind.CHAT).status is InferenceStatus.FAILED


def test_only_a_conversation_that_is_there_is_gone_on_with(asked: InferenceUnderTest) -> None:
    chat = new_ulid()

    def refused() -> AppError:
        with expect(ErrorCode.CONFIG_INVALID) as caught:
            asked.submit(conversation_id=chat, goes_on=True)
        return caught.value

    def answer() -> None:
        said = conversation(chat, "Hello.", "Ah?")
        asked.inference.complete("a", asked.take_one("a"), result={}, timings=TIMINGS, conversation=said)

    assert [fault.pointer for fault in refused().faults] == ["/conversation_id"]
    first = asked.submit(conversation_id=chat)
    with expect(ErrorCode.CONFLICT) as caught:
        asked.submit(conversation_id=chat, goes_on=True)
    assert first in caught.value.message
    asked.inference.fail("a", asked.take_one("a"), TOO_LARGE)
    assert "its first message failed" in refused().message
    asked.submit(conversation_id=chat)
    answer()
    asked.submit(conversation_id=chat, goes_on=True)
    answer()
    asked.expire(f"chat:conversation:{RUN_ID}:{chat}", SETTINGS.conversation_ttl_seconds + 1.0)
    assert "too long" in refused().message


def test_the_newest_turns_of_a_conversation_are_kept(asked: InferenceUnderTest) -> None:
    chat = new_ulid()
    asked.submit(conversation_id=chat)
    said = conversation(chat, *map(str, range(MOST_TURNS + 2)))
    asked.inference.complete("a", asked.take_one("a"), result={}, timings=TIMINGS, conversation=said)
    kept = asked.inference.conversation(RUN_ID, chat)
    assert kept == said.model_copy(update={"turns": said.turns[2:]})


def test_a_message_that_expired_does_not_block_its_conversation(asked: InferenceUnderTest) -> None:
    chat = new_ulid()
    record = asked.get(asked.submit(conversation_id=chat), InferenceKind.CHAT)
    asked.expire(key_of(record), UNANSWERED_SECONDS + 1.0)
    again = asked.submit(conversation_id=chat)
    assert ids(asked.take()) == [again]
