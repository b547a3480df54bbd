"""What a run store needs of a queue beyond the port: to join a transaction, and to drop what waits."""

from typing import Protocol, assert_never

from model_trainer.core.contracts.jobs import (
    AnyJob,
    CalibrateModel,
    EvaluateModel,
    ExportModel,
    TrainModel,
    TrainTokenizer,
)
from model_trainer.core.contracts.run import RunKind, RunRecord
from model_trainer.core.errors import AppError
from model_trainer.core.logging import get_logger
from model_trainer.infra.persistence.redis_client import Transaction

log = get_logger(__name__)


class RunQueue(Protocol):
    """A queue of orders in the same Redis as the records."""

    def stage(self, job: AnyJob, *, queue: str, transaction: Transaction) -> None:
        """Adds the writes that put an order in to a transaction that has begun; they happen with it or not at all."""
        ...

    def enqueue(self, job: AnyJob, *, queue: str) -> None:
        """Puts an order in."""
        ...

    def remove(self, run_id: str, *, epoch: int, queue: str) -> None:
        """Takes an order out, if it still waits."""
        ...

    def holds(self, run_id: str, *, epoch: int, queue: str) -> bool:
        """Whether an order for this run and epoch waits."""
        ...


class Orders:
    """The orders that records ask for."""

    def __init__(self, queue: RunQueue) -> None:
        self._queue = queue

    def put_in(self, record: RunRecord) -> None:
        """Queues the order that the record waits for."""
        order = order_for(record.kind, run_id=record.run_id, epoch=record.epoch)
        self._queue.enqueue(order, queue=record.queue)

    def put_in_now_or_soon(self, record: RunRecord) -> None:
        """The same, of a record that says already that it waits: an order that cannot be put in is left to the reaper."""
        try:
            self.put_in(record)
        except AppError as error:
            log.warning("order_left_to_reaper", run_id=record.run_id, error_code=error.code.value)

    def drop(self, record: RunRecord) -> None:
        """Takes the order out, if it still waits."""
        self._queue.remove(record.run_id, epoch=record.epoch, queue=record.queue)

    def has(self, record: RunRecord) -> bool:
        """Whether the order waits."""
        return self._queue.holds(record.run_id, epoch=record.epoch, queue=record.queue)


def order_for(kind: RunKind, *, run_id: str, epoch: int) -> AnyJob:
    """The order that sets a worker to a run."""
    match kind:
        case RunKind.TRAIN:
            return TrainModel(run_id=run_id, epoch=epoch)
        case RunKind.TOKENIZER:
            return TrainTokenizer(run_id=run_id, epoch=epoch)
        case RunKind.EVALUATE:
            return EvaluateModel(run_id=run_id, epoch=epoch)
        case RunKind.CALIBRATE:
            return CalibrateModel(run_id=run_id, epoch=epoch)
        case RunKind.EXPORT:
            return ExportModel(run_id=run_id, epoch=epoch)
        case _:
            assert_never(kind)
