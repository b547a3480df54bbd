"""Records in Redis that are damaged, half gone or changed meanwhile, and what reapers make of them."""

import threading

import pytest
import redis
from structlog.testing import capture_logs

from model_trainer.core.contracts.run import RunKind, RunQuery, RunUpdate
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.redis_client import RedisClient
from tests.contract.run_stores import COMPLETED, QUEUE, StoreUnderTest, checkpoint, redis_store
from tests.unit.infra.persistence.forgetful import ForgetfulRedis


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
