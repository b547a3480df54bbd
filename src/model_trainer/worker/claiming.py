"""The right to work on a run, from a store whose answer may get lost on the way."""

from model_trainer.core.contracts.run import Lease, RunRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.worker.parts import WorkerParts
from model_trainer.worker.recording import patiently

log = get_logger(__name__)


def claim_run(parts: WorkerParts, *, run_id: str, epoch: int, host: str | None) -> Lease | None:
    """The lease; None when there is nothing to do. A store that is away is asked again for as long as a lease lasts.

    A claim that arrived although its answer did not is found again in the record: while the lock of the run is held, no
    other process of this worker can have made it.
    """
    seconds = parts.settings.app.lease_seconds
    answers_lost = 0

    def ask() -> Lease | None:
        nonlocal answers_lost
        try:
            lease = parts.runs.claim(
                run_id, epoch=epoch, owner=parts.worker_id, host=host, lease_seconds=seconds
            )
            if lease is None and answers_lost > 0 and _is_ours(parts, parts.runs.get(run_id), epoch=epoch):
                log.warning("claim_found_again", epoch=epoch + 1)
                return Lease(run_id=run_id, epoch=epoch + 1, owner=parts.worker_id, lease_seconds=seconds)
        except AppError:
            answers_lost += 1
            raise
        return lease

    try:
        return patiently(ask, seconds=seconds)
    except AppError as error:
        if error.code is ErrorCode.RUN_NOT_FOUND:
            return None
        raise


def _is_ours(parts: WorkerParts, record: RunRecord, *, epoch: int) -> bool:
    return record.owner == parts.worker_id and record.epoch == epoch + 1
