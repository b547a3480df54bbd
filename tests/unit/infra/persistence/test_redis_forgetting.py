"""Runs that are forgotten leave nothing in Redis, and the pointer to a stored artifact has a key of its own."""

import pytest

from model_trainer.core.contracts.run import Outcome, RunRecord, RunStatus, RunUpdate
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.redis_client import RedisClient, strings
from model_trainer.infra.persistence.redis_runs import RedisRunStore
from model_trainer.infra.queue.rq_queue import RqJobQueue
from tests.contract.run_stores import RQ_SETTINGS, StoreUnderTest, new_run

FILE_ID = "ab" * 32


ALL_PLACES = 14
"""Seven keys, six indexes, and the set of ends that are not on disk yet."""
COMPLETED = Outcome(status=RunStatus.COMPLETED, message="Done.")


def ended(store: StoreUnderTest, outcome: Outcome = COMPLETED) -> str:
    """A run with all that a run may have."""
    run = new_run(metadata={"team": "x"}, parent_run_id="parent")
    store.runs.submit(run, idempotency=None)
    lease = store.claim(run.run_id)
    store.runs.heartbeat(lease, RunUpdate(message="On the way."))
    store.runs.request_cancel(run.run_id)
    store.runs.point_at_artifact(run.run_id, file_id=FILE_ID, epoch=lease.epoch)
    store.runs.finish(lease, outcome)
    return run.run_id


def places(client: RedisClient, run_id: str) -> list[str]:
    """Keys that are named after a run, and lists it is in; not the queue, which workers empty."""
    names = strings.validate_python(client.call("KEYS", "runs:*"))
    found = [name for name in names if run_id in name]
    for name in names:
        kind = client.call("TYPE", name)
        is_listed = kind == "zset" and client.call("ZSCORE", name, run_id) is not None
        if is_listed or (kind == "set" and client.call("SISMEMBER", name, run_id) == 1):
            found.append(name)
    return found


def test_the_pointer_has_a_key_of_its_own(store: StoreUnderTest, client: RedisClient) -> None:
    run_id = ended(store)
    key = f"runs:artifact:{run_id}:file_id"
    assert client.call("GET", key) == FILE_ID
    store.runs.point_at_artifact(run_id, file_id="cd" * 32, epoch=None)
    assert client.call("GET", key) == "cd" * 32


def test_a_restored_run_has_its_key_back(store: StoreUnderTest, client: RedisClient) -> None:
    run_id = ended(store)
    record = store.runs.get(run_id)
    client.call("FLUSHALL")
    store.runs.restore(record, ())
    assert client.call("GET", f"runs:artifact:{run_id}:file_id") == FILE_ID


@pytest.mark.parametrize(
    "outcome",
    [
        COMPLETED,
        Outcome(status=RunStatus.FAILED, message="No."),
        Outcome(status=RunStatus.CANCELLED, message="As asked."),
    ],
)
def test_a_forgotten_run_leaves_nothing(store: StoreUnderTest, client: RedisClient, outcome: Outcome) -> None:
    run_id, other = ended(store, outcome), ended(store)
    assert len(places(client, run_id)) == ALL_PLACES
    assert store.runs.forget(run_id)
    assert places(client, run_id) == []
    assert len(places(client, other)) == ALL_PLACES


def test_a_damaged_record_is_not_forgotten_unseen(store: StoreUnderTest, client: RedisClient) -> None:
    run_id = ended(store)
    client.call("HSET", f"runs:record:{run_id}", "epoch", "x")
    with pytest.raises(AppError, check=lambda error: error.code is ErrorCode.INTERNAL):
        store.runs.forget(run_id)
    assert places(client, run_id)


def test_of_two_who_forget_a_run_one_did(store: StoreUnderTest, client: RedisClient) -> None:
    class Slow(RedisRunStore):
        """Between its look and its deed, somebody else was quicker."""

        def get(self, run_id: str) -> RunRecord:
            record = super().get(run_id)
            store.runs.forget(run_id)
            return record

    assert not Slow(client, RqJobQueue(client, RQ_SETTINGS)).forget(ended(store))
