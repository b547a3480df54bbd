"""Replies of Redis that are lost on the way: what is sent again happens once."""

import pytest
import redis
from structlog.testing import capture_logs

from model_trainer.core.contracts.events import CheckpointSaved
from model_trainer.core.contracts.run import HandBack, RunStatus, RunUpdate
from model_trainer.core.errors import AppError, ErrorCode, Reason
from model_trainer.infra.persistence.redis_client import RedisClient
from model_trainer.infra.persistence.redis_runs import RedisRunStore
from tests.contract.run_stores import (
    COMPLETED,
    QUEUE,
    RQ_SETTINGS,
    StoreUnderTest,
    checkpoint,
    new_run,
    redis_store,
)
from tests.unit.infra.persistence.forgetful import ForgetfulQueue, ForgetfulRedis


def steps(store: StoreUnderTest, run_id: str) -> list[int]:
    stored = store.runs.events_after(run_id, after=0, limit=100)
    return [one.event.step for one in stored if isinstance(one.event, CheckpointSaved)]


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
