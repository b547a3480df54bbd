import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import redis
from redis.client import PubSub
from structlog.testing import capture_logs

from model_trainer.core.contracts.base import parse_json_object
from model_trainer.core.contracts.events import CheckpointSaved, JobStarted
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.jobs import AnyJob
from model_trainer.core.contracts.run import (
    HandBack,
    IdempotencyKey,
    LastCheckpoint,
    NewRun,
    Outcome,
    RunKind,
    RunQuery,
    RunStatus,
    RunUpdate,
)
from model_trainer.core.errors import AppError, ErrorCode, Reason
from model_trainer.core.failpoints import Failpoint, OneFailpoint
from model_trainer.infra.persistence.redis_client import RedisClient, Transaction
from model_trainer.infra.persistence.redis_reader import PAGE_OF_IDS
from model_trainer.infra.persistence.redis_runs import IDEMPOTENCY_SECONDS, RedisRunStore
from model_trainer.infra.persistence.run_index import index_key
from model_trainer.infra.queue.rq_queue import RqJobQueue
from tests.contract.run_stores import QUEUE, RQ_SETTINGS, StoreUnderTest, new_run, redis_store

COMPLETED = Outcome(status=RunStatus.COMPLETED, message="Done.")


def checkpoint(run_id: str, step: int) -> CheckpointSaved:
    return CheckpointSaved(job_id=run_id, user_id="ada", step=step, path="p", num_bytes=1, metrics={})


def steps(store: StoreUnderTest, run_id: str) -> list[int]:
    stored = store.runs.events_after(run_id, after=0, limit=100)
    return [one.event.step for one in stored if isinstance(one.event, CheckpointSaved)]


# ---------------------------------------------------------------- keys that users know


def test_the_documented_keys_follow_the_record(store: StoreUnderTest, client: RedisClient) -> None:
    def projections() -> list[object]:
        names = (
            f"runs:status:{run_id}",
            f"runs:msg:{run_id}",
            f"runs:{run_id}:cancelled",
            f"runs:hb:{run_id}",
        )
        return client.many([("GET", name) for name in names])

    run_id = store.submit()
    assert projections() == ["queued", "Waiting for a worker.", None, None]
    lease = store.claim(run_id)
    beat = store.runs.get(run_id).heartbeat_at_ms
    assert beat is not None
    assert projections() == ["running", "A worker started.", None, f"{beat / 1000:.3f}"]
    store.runs.heartbeat(lease, RunUpdate(message="Step 3."))
    store.runs.request_cancel(run_id)
    assert projections()[:3] == ["cancelling", "Step 3.", "1"]
    store.runs.finish(lease, Outcome(status=RunStatus.CANCELLED, message="As asked."))
    assert projections()[:3] == ["cancelled", "As asked.", "1"]


def test_each_event_is_announced_on_both_channels(store: StoreUnderTest, client: RedisClient) -> None:
    run_id = new_ulid()
    subscribe: Callable[[], PubSub] = client.connection.pubsub
    subscription = subscribe()
    subscription.subscribe("trainer:events", f"runs:{run_id}:events")
    try:
        store.runs.submit(new_run(run_id=run_id), idempotency=None)
        heard: dict[str, object] = {}
        while len(heard) < 2:
            message = subscription.get_message(timeout=1.0)
            if message is not None and message["type"] == "message":
                heard[message["channel"]] = parse_json_object(message["data"])
    finally:
        subscription.close()
    note = {"run_id": run_id, "seq": 1, "type": "trainer.job.queued.v1", "user_id": "ada"}
    assert heard == {"trainer:events": note, f"runs:{run_id}:events": note}


def test_the_stream_holds_each_event_under_its_number(store: StoreUnderTest, client: RedisClient) -> None:
    run_id = store.submit()
    store.claim(run_id)
    entries = client.call("XRANGE", f"runs:{run_id}:stream", "-", "+")
    assert isinstance(entries, list)
    assert [(entry_id, fields["type"]) for entry_id, fields in entries] == [
        ("1-0", "trainer.job.queued.v1"),
        ("2-0", "trainer.job.started.v1"),
    ]


def test_events_of_a_later_version_are_passed_over(store: StoreUnderTest, client: RedisClient) -> None:
    run_id = store.submit()
    for seq in (2, 3, 4):
        body = f'{{"type":"trainer.job.teleported.v{seq}"}}'
        client.call("XADD", f"runs:{run_id}:stream", f"{seq}-0", "at_ms", 1, "type", "?", "event", body)
    client.call("HSET", f"runs:record:{run_id}", "last_event_seq", 4)
    store.claim(run_id)
    (started,) = store.runs.events_after(run_id, after=1, limit=1)
    assert (started.seq, type(started.event)) == (5, JobStarted)


def test_texts_of_any_kind_pass_through_the_scripts(store: StoreUnderTest) -> None:
    owner = 'a "quoted"\\ owner\n\x00/ü🙂'
    run = new_run(user_id='u"\\', family='f"/')
    store.runs.submit(run, idempotency=None)
    store.claim(run.run_id, owner=owner)
    queued, started = store.runs.events_after(run.run_id, after=0, limit=9)
    assert queued.event.user_id == 'u"\\'
    assert isinstance(started.event, JobStarted)
    assert started.event.worker == store.runs.get(run.run_id).owner == owner


# ---------------------------------------------------------------- submit


def test_an_idempotency_key_is_kept_for_two_days_and_not_in_clear(
    store: StoreUnderTest, client: RedisClient
) -> None:
    store.submit(idempotency=IdempotencyKey(key="my secret", body_sha256="b"))
    keys = client.call("KEYS", "idempotency:*")
    assert isinstance(keys, list)
    assert "secret" not in keys[0]
    ttl = client.call("TTL", keys[0])
    assert isinstance(ttl, int)
    assert 24 * 3600 < ttl <= IDEMPOTENCY_SECONDS


class RacingQueue(RqJobQueue):
    """While this queue writes to one transaction, somebody else submits under the same key."""

    rival: StoreUnderTest
    key: IdempotencyKey
    is_first = True

    def stage(self, job: AnyJob, *, queue: str, transaction: Transaction) -> None:
        if self.is_first:
            self.is_first = False
            self.rival.submit(idempotency=self.key)
        super().stage(job, queue=queue, transaction=transaction)


def test_who_loses_the_race_for_a_key_gets_the_winners_run(client: RedisClient) -> None:
    queue = RacingQueue(client, RQ_SETTINGS)
    queue.rival, queue.key = redis_store(client), IdempotencyKey(key="k", body_sha256="b")
    run = new_run()
    made = RedisRunStore(client, queue).submit(run, idempotency=queue.key)
    assert made.replayed
    assert made.record.run_id != run.run_id
    assert queue.depth(QUEUE) == 1
    assert client.call("EXISTS", f"runs:record:{run.run_id}") == 0


class SlowClient(RedisClient):
    """Before this client's first transaction begins, somebody else submits under the same key."""

    rival: StoreUnderTest
    key: IdempotencyKey
    is_first = True

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        if self.is_first:
            self.is_first = False
            self.rival.submit(idempotency=self.key)
        with super().transaction() as transaction:
            yield transaction


def test_a_key_that_came_into_use_between_two_looks_is_seen(client: RedisClient) -> None:
    slow = SlowClient(client.connection)
    slow.rival, slow.key = redis_store(client), IdempotencyKey(key="k", body_sha256="b")
    made = RedisRunStore(slow, RqJobQueue(client, RQ_SETTINGS)).submit(new_run(), idempotency=slow.key)
    assert made.replayed
    assert client.call("LLEN", f"rq:queue:{QUEUE}") == 1


# ---------------------------------------------------------------- lost replies


class ForgetfulRedis(redis.Redis):
    """Carries a script out, then loses the reply as often as there are losses."""

    losses: list[Exception]
    refusals: list[Exception]
    """Of scripts that are not carried out at all."""

    def execute_command(self, *args: object, **options: object) -> object:
        if args[0] == "EVALSHA" and self.refusals:
            raise self.refusals.pop()
        execute: Callable[..., object] = super().execute_command
        reply = execute(*args, **options)
        if args[0] == "EVALSHA" and self.losses:
            raise self.losses.pop()
        return reply


@pytest.fixture
def forgetful(redis_url: str) -> Iterator[ForgetfulRedis]:
    connection = ForgetfulRedis.from_url(redis_url, decode_responses=True, protocol=2)
    assert isinstance(connection, ForgetfulRedis)
    connection.losses, connection.refusals = [], []
    yield connection
    connection.close()


def test_nothing_happens_twice_when_replies_are_lost(forgetful: ForgetfulRedis) -> None:
    store = redis_store(RedisClient(forgetful))
    run_id = store.submit()

    forgetful.losses = [redis.ConnectionError("reset")]
    lease = store.runs.claim(run_id, epoch=0, owner="a", host="host-1", lease_seconds=60.0)
    assert lease is not None
    assert (lease.epoch, store.runs.get(run_id).attempt) == (1, 1)

    forgetful.losses = [redis.ConnectionError("reset")]
    store.runs.heartbeat(lease, RunUpdate(), (checkpoint(run_id, 1),))
    assert steps(store, run_id) == [1]

    forgetful.losses = [redis.ConnectionError("reset")]
    store.runs.release(lease, HandBack(message="Again.", is_retry=True))
    assert (store.runs.get(run_id).epoch, store.runs.get(run_id).status) == (2, RunStatus.QUEUED)

    lease = store.claim(run_id)
    forgetful.losses = [redis.ConnectionError("reset")]
    record = store.runs.finish(lease, COMPLETED, (checkpoint(run_id, 2),))
    assert record.status is RunStatus.COMPLETED
    assert steps(store, run_id) == [1, 2]
    assert [stored.seq for stored in store.runs.events_after(run_id, after=0, limit=99)] == list(range(1, 7))


def test_events_sent_again_after_a_timeout_are_not_told_twice(forgetful: ForgetfulRedis) -> None:
    """The lease keeper keeps events until it knows that they arrived, and sends them again with later ones."""
    store = redis_store(RedisClient(forgetful))
    lease = store.claim(store.submit())
    told = (checkpoint(lease.run_id, 1), checkpoint(lease.run_id, 2))
    forgetful.losses = [redis.TimeoutError("slow")]
    with pytest.raises(AppError) as caught:
        store.runs.heartbeat(lease, RunUpdate(), told)
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    store.runs.heartbeat(lease, RunUpdate(), (*told, checkpoint(lease.run_id, 3)))
    assert steps(store, lease.run_id) == [1, 2, 3]
    store.runs.heartbeat(lease, RunUpdate(), (checkpoint(lease.run_id, 1),))
    assert steps(store, lease.run_id) == [1, 2, 3, 1]


def test_the_last_events_sent_again_with_the_end_are_not_told_twice(forgetful: ForgetfulRedis) -> None:
    store = redis_store(RedisClient(forgetful))
    lease = store.claim(store.submit())
    forgetful.losses = [redis.TimeoutError("slow")]
    with pytest.raises(AppError):
        store.runs.heartbeat(lease, RunUpdate(), (checkpoint(lease.run_id, 1),))
    store.runs.finish(lease, COMPLETED, (checkpoint(lease.run_id, 1), checkpoint(lease.run_id, 2)))
    assert steps(store, lease.run_id) == [1, 2]


def test_events_that_did_not_arrive_are_told_when_sent_again(
    client: RedisClient, store: StoreUnderTest
) -> None:
    lease = store.claim(store.submit())
    client.call("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(AppError):
            store.runs.heartbeat(lease, RunUpdate(), (checkpoint(lease.run_id, 1),))
    finally:
        client.call("CONFIG", "SET", "maxmemory", "0")
    store.runs.heartbeat(lease, RunUpdate(), (checkpoint(lease.run_id, 1),))
    assert steps(store, lease.run_id) == [1]


def test_other_events_after_a_timeout_are_all_told(forgetful: ForgetfulRedis) -> None:
    store = redis_store(RedisClient(forgetful))
    lease = store.claim(store.submit())
    forgetful.losses = [redis.TimeoutError("slow")]
    with pytest.raises(AppError):
        store.runs.heartbeat(lease, RunUpdate(), (checkpoint(lease.run_id, 1),))
    store.runs.heartbeat(lease, RunUpdate(), (checkpoint(lease.run_id, 5),))
    assert steps(store, lease.run_id) == [1, 5]


@pytest.mark.parametrize("losses", [1, 2, 3])
@pytest.mark.parametrize("last", ["heartbeat", "finish", "release"])
def test_events_are_told_once_however_many_replies_are_lost(
    forgetful: ForgetfulRedis, losses: int, last: str
) -> None:
    """Also when more come between two tries, and when some had arrived before."""
    store = redis_store(RedisClient(forgetful))
    lease = store.claim(store.submit())
    store.runs.heartbeat(lease, RunUpdate(), (checkpoint(lease.run_id, 1), checkpoint(lease.run_id, 2)))
    news = [checkpoint(lease.run_id, 3)]
    for loss in range(losses):
        forgetful.losses = [redis.TimeoutError("slow")]
        with pytest.raises(AppError):
            store.runs.heartbeat(lease, RunUpdate(), tuple(news))
        news += [checkpoint(lease.run_id, 4 + loss)] * (loss % 2)
    news.append(checkpoint(lease.run_id, 9))
    if last == "heartbeat":
        store.runs.heartbeat(lease, RunUpdate(), tuple(news))
    elif last == "finish":
        store.runs.finish(lease, COMPLETED, tuple(news))
    else:
        store.runs.release(lease, HandBack(message="Again."), tuple(news))
    assert steps(store, lease.run_id) == [1, 2, *(event.step for event in news)]


def test_fewer_events_after_a_loss_leave_the_rest_to_be_sent_again(forgetful: ForgetfulRedis) -> None:
    store = redis_store(RedisClient(forgetful))
    lease = store.claim(store.submit())
    told = tuple(checkpoint(lease.run_id, step) for step in (1, 2, 3))
    forgetful.losses = [redis.TimeoutError("slow")]
    with pytest.raises(AppError):
        store.runs.heartbeat(lease, RunUpdate(), told)
    for sent in ((), told[:1], told[1:], (checkpoint(lease.run_id, 4),)):
        store.runs.heartbeat(lease, RunUpdate(), sent)
    assert steps(store, lease.run_id) == [1, 2, 3, 4]


@pytest.mark.parametrize("is_second_there", [False, True])
def test_another_end_of_the_events_after_a_loss_tells_the_same_beginning_once(
    forgetful: ForgetfulRedis, is_second_there: bool
) -> None:
    store = redis_store(RedisClient(forgetful))
    lease = store.claim(store.submit())
    one, two, three = (checkpoint(lease.run_id, step) for step in (1, 2, 3))
    forgetful.losses = [redis.TimeoutError("slow")]
    with pytest.raises(AppError):
        store.runs.heartbeat(lease, RunUpdate(), (one,))
    if is_second_there:
        forgetful.losses = [redis.TimeoutError("slow")]
        with pytest.raises(AppError):
            store.runs.heartbeat(lease, RunUpdate(), (one, two))
    else:
        forgetful.refusals = [redis.TimeoutError("away")]
        with pytest.raises(AppError):
            store.runs.heartbeat(lease, RunUpdate(), (one, two))
    store.runs.heartbeat(lease, RunUpdate(), (one, three))
    assert steps(store, lease.run_id) == ([1, 2, 3] if is_second_there else [1, 3])


def test_another_process_goes_on_with_the_lease_where_the_first_one_stopped(
    store: StoreUnderTest, client: RedisClient
) -> None:
    lease = store.claim(store.submit())
    store.runs.heartbeat(lease, RunUpdate(), (checkpoint(lease.run_id, 1),))
    redis_store(client).runs.finish(lease, COMPLETED, (checkpoint(lease.run_id, 2),))
    assert steps(store, lease.run_id) == [1, 2]


def test_the_next_owner_tells_its_own_events(store: StoreUnderTest) -> None:
    run_id = store.submit()
    for step in (1, 2):
        lease = store.claim(run_id)
        store.runs.heartbeat(lease, RunUpdate(), (checkpoint(run_id, step),))
        store.runs.release(lease, HandBack(message="Again.", is_retry=True))
    assert steps(store, run_id) == [1, 2]


@pytest.mark.parametrize("losses", [1, 2, 3])
def test_an_end_whose_replies_were_lost_is_answered_when_sent_again(
    forgetful: ForgetfulRedis, losses: int
) -> None:
    store = redis_store(RedisClient(forgetful))
    lease = store.claim(store.submit())
    last = (checkpoint(lease.run_id, 1),)
    for _ in range(losses):
        forgetful.losses = [redis.TimeoutError("slow")]
        with pytest.raises(AppError, check=lambda error: error.code is ErrorCode.STORE_UNAVAILABLE):
            store.runs.finish(lease, COMPLETED, last)
    assert store.runs.finish(lease, COMPLETED, last).status is RunStatus.COMPLETED
    assert steps(store, lease.run_id) == [1]
    with pytest.raises(AppError, check=lambda error: error.code is ErrorCode.LEASE_LOST):
        store.runs.finish(lease, COMPLETED, last)


def test_a_release_whose_replies_were_lost_is_carried_out_once(forgetful: ForgetfulRedis) -> None:
    store = redis_store(RedisClient(forgetful))
    lease = store.claim(store.submit())
    last = (checkpoint(lease.run_id, 1),)
    for _ in range(2):
        forgetful.losses = [redis.TimeoutError("slow")]
        with pytest.raises(AppError):
            store.runs.release(lease, HandBack(message="Again.", is_retry=True), last)
    store.runs.release(lease, HandBack(message="Again.", is_retry=True), last)
    record = store.runs.get(lease.run_id)
    assert (record.status, record.epoch, record.retries) == (RunStatus.QUEUED, 2, 1)
    assert steps(store, lease.run_id) == [1]
    assert store.queue.holds(lease.run_id, epoch=2, queue=QUEUE)


class ForgetfulQueue(RqJobQueue):
    """Cannot be reached at the first order."""

    is_away = True

    def enqueue(self, job: AnyJob, *, queue: str) -> None:
        if self.is_away:
            self.is_away = False
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")
        super().enqueue(job, queue=queue)


def test_a_release_that_could_not_put_the_order_in_does_so_when_it_is_repeated(client: RedisClient) -> None:
    queue = ForgetfulQueue(client, RQ_SETTINGS)
    runs = RedisRunStore(client, queue)
    lease = redis_store(client).claim(runs.submit(new_run(), idempotency=None).record.run_id)
    with pytest.raises(AppError, check=lambda error: error.code is ErrorCode.STORE_UNAVAILABLE):
        runs.release(lease, HandBack(message="Again.", is_retry=True))
    runs.release(lease, HandBack(message="Again.", is_retry=True))
    assert runs.get(lease.run_id).epoch == 2
    assert queue.holds(lease.run_id, epoch=2, queue=QUEUE)


def test_a_resume_whose_order_cannot_be_put_in_is_left_to_the_reaper(client: RedisClient) -> None:
    queue = ForgetfulQueue(client, RQ_SETTINGS)
    runs = RedisRunStore(client, queue)
    run_id = runs.submit(new_run(), idempotency=None).record.run_id
    runs.request_pause(run_id)
    with capture_logs() as lines:
        record = runs.resume(run_id).record
    assert (record.status, record.epoch) == (RunStatus.QUEUED, 1)
    assert [line["event"] for line in lines] == ["order_left_to_reaper"]
    assert not queue.holds(run_id, epoch=1, queue=QUEUE)
    assert runs.reap() == (run_id,)
    assert queue.holds(run_id, epoch=1, queue=QUEUE)


def test_verbs_whose_replies_were_lost_are_answered_as_if_they_were_not(forgetful: ForgetfulRedis) -> None:
    store = redis_store(RedisClient(forgetful))
    run_id = store.submit()
    full = HandBack(status=RunStatus.PAUSED, message="Full.", reason=Reason.DISK_FULL)

    def lose_one_reply() -> None:
        forgetful.losses = [redis.ConnectionError("reset")]

    lose_one_reply()
    assert store.runs.request_pause(run_id).status is RunStatus.PAUSED
    lose_one_reply()
    assert store.runs.resume(run_id).record.epoch == 1
    lease = store.claim(run_id)
    lose_one_reply()
    assert store.runs.release(lease, full).status is RunStatus.PAUSED
    lose_one_reply()
    assert store.runs.resume_when_due(run_id)
    assert store.queue.holds(run_id, epoch=3, queue=QUEUE)
    told = [type(stored.event).__name__ for stored in store.runs.events_after(run_id, after=0, limit=99)]
    assert told == ["JobQueued", "JobPaused", "JobQueued", "JobStarted", "JobPaused", "JobQueued"]


def test_a_hand_back_repeated_after_the_run_was_resumed_changes_nothing(forgetful: ForgetfulRedis) -> None:
    store = redis_store(RedisClient(forgetful))
    lease = store.claim(store.submit())
    forgetful.losses = [redis.TimeoutError("slow")]
    with pytest.raises(AppError):
        store.runs.release(lease, HandBack(status=RunStatus.PAUSED, message="Paused."))
    record = store.runs.resume(lease.run_id).record
    with pytest.raises(AppError, check=lambda error: error.code is ErrorCode.LEASE_LOST):
        store.runs.release(lease, HandBack(status=RunStatus.PAUSED, message="Paused."))
    assert store.runs.get(lease.run_id) == record


def test_news_that_were_lost_with_the_store_are_told_after_the_rebuild(forgetful: ForgetfulRedis) -> None:
    """Also when other events come than those that nobody knew of."""
    store = redis_store(RedisClient(forgetful))
    lease = store.claim(store.submit())
    store.runs.heartbeat(lease, RunUpdate(), (checkpoint(lease.run_id, 1),))
    kept, stored = store.runs.get(lease.run_id), store.runs.events_after(lease.run_id, after=0, limit=99)
    forgetful.losses = [redis.TimeoutError("slow")]
    with pytest.raises(AppError):
        store.runs.heartbeat(lease, RunUpdate(), (checkpoint(lease.run_id, 2),))
    store.lose_everything()
    store.runs.restore(kept, stored)
    store.runs.heartbeat(lease, RunUpdate(), (checkpoint(lease.run_id, 5),))
    forgetful.losses = [redis.TimeoutError("slow")]
    with pytest.raises(AppError):
        store.runs.heartbeat(lease, RunUpdate(), (checkpoint(lease.run_id, 6),))
    store.runs.heartbeat(lease, RunUpdate(), (checkpoint(lease.run_id, 6),))
    assert steps(store, lease.run_id) == [1, 5, 6]


def test_a_reply_lost_right_after_the_rebuild_tells_nothing_twice(forgetful: ForgetfulRedis) -> None:
    store = redis_store(RedisClient(forgetful))
    lease = store.claim(store.submit())
    store.runs.heartbeat(lease, RunUpdate(), (checkpoint(lease.run_id, 1),))
    kept, stored = store.runs.get(lease.run_id), store.runs.events_after(lease.run_id, after=0, limit=99)
    store.lose_everything()
    store.runs.restore(kept, stored)
    forgetful.losses = [redis.TimeoutError("slow")]
    with pytest.raises(AppError):
        store.runs.heartbeat(lease, RunUpdate(), (checkpoint(lease.run_id, 2),))
    store.runs.heartbeat(lease, RunUpdate(), (checkpoint(lease.run_id, 2), checkpoint(lease.run_id, 3)))
    assert steps(store, lease.run_id) == [1, 2, 3]


# ---------------------------------------------------------------- round trips and failpoints


class CountingRedis(redis.Redis):
    """Notes the name of each command that goes out."""

    sent: list[str]

    def execute_command(self, *args: object, **options: object) -> object:
        self.sent.append(str(args[0]))
        execute: Callable[..., object] = super().execute_command
        return execute(*args, **options)


def test_a_heartbeat_and_a_look_at_the_flags_are_one_round_trip_each(redis_url: str) -> None:
    connection = CountingRedis.from_url(redis_url, decode_responses=True, protocol=2)
    assert isinstance(connection, CountingRedis)
    connection.sent = []
    store = redis_store(RedisClient(connection))
    lease = store.claim(store.submit())
    store.runs.heartbeat(lease, RunUpdate(), (checkpoint(lease.run_id, 1),))
    store.runs.flags(lease)
    connection.sent.clear()
    update = RunUpdate(
        message="On.", metrics={"loss": 1.0}, checkpoint=LastCheckpoint(step=2, path="p", num_bytes=1)
    )
    store.runs.heartbeat(lease, update, (checkpoint(lease.run_id, 2),))
    store.runs.flags(lease)
    connection.close()
    assert connection.sent == ["EVALSHA", "EVALSHA"]


def test_each_failpoint_of_a_submission_and_a_hand_back_is_reached_in_order(client: RedisClient) -> None:
    reached: list[Failpoint] = []
    runs = RedisRunStore(client, RqJobQueue(client, RQ_SETTINGS), reached=reached.append)
    run_id = runs.submit(new_run(), idempotency=None).record.run_id
    assert reached == [
        Failpoint.SUBMIT_BEGUN,
        Failpoint.SUBMIT_WATCHED,
        Failpoint.SUBMIT_STAGED,
        Failpoint.SUBMIT_COMMITTED,
    ]
    reached.clear()
    lease = runs.claim(run_id, epoch=0, owner="a", host=None, lease_seconds=60.0)
    assert lease is not None
    assert reached == []
    runs.release(lease, HandBack(message="Again."))
    assert reached == [Failpoint.RELEASE_WRITTEN, Failpoint.RELEASE_QUEUED]
    reached.clear()
    lease = runs.claim(run_id, epoch=2, owner="a", host=None, lease_seconds=60.0)
    assert lease is not None
    runs.release(lease, HandBack(status=RunStatus.PAUSED, message="Paused."))
    assert reached == [Failpoint.RELEASE_WRITTEN]


@pytest.mark.parametrize(
    ("point", "num_runs"),
    [
        (Failpoint.SUBMIT_BEGUN, 0),
        (Failpoint.SUBMIT_WATCHED, 0),
        (Failpoint.SUBMIT_STAGED, 0),
        (Failpoint.SUBMIT_COMMITTED, 1),
    ],
)
def test_a_submission_that_fails_on_the_way_left_nothing_or_all(
    client: RedisClient, point: Failpoint, num_runs: int
) -> None:
    queue, key = RqJobQueue(client, RQ_SETTINGS), IdempotencyKey(key="k", body_sha256="b")
    failing = RedisRunStore(client, queue, reached=OneFailpoint(f"{point.value}:error"))
    with pytest.raises(OSError, match=re.escape(point.value)):
        failing.submit(new_run(), idempotency=key)
    assert queue.depth(QUEUE) == failing.status_counts()["train", "queued"] == num_runs
    again = failing.submit(new_run(), idempotency=key)
    assert again.replayed is (num_runs == 1)
    assert queue.depth(QUEUE) == 1


def test_a_hand_back_that_failed_before_its_order_went_in_is_found_by_the_reaper(client: RedisClient) -> None:
    queue = RqJobQueue(client, RQ_SETTINGS)
    runs = RedisRunStore(client, queue, reached=OneFailpoint("release.written:error"))
    lease = redis_store(client).claim(runs.submit(new_run(), idempotency=None).record.run_id)
    with pytest.raises(OSError, match=r"release\.written"):
        runs.release(lease, HandBack(message="Again."))
    assert not queue.holds(lease.run_id, epoch=2, queue=QUEUE)
    assert runs.reap() == (lease.run_id,)
    assert queue.holds(lease.run_id, epoch=2, queue=QUEUE)


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("field", ["epoch", "owner"])
def test_a_holder_whose_record_is_damaged_does_not_hide_others(
    store: StoreUnderTest, client: RedisClient, field: str
) -> None:
    damaged, whole = store.claim(store.submit()), store.claim(store.submit())
    client.call("HDEL", f"runs:record:{damaged.run_id}", field)
    assert [holder.run_id for holder in store.runs.held()] == [whole.run_id]


def test_what_was_left_of_a_lost_run_gives_way_to_what_is_restored(
    store: StoreUnderTest, client: RedisClient
) -> None:
    lease = store.claim(store.submit())
    store.runs.heartbeat(lease, RunUpdate(), (checkpoint(lease.run_id, 1),))
    stored = store.runs.events_after(lease.run_id, after=0, limit=9)
    kept = store.runs.finish(lease, COMPLETED)
    client.call("DEL", f"runs:record:{lease.run_id}")
    client.call("ZADD", "runs:leases", 1, lease.run_id)
    client.call("ZADD", "runs:waiting", 1, lease.run_id)
    client.call("ZADD", "runs:index:train:status:running", 0, lease.run_id)
    assert store.runs.restore(kept, stored)
    assert store.runs.events_after(lease.run_id, after=0, limit=9) == stored
    assert store.runs.status_counts()["train", "running"] == 0
    assert client.many([("ZCARD", "runs:waiting"), ("ZCARD", "runs:leases")]) == [0, 0]


def test_the_documented_keys_come_back_with_a_restored_record(
    store: StoreUnderTest, client: RedisClient
) -> None:
    lease = store.claim(store.submit())
    store.runs.heartbeat(lease, RunUpdate(message="On."))
    kept = store.runs.request_cancel(lease.run_id)
    names = [f"runs:status:{kept.run_id}", f"runs:msg:{kept.run_id}", f"runs:hb:{kept.run_id}"]
    names.append(f"runs:{kept.run_id}:cancelled")
    before = client.many([("GET", name) for name in names])
    store.lose_everything()
    store.runs.restore(kept, ())
    assert client.many([("GET", name) for name in names]) == before


def test_a_damaged_record_is_told_apart_from_a_missing_one(
    store: StoreUnderTest, client: RedisClient
) -> None:
    run_id = store.submit()
    client.call("HSET", f"runs:record:{run_id}", "spec", "{not json")
    with pytest.raises(AppError) as caught:
        store.runs.get(run_id)
    assert caught.value.code is ErrorCode.INTERNAL
    assert run_id in caught.value.message


@pytest.mark.parametrize(
    ("field", "value"), [("spec", "{not json"), ("attempt", "many"), ("status", "asleep"), ("retries", "")]
)
def test_a_damaged_record_does_not_hide_others_from_lists(
    store: StoreUnderTest, client: RedisClient, field: str, value: str
) -> None:
    older, damaged, newer = (store.submit() for _ in range(3))
    client.call("HSET", f"runs:record:{damaged}", field, value)
    with capture_logs() as lines:
        page = store.runs.list_runs(RunQuery(kind=RunKind.TRAIN, limit=9))
    assert {record.run_id for record in page.records} == {older, newer}
    assert [(line["event"], line["log_level"], line["run_id"]) for line in lines] == [
        ("run_left_out", "warning", damaged)
    ]
    with pytest.raises(AppError, check=lambda error: error.code is ErrorCode.INTERNAL):
        store.runs.get(damaged)


def test_a_record_removed_by_hand_does_not_hide_others_from_lists(
    store: StoreUnderTest, client: RedisClient
) -> None:
    removed, kept = store.submit(), store.submit()
    client.call("DEL", f"runs:record:{removed}")
    page = store.runs.list_runs(RunQuery(kind=RunKind.TRAIN, limit=9))
    assert [record.run_id for record in page.records] == [kept]


def test_a_record_of_an_earlier_version_has_no_retries(store: StoreUnderTest, client: RedisClient) -> None:
    run_id = store.submit()
    client.call("HDEL", f"runs:record:{run_id}", "retries")
    assert store.runs.get(run_id).retries == 0


def test_a_damaged_record_does_not_keep_others_from_the_reaper(
    store: StoreUnderTest, client: RedisClient
) -> None:
    damaged, lost = store.submit(), store.submit()
    store.lose_worker(lost)
    client.call("HSET", f"runs:record:{damaged}", "spec", "{not json")
    assert store.runs.reap() == (lost,)


def test_a_store_that_goes_away_ends_the_reapers_round(
    client: RedisClient, forgetful: ForgetfulRedis
) -> None:
    store = redis_store(RedisClient(forgetful))
    store.lose_worker(store.submit())
    forgetful.losses = [redis.TimeoutError("slow")]
    with pytest.raises(AppError) as caught:
        store.runs.reap()
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE


def test_a_lease_that_was_renewed_meanwhile_is_left_alone(store: StoreUnderTest, client: RedisClient) -> None:
    lease = store.claim(store.submit())
    client.call("ZADD", "runs:leases", 0, lease.run_id)
    assert store.runs.reap() == ()
    assert not store.runs.flags(lease).cancel


def test_a_run_that_somebody_claims_meanwhile_is_not_queued_again(
    store: StoreUnderTest, client: RedisClient
) -> None:
    run_id = store.submit()
    lease = store.claim(run_id)
    client.call("ZADD", "runs:waiting", 0, run_id)
    store.queue.remove(run_id, epoch=0, queue=QUEUE)
    assert store.runs.reap() == ()
    assert store.queue.depth(QUEUE) == 0
    assert not store.runs.flags(lease).cancel


@pytest.mark.parametrize("end", ["completed", "cancelled while queued", "given up"])
def test_a_run_that_has_ended_is_nobodys_business_any_more(
    store: StoreUnderTest, client: RedisClient, end: str
) -> None:
    run_id = store.submit()
    if end == "completed":
        store.runs.finish(store.claim(run_id), COMPLETED)
    elif end == "cancelled while queued":
        store.runs.request_cancel(run_id)
    else:
        for _ in range(3):
            store.lose_worker(run_id)
            store.runs.reap()
    assert store.runs.get(run_id).status.is_terminal
    assert client.many([("ZCARD", "runs:waiting"), ("ZCARD", "runs:leases")]) == [0, 0]


# ---------------------------------------------------------------- lists


def test_a_list_reads_the_shortest_index_and_on_until_it_is_full(
    store: StoreUnderTest, client: RedisClient
) -> None:
    runs: list[NewRun] = []
    for number in range(230):
        runs.append(new_run(metadata={"parity": str(number % 2), "third": str(number % 3)}))
        store.runs.submit(runs[-1], idempotency=None)
    wanted = sorted(
        (run.run_id for run in runs if run.metadata == {"parity": "0", "third": "0"}), reverse=True
    )
    query = RunQuery(kind=RunKind.TRAIN, limit=30, metadata={"parity": "0", "third": "0"})
    page = store.runs.list_runs(query)
    assert ([record.run_id for record in page.records], page.has_more) == (wanted[:30], True)
    page = store.runs.list_runs(query.model_copy(update={"after": wanted[29]}))
    assert ([record.run_id for record in page.records], page.has_more) == (wanted[30:], False)


def records_read(client: RedisClient, read: Callable[[], object]) -> int:
    """How many records a call has Redis read."""
    client.call("CONFIG", "RESETSTAT")
    read()
    facts = client.call("INFO", "commandstats")
    assert isinstance(facts, dict)
    return int(facts.get("cmdstat_hgetall", {"calls": 0})["calls"])


def test_a_page_reads_no_more_records_than_it_shows_and_one(
    store: StoreUnderTest, client: RedisClient
) -> None:
    for number in range(20):
        store.runs.submit(new_run(metadata={"parity": str(number % 2)}), idempotency=None)
    one_index = RunQuery(kind=RunKind.TRAIN, limit=3)
    two_indexes = RunQuery(kind=RunKind.TRAIN, limit=3, family="gpt2", metadata={"parity": "0"})
    nowhere = RunQuery(kind=RunKind.TRAIN, limit=3, family="none", metadata={"parity": "0"})
    queries = (one_index, two_indexes, nowhere)
    assert [records_read(client, partial(store.runs.list_runs, query)) for query in queries] == [4, 4, 0]


def test_a_list_goes_on_behind_runs_that_only_one_of_its_indexes_has(
    store: StoreUnderTest, client: RedisClient
) -> None:
    run_id = store.submit()
    for place, facts in enumerate((("family", "gpt2"), ("user", "ada"))):
        others = [part for number in range(PAGE_OF_IDS + 9) for part in (0, f"7{place}{number:024}")]
        client.call("ZADD", index_key(RunKind.TRAIN, *facts), *others)
    query = RunQuery(kind=RunKind.TRAIN, limit=1, family="gpt2", user_id="ada")
    page = store.runs.list_runs(query)
    assert ([record.run_id for record in page.records], page.has_more) == ([run_id], False)


@pytest.mark.parametrize("family", [None, "gpt2"])
def test_a_page_is_filled_up_behind_a_damaged_record(
    store: StoreUnderTest, client: RedisClient, family: str | None
) -> None:
    ids = sorted((store.submit() for _ in range(5)), reverse=True)
    client.call("HSET", f"runs:record:{ids[1]}", "attempt", "many")
    page = store.runs.list_runs(RunQuery(kind=RunKind.TRAIN, limit=3, family=family, user_id="ada"))
    assert ([record.run_id for record in page.records], page.has_more) == ([ids[0], ids[2], ids[3]], True)


def test_two_reapers_rescue_a_run_once(store: StoreUnderTest) -> None:
    run_id = store.submit()
    store.lose_worker(run_id)
    rescued: list[tuple[str, ...]] = []
    threads = [threading.Thread(target=lambda: rescued.append(store.runs.reap())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.runs.get(run_id).epoch == 2
    assert run_id in {touched for ids in rescued for touched in ids}
