"""What every job queue promises."""

import pytest

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.jobs import EvaluateModel, TrainModel, TrainTokenizer
from model_trainer.infra.persistence.redis_client import RedisClient
from model_trainer.infra.queue.memory import MemoryJobQueue
from model_trainer.infra.queue.rq_queue import RqJobQueue
from tests.contract.run_stores import RQ_SETTINGS


@pytest.fixture(params=["redis", "memory"])
def queue(request: pytest.FixtureRequest) -> RqJobQueue | MemoryJobQueue:
    if request.param == "memory":
        return MemoryJobQueue()
    client: RedisClient = request.getfixturevalue("client")
    return RqJobQueue(client, RQ_SETTINGS)


@pytest.mark.parametrize("order", [TrainModel, TrainTokenizer, EvaluateModel])
def test_an_order_waits_in_its_own_queue(
    queue: RqJobQueue | MemoryJobQueue, order: type[TrainModel | TrainTokenizer | EvaluateModel]
) -> None:
    run_id = new_ulid()
    queue.enqueue(order(run_id=run_id, epoch=3), queue="short")
    assert queue.holds(run_id, epoch=3, queue="short")
    assert not queue.holds(run_id, epoch=2, queue="short")
    assert not queue.holds(run_id, epoch=3, queue="training")
    assert not queue.holds(new_ulid(), epoch=3, queue="short")
    assert (queue.depth("short"), queue.depth("training")) == (1, 0)


def test_an_order_can_be_taken_out_and_the_others_stay(queue: RqJobQueue | MemoryJobQueue) -> None:
    first, second = new_ulid(), new_ulid()
    for run_id in (first, second):
        queue.enqueue(TrainModel(run_id=run_id, epoch=0), queue="training")
    for _ in range(2):
        queue.remove(first, epoch=0, queue="training")
    assert not queue.holds(first, epoch=0, queue="training")
    assert queue.holds(second, epoch=0, queue="training")
    assert queue.depth("training") == 1
