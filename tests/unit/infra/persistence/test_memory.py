from model_trainer.core.contracts.events import CheckpointSaved
from model_trainer.core.contracts.run import RunUpdate
from tests.contract.run_stores import memory_store


def test_each_event_is_announced_once() -> None:
    store = memory_store()
    run_id = store.submit()
    assert store.announced == [run_id]
    lease = store.claim(run_id)
    event = CheckpointSaved(job_id=run_id, user_id=None, step=1, path="p", num_bytes=1, metrics={})
    store.runs.heartbeat(lease, RunUpdate(), (event, event))
    store.runs.heartbeat(lease, RunUpdate())
    assert store.announced == [run_id] * 4
