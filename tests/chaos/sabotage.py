"""Workers with one defect each, put together from other parts: what the oracle must see, or it proves nothing."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from model_trainer.container import live
from model_trainer.core.config import Settings
from model_trainer.core.config.settings import export_for_libraries
from model_trainer.core.contracts.events import Event
from model_trainer.core.contracts.jobs import TrainModel, decode_job
from model_trainer.core.contracts.run import Flags, HandBack, Lease, Outcome, RunRecord, RunUpdate
from model_trainer.core.failpoints import Reached
from model_trainer.core.logging import configure_logging
from model_trainer.infra.persistence.redis_client import connect
from model_trainer.infra.persistence.redis_runs import RedisRunStore
from model_trainer.infra.queue.rq_queue import RqJobQueue
from model_trainer.infra.storage.run_locks import NoRunLocks
from model_trainer.worker.dispatch import dispatch
from model_trainer.worker.parts import WorkerParts
from model_trainer.worker.presence import REGISTRATION_SECONDS, describe_worker
from model_trainer.worker.supervise import supervise
from model_trainer.worker.train_model import train_model_job


def work_badly(settings: Settings, *, queue: str, how: str) -> None:
    """A worker as worker_entry.serve_worker has it, but for its jobs, which are carried out as `how` says."""
    export_for_libraries(settings)
    log_file = settings.app.logs_root / f"worker-{queue}.jsonl"
    configure_logging(service="model-trainer-worker", level="INFO", readable=False, log_file=log_file)
    container = live(settings)
    worker = describe_worker(queue, host=container.locks.host)
    container.queue_server(
        queue,
        run=partial(_carry_out, settings=settings, worker_id=worker.worker_id, how=WAYS[how]),
        on_heartbeat=lambda: container.workers.register(worker, ttl_seconds=REGISTRATION_SECONDS),
        on_child_lost=lambda: None,
    ).serve()


def _carry_out(
    payload: str, *, settings: Settings, worker_id: str, how: Callable[[str, WorkerParts], None]
) -> None:
    how(payload, live(settings).worker_parts(worker_id))


def in_place(payload: str, parts: WorkerParts) -> None:
    """Writes checkpoints under the name they are found by."""
    order = decode_job(payload)
    assert isinstance(order, TrainModel)
    job = train_model_job(parts, commit=commit_in_place)
    supervise(parts, run_id=order.run_id, epoch=order.epoch, job=job)


def no_flock(payload: str, parts: WorkerParts) -> None:
    """Takes every lock to be free, and takes nobody for dead."""
    dispatch(payload, replace(parts, locks=NoRunLocks(host=parts.locks.host)))


def no_epoch(payload: str, parts: WorkerParts) -> None:
    """Writes to its run whoever owns it: as on machines without a common lock, if nobody looked at the epoch."""
    client = connect(parts.settings.redis_url.get_secret_value())
    usurper = Usurper(client, RqJobQueue(client, parts.settings.rq))
    dispatch(payload, replace(parts, locks=NoRunLocks(host=parts.locks.host), runs=usurper))


WAYS: dict[str, Callable[[str, WorkerParts], None]] = {
    "in_place": in_place,
    "no_flock": no_flock,
    "no_epoch": no_epoch,
    # No defect: how two machines that share no lock work. The lease and its epoch alone keep them apart.
    "lease_alone": no_flock,
}


def commit_in_place(target: Path, fill: Callable[[Path], None], *, reached: Reached) -> None:
    """No temporary folder, no rename: for as long as it is being written, half a checkpoint is found."""
    target.mkdir(exist_ok=True)
    fill(target)


class Usurper(RedisRunStore):
    """A store whose epochs keep nobody out: each write goes out in the name of whoever owns the run by then."""

    def flags(self, lease: Lease) -> Flags:
        """As the present owner."""
        return super().flags(self._as_owner(lease))

    def heartbeat(self, lease: Lease, update: RunUpdate, events: tuple[Event, ...] = ()) -> Flags:
        """As the present owner."""
        return super().heartbeat(self._as_owner(lease), update, events)

    def finish(self, lease: Lease, outcome: Outcome, events: tuple[Event, ...] = ()) -> RunRecord:
        """As the present owner."""
        return super().finish(self._as_owner(lease), outcome, events)

    def point_at_artifact(
        self, run_id: str, *, file_id: str, epoch: int | None, instead_of: str | None = None
    ) -> RunRecord:
        """As the present owner."""
        present = None if epoch is None else self.get(run_id).epoch
        return super().point_at_artifact(run_id, file_id=file_id, epoch=present, instead_of=instead_of)

    def release(self, lease: Lease, hand_back: HandBack, events: tuple[Event, ...] = ()) -> RunRecord:
        """As the present owner."""
        return super().release(self._as_owner(lease), hand_back, events)

    def _as_owner(self, lease: Lease) -> Lease:
        now = self.get(lease.run_id)
        taken: dict[str, object] = {} if now.owner is None else {"epoch": now.epoch, "owner": now.owner}
        return lease.model_copy(update=taken)
