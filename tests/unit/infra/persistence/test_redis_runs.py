"""What the run store in Redis writes where, in how few round trips, and how its lists are read."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import redis
from redis.client import PubSub

from model_trainer.core.contracts.base import parse_json_object
from model_trainer.core.contracts.events import JobStarted
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
from model_trainer.core.failpoints import Failpoint, OneFailpoint
from model_trainer.infra.persistence.redis_client import RedisClient, Transaction
from model_trainer.infra.persistence.redis_reader import PAGE_OF_IDS
from model_trainer.infra.persistence.redis_runs import IDEMPOTENCY_SECONDS, RedisRunStore
from model_trainer.infra.persistence.run_index import index_key
from model_trainer.infra.queue.rq_queue import RqJobQueue
from tests.contract.run_stores import QUEUE, RQ_SETTINGS, StoreUnderTest, checkpoint, new_run, redis_store

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
