"""Door: the queue. A long-lived process that has imported everything, and a forked child for each order.

Import only: a parallel tensor operation before the fork would hang every child, so nothing is computed here.
"""

from functools import partial

from model_trainer import __version__
from model_trainer.container import live
from model_trainer.core.config import Settings
from model_trainer.core.config.settings import export_for_libraries
from model_trainer.core.errors import AppError
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.runs import RunStore
from model_trainer.core.ports.storage import RunLocks
from model_trainer.worker.dispatch import dispatch
from model_trainer.worker.lost import lost_holders
from model_trainer.worker.preloading import preload
from model_trainer.worker.presence import REGISTRATION_SECONDS, describe_worker, say_goodbye

log = get_logger(__name__)


def serve_worker(settings: Settings, queue: str) -> None:
    """Works on one queue until SIGTERM or SIGINT."""
    export_for_libraries(settings)
    container = live(settings)
    preload(container.registry)
    worker = describe_worker(queue, host=container.locks.host)
    log.info("worker_started", worker_id=worker.worker_id, queue=queue, version=__version__)

    run = partial(run_job, settings=settings, worker_id=worker.worker_id)

    def say_alive() -> None:
        container.workers.register(worker, ttl_seconds=REGISTRATION_SECONDS)

    def look_for_lost_runs() -> None:
        reap_lost(container.runs, container.locks)

    look_for_lost_runs()
    server = container.queue_server(queue, run=run, on_heartbeat=say_alive, on_child_lost=look_for_lost_runs)
    server.serve()
    say_goodbye(container.workers, worker)
    log.info("worker_stopped", worker_id=worker.worker_id, queue=queue)


def reap_lost(runs: RunStore, locks: RunLocks) -> None:
    """Rescues what dead owners left, at once. The maintenance process does the same every second: what fails here is no
    reason to stop."""
    try:
        rescued = runs.reap(lost_holders(runs, locks))
    except AppError as error:
        log.warning("lost_runs_not_looked_for", error_code=error.code.value, detail=error.message)
        return
    if rescued:
        log.warning("lost_runs_rescued", num_rescued=len(rescued), detail=" ".join(rescued))


def run_job(payload: str, *, settings: Settings, worker_id: str) -> None:
    """One order, in a process of its own: the supervisor boundary. What goes wrong here is logged and told to RQ."""
    try:
        dispatch(payload, live(settings).worker_parts(worker_id))
    except Exception:
        log.error("order_not_carried_out", worker_id=worker_id)
        raise
