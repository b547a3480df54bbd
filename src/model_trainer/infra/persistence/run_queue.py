"""What a run store needs of a queue beyond the port: to join a transaction, and to drop what waits."""

from typing import Protocol, assert_never

from model_trainer.core.contracts.jobs import EvaluateModel, TrainModel, TrainTokenizer
from model_trainer.core.contracts.run import RunKind
from model_trainer.infra.persistence.redis_client import Transaction

Order = TrainModel | TrainTokenizer | EvaluateModel


class RunQueue(Protocol):
    """A queue of orders in the same Redis as the records."""

    def stage(self, job: Order, *, queue: str, transaction: Transaction) -> None:
        """Adds the writes that put an order in to a transaction that has begun; they happen with it or not at all."""
        ...

    def enqueue(self, job: Order, *, queue: str) -> None:
        """Puts an order in."""
        ...

    def remove(self, run_id: str, *, epoch: int, queue: str) -> None:
        """Takes an order out, if it still waits."""
        ...

    def holds(self, run_id: str, *, epoch: int, queue: str) -> bool:
        """Whether an order for this run and epoch waits."""
        ...


def order_for(kind: RunKind, *, run_id: str, epoch: int) -> Order:
    """The order that sets a worker to a run."""
    match kind:
        case RunKind.TRAIN:
            return TrainModel(run_id=run_id, epoch=epoch)
        case RunKind.TOKENIZER:
            return TrainTokenizer(run_id=run_id, epoch=epoch)
        case RunKind.EVALUATE:
            return EvaluateModel(run_id=run_id, epoch=epoch)
        case _:
            assert_never(kind)
