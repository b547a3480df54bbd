"""Feed and watch list over a Redis of which every tenth call fails: nothing is referred to twice, and nothing is lost.

More seeds: `FAULT_SEEDS=20 pytest tests/faults`.
"""

from collections.abc import Iterator
from functools import partial

import pytest

from model_trainer.core.contracts.events import CheckpointSaved
from model_trainer.core.contracts.feed import START, WatchState
from model_trainer.core.contracts.run import HandBack, Outcome, RunStatus, RunUpdate
from model_trainer.infra.persistence.redis_client import RedisClient, connect
from model_trainer.infra.persistence.redis_feed import RedisEventFeed
from model_trainer.infra.persistence.redis_runs import RedisRunStore
from model_trainer.infra.persistence.redis_watch_list import RedisWatchList
from model_trainer.infra.queue.rq_queue import RqJobQueue
from tests.contract.run_stores import RQ_SETTINGS, new_run
from tests.faults.faulty_redis import Fault, Faults, connect_faulty
from tests.faults.faulty_workshop import patiently
from tests.faults.test_faulty_store import SEEDS, SHARE

COMPLETED = Outcome(status=RunStatus.COMPLETED, message="Done.")
HANDED_BACK = HandBack(message="The worker must go.")


@pytest.fixture(params=SEEDS, ids=lambda seed: f"seed {seed}")
def faults(request: pytest.FixtureRequest) -> Faults:
    return Faults(request.param, share=SHARE)


@pytest.fixture
def client(redis_url: str) -> Iterator[RedisClient]:
    """The same Redis, as it is."""
    client = connect(redis_url)
    yield client
    client.close()


@pytest.fixture
def faulty(faults: Faults, redis_url: str) -> RedisClient:
    return connect_faulty(redis_url, faults)


def checkpoint(run_id: str, step: int) -> CheckpointSaved:
    return CheckpointSaved(job_id=run_id, user_id=None, step=step, path="p", num_bytes=1, metrics={})


def live_through(faulty: RedisClient, clean: RedisClient) -> str:
    """A run that is handed back once and ends well; what gets no answer is sent again."""
    given_out = RedisRunStore(clean, RqJobQueue(clean, RQ_SETTINGS))
    run_id = given_out.submit(new_run(), idempotency=None).record.run_id
    runs = RedisRunStore(faulty, RqJobQueue(faulty, RQ_SETTINGS))
    for epoch in (0, 2):
        lease = given_out.claim(run_id, epoch=epoch, owner="a", host=None, lease_seconds=60.0)
        assert lease is not None
        for step in range(6):
            events = (checkpoint(run_id, step), checkpoint(run_id, 100 + step))
            patiently(partial(runs.heartbeat, lease, RunUpdate(), events))
        last = (checkpoint(run_id, 200),)
        if epoch == 0:
            patiently(partial(runs.release, lease, HANDED_BACK, last))
        else:
            patiently(partial(runs.finish, lease, COMPLETED, last))
    return run_id


def test_the_feed_refers_to_each_event_once_however_often_it_is_sent(
    faulty: RedisClient, faults: Faults, client: RedisClient, redis_url: str
) -> None:
    ids = [live_through(faulty, client) for _ in range(10)]
    assert faults.counts[Fault.ANSWER_LOST] > 0
    assert faults.counts[Fault.ANSWER_LATE] > 0
    feed = RedisEventFeed(client, redis_url)
    page = feed.read(after=START, limit=1000)
    in_streams = [(run_id, stored) for run_id in ids for stored in feed.of_run(run_id, after=0, limit=1000)]
    assert [(item.run_id, item.stored) for item in page.items] == in_streams
    assert len(in_streams) == len(ids) * 2 * (2 + 13)  # each time queued, started, and what was sent
    assert client.call("XLEN", "trainer:feed") == len(in_streams)


def test_a_reader_hears_everything_once_however_often_it_must_ask(
    faulty: RedisClient, faults: Faults, client: RedisClient, redis_url: str
) -> None:
    runs = RedisRunStore(client, RqJobQueue(client, RQ_SETTINGS))
    ids = [runs.submit(new_run(), idempotency=None).record.run_id for _ in range(60)]
    feed = RedisEventFeed(faulty, redis_url)
    heard: list[str] = []
    page = patiently(partial(feed.read, after=START, limit=2))
    while page.has_more:
        heard += [item.run_id for item in page.items]
        page = patiently(partial(feed.read, after=page.position, limit=2))
    assert [*heard, *(item.run_id for item in page.items)] == ids
    assert faults.num_faults > 0


def test_what_is_kept_again_because_its_answer_was_lost_is_kept_once(
    faulty: RedisClient, faults: Faults, client: RedisClient
) -> None:
    watch_list = RedisWatchList(faulty)
    for number in range(50):
        assert patiently(partial(watch_list.hold, "us", seconds=60.0))
        notes, gone = {f"run-{number}": f"note {number}"}, [f"run-{number - 2}"]
        patiently(partial(watch_list.keep, "us", position=f"{number}-0", notes=notes, gone=gone))
    assert faults.num_faults > 0
    left = {"run-48": "note 48", "run-49": "note 49"}
    assert RedisWatchList(client).load() == WatchState(position="49-0", channel=None, notes=left)
    patiently(partial(watch_list.let_go, "us"))
    assert RedisWatchList(client).hold("them", seconds=60.0)
