from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.jobs import TrainModel, TrainTokenizer, decode_job
from model_trainer.infra.queue.memory import MemoryJobQueue


def test_orders_come_out_in_the_sequence_they_went_in() -> None:
    queue = MemoryJobQueue()
    orders: list[TrainModel | TrainTokenizer] = [
        TrainModel(run_id=new_ulid(), epoch=0),
        TrainTokenizer(run_id=new_ulid(), epoch=1),
    ]
    for order in orders:
        queue.enqueue(order, queue="training")
    taken = [queue.take("training"), queue.take("training")]
    assert [decode_job(payload) for payload in taken if payload is not None] == orders
    assert queue.take("training") is None
