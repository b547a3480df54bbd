"""Leases that ran out while nobody could renew them."""

import time

import pytest

from model_trainer.core.contracts.run import Lease, RunStatus, RunUpdate
from model_trainer.infra.persistence.redis_client import RedisClient
from model_trainer.infra.persistence.redis_reader import LEASES
from model_trainer.infra.persistence.redis_reaper import GRACE, GRACE_SECONDS, LAST_ROUND
from model_trainer.infra.persistence.redis_runs import RedisRunStore
from model_trainer.infra.queue.rq_queue import RqJobQueue
from tests.contract.run_stores import RQ_SETTINGS, StoreUnderTest, redis_store


@pytest.fixture
def store(client: RedisClient) -> StoreUnderTest:
    return redis_store(client)


def now_ms() -> int:
    return round(1000 * time.time())


def held_until(store: StoreUnderTest, client: RedisClient, *, seconds_ago: float) -> Lease:
    """A run whose lease ran out so long ago."""
    lease = store.claim(store.submit())
    until = now_ms() - round(1000 * seconds_ago)
    client.call("HSET", f"runs:record:{lease.run_id}", "lease_until_ms", until)
    client.call("ZADD", LEASES, until, lease.run_id)
    return lease


def nobody_reaped_for(client: RedisClient, seconds: float) -> None:
    client.call("SET", LAST_ROUND, now_ms() - round(1000 * seconds))


def grace_is_over(client: RedisClient) -> None:
    client.call("DEL", GRACE)


def test_a_trainer_that_redis_was_away_from_for_longer_than_its_lease_is_not_restarted(
    store: StoreUnderTest, client: RedisClient
) -> None:
    lease = held_until(store, client, seconds_ago=20)
    nobody_reaped_for(client, 60)
    assert [store.runs.reap() for _ in range(3)] == [(), (), ()]
    store.runs.heartbeat(lease, RunUpdate())
    grace_is_over(client)
    assert store.runs.reap() == ()
    assert store.runs.get(lease.run_id).status is RunStatus.RUNNING


def test_a_trainer_that_is_not_heard_of_within_the_grace_is_rescued_after_it(
    store: StoreUnderTest, client: RedisClient
) -> None:
    lease = held_until(store, client, seconds_ago=20)
    nobody_reaped_for(client, 60)
    assert store.runs.reap() == ()
    left = client.call("PTTL", GRACE)
    assert isinstance(left, int)
    assert 0 < left <= 1000 * GRACE_SECONDS
    grace_is_over(client)
    assert store.runs.reap() == (lease.run_id,)


def test_a_holder_known_to_be_lost_is_rescued_in_the_grace_too(
    store: StoreUnderTest, client: RedisClient
) -> None:
    lease = held_until(store, client, seconds_ago=20)
    nobody_reaped_for(client, 60)
    assert store.runs.reap(store.runs.held()) == (lease.run_id,)


def test_a_lease_that_had_run_out_before_the_absence_gets_no_grace(
    store: StoreUnderTest, client: RedisClient
) -> None:
    lease = held_until(store, client, seconds_ago=70)
    nobody_reaped_for(client, 60)
    assert store.runs.reap() == (lease.run_id,)


@pytest.mark.parametrize("last", [None, "not a number"])
def test_a_first_round_gives_no_grace(store: StoreUnderTest, client: RedisClient, last: str | None) -> None:
    lease = held_until(store, client, seconds_ago=20)
    if last is not None:
        client.call("SET", LAST_ROUND, last)
    assert store.runs.reap() == (lease.run_id,)
    assert client.call("EXISTS", GRACE) == 0


def test_rounds_far_apart_by_choice_are_no_absence(store: StoreUnderTest, client: RedisClient) -> None:
    slow = RedisRunStore(client, RqJobQueue(client, RQ_SETTINGS), reap_every_seconds=30.0)
    lease = held_until(store, client, seconds_ago=20)
    nobody_reaped_for(client, 60)
    assert slow.reap() == (lease.run_id,)


def test_rounds_that_are_always_late_spare_nobody_for_ever(
    store: StoreUnderTest, client: RedisClient
) -> None:
    lease = held_until(store, client, seconds_ago=20)
    nobody_reaped_for(client, 60)
    assert store.runs.reap() == ()
    nobody_reaped_for(client, 5)
    assert store.runs.reap() == (), "a late round begins no other grace"
    grace_is_over(client)
    nobody_reaped_for(client, 5)
    assert store.runs.reap() == (lease.run_id,)
