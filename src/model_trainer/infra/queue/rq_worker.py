"""RQ's worker, changed where kill tests saw it lose orders or end for no reason: each method says what it prevents."""

import math
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from types import FrameType
from typing import TYPE_CHECKING

from pydantic import TypeAdapter
from redis import Redis
from redis.client import Pipeline
from rq import Queue, Worker
from rq.job import Job
from rq.serializers import Serializer
from rq.timeouts import BaseDeathPenalty, UnixSignalDeathPenalty
from rq.worker import WorkerStatus

from model_trainer.core.errors import AppError
from model_trainer.core.logging import get_logger
from model_trainer.infra.persistence.redis_client import RedisClient
from model_trainer.infra.persistence.redis_errors import REDIS_ERROR
from model_trainer.infra.queue.parent_death import ProcessControl, die_with_parent
from model_trainer.infra.queue.quarantine import quarantine
from model_trainer.infra.queue.rq_job import JOB_ID

if TYPE_CHECKING:
    from resource import struct_rusage  # Windows has none, and imports this file though it runs no workers

log = get_logger(__name__)

MONITOR_SECONDS = 1
"""How often the parent of a busy child says that it is alive."""
WORKER_TTL_SECONDS = 17
"""RQ waits for an order for 15 s less: an idle worker says every 2 s that it is alive."""
MAINTENANCE_SECONDS = 60
NO_JOB = b"none"

_taken: TypeAdapter[tuple[str, bytes] | None] = TypeAdapter(tuple[str, bytes] | None)
_texts: TypeAdapter[list[str]] = TypeAdapter(list[str])


class OrderQueue(Queue):
    """RQ's queue, but for ids that are none of ours: they count as unknown jobs instead of ending the worker."""

    def __init__(
        self,
        name: str,
        connection: Redis | None = None,
        job_class: type[Job] | None = None,
        serializer: Serializer | str | None = None,
        death_penalty_class: type[BaseDeathPenalty] | None = UnixSignalDeathPenalty,
    ) -> None:
        super().__init__(
            name,
            connection,
            job_class=job_class,
            serializer=serializer,
            death_penalty_class=death_penalty_class,
        )

    @classmethod
    def lmove(cls, connection: Redis, queue_key: str, timeout: int | None) -> tuple[str, bytes] | None:
        """The queue's key and the next id, which now stands in RQ's intermediate list."""
        reply: object = super().lmove(connection, queue_key, timeout)
        taken = _taken.validate_python(reply)
        if taken is None or JOB_ID.fullmatch(taken[1]):
            return taken
        quarantine(connection, queue=queue_key, entry=taken[1], why="not an id of ours")
        return queue_key, NO_JOB


class OrderWorker(Worker):
    """Takes orders from one queue, one at a time; a forked child carries each out.

    One queue, because RQ loses an order when a worker of two is killed in the wrong moment.
    """

    queue_class: type[Queue] = OrderQueue
    max_connection_wait_time = 2.0

    def __init__(
        self,
        queue: OrderQueue,
        *,
        job_class: type[Job],
        on_heartbeat: Callable[[], None],
        on_child_lost: Callable[[], None],
        stop_grace_seconds: float,
        control: ProcessControl | None,
    ) -> None:
        super().__init__(
            [queue],
            connection=queue.connection,
            job_class=job_class,
            serializer="json",
            worker_ttl=WORKER_TTL_SECONDS,
            job_monitoring_interval=MONITOR_SECONDS,
            log_job_description=False,
        )
        self._queue = queue
        self._on_heartbeat = on_heartbeat
        self._on_child_lost = on_child_lost
        self._stop_grace_seconds = stop_grace_seconds
        self._control = control
        self._worker_pid = os.getpid()
        self._has_told_child = False
        self._stop_at = math.inf
        self._child_status: int | None = None
        self._maintained_at = -math.inf

    @property
    def was_told_to_stop(self) -> bool:
        """Whether a signal asked this worker to end."""
        return self._shutdown_requested_date is not None

    @property
    def should_run_maintenance_tasks(self) -> bool:
        """Once at the start, then every minute."""
        return time.monotonic() - self._maintained_at >= MAINTENANCE_SECONDS

    def subscribe(self) -> None:
        """Listens to no commands: anyone who can publish could kill jobs, and its thread would live across forks."""

    def unsubscribe(self) -> None:
        """There is nothing to end."""

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Also tells whoever asked for it that this worker is alive, idle or busy."""
        try:
            self._on_heartbeat()
        except AppError as error:
            log.warning("worker_heartbeat_failed", error_code=error.code.value, detail=error.message)
        _: object = super().heartbeat(timeout, pipeline)

    def maintain_heartbeats(self, job: Job) -> None:
        """While a child works, an absent Redis is no reason to go: the child would die with this process.

        Also the moment at which a child is ended that was told to stop and has not for too long.
        """
        if time.monotonic() >= self._stop_at:
            log.error("child_killed", pid=self._horse_pid, duration_seconds=self._stop_grace_seconds)
            self.kill_horse()
        try:
            _: object = super().maintain_heartbeats(job)
        except REDIS_ERROR as error:
            log.warning("worker_heartbeat_failed", job=job.id, detail=type(error).__name__)

    def set_current_job_working_time(
        self, current_job_working_time: float, pipeline: Pipeline | None = None
    ) -> None:
        """Kept here alone: writing it would end the worker, and so the child, when Redis is away."""
        self.current_job_working_time = current_job_working_time

    def set_shutdown_requested_date(self) -> None:
        """Not written: this runs in a signal handler, where a missing Redis would break the wait for the child."""

    def handle_warm_shutdown_request(self) -> None:
        """Hands a stop on to the child at once, instead of waiting for its order to end, and lets it take its time for a
        last checkpoint."""
        log.info("worker_stopping", pid=self._worker_pid)
        self._stop_at = time.monotonic() + self._stop_grace_seconds
        self._tell_child_to_stop()

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """Told again to stop, it stops no faster: a supervisor and a terminal often both say it, and the child would lose
        what it is saving. The grace ends it."""

    def teardown(self) -> None:
        """A worker that has left its loop waits for no child, even if a fault of Redis left it looking busy: a stop that
        comes from here on ends whatever this process does next, instead of being noted by a worker that is gone."""
        self._state = WorkerStatus.IDLE
        leave: Callable[[], object] = super().teardown
        leave()

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Also tells a child to stop that was forked in the moment the stop came.

        SIGTERM waits while there are two processes with this one's handler: the child would hear it in its parent's name,
        and go on.
        """
        self._child_status = None
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            _: object = super().fork_work_horse(job, queue)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        if self.was_told_to_stop:
            self._tell_child_to_stop()

    def setup_work_horse_signals(self) -> None:
        """Runs first in the child, before any code of a job. Ctrl-C is the parent's to hear.

        Until the job listens, SIGTERM ends the child: nothing has been claimed yet.
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        die_with_parent(self._worker_pid, control=self._control)

    def wait_for_horse(self) -> "tuple[int | None, int | None, struct_rusage | None]":
        """Remembers how the child ended."""
        ended: tuple[int | None, int | None, struct_rusage | None] = super().wait_for_horse()
        self._child_status = ended[1]
        return ended

    def monitor_work_horse(self, job: Job, queue: Queue) -> None:
        """Says at once when a child died instead of ending: its run need not wait for its lease to run out."""
        try:
            _: object = super().monitor_work_horse(job, queue)
        finally:
            if self._child_status != os.EX_OK:
                log.warning("child_lost", job=job.id, detail=f"wait status {self._child_status}")
                self._on_child_lost()

    def run_maintenance_tasks(self) -> None:
        """Clears away what dead workers left of RQ's own keys.

        RQ's maintenance would read every left job, fail finished ones and stop for 15 minutes at a damaged one; whose
        turn it is again is the reaper's business.
        """
        self._maintained_at = time.monotonic()
        client = RedisClient(self.connection)
        name, now = self._queue.name, datetime.now(UTC).timestamp()
        try:
            reply = client.call("ZRANGEBYSCORE", f"rq:wip:{name}", "-inf", now)
            for entry in _texts.validate_python(reply):
                job_id = entry.partition(":")[0]
                client.many([("ZREM", f"rq:wip:{name}", entry), ("DEL", f"rq:job:{job_id}")])
            client.many(
                [
                    ("DEL", f"rq:queue:{name}:intermediate"),
                    ("ZREMRANGEBYSCORE", f"rq:finished:{name}", "-inf", now),
                    ("ZREMRANGEBYSCORE", f"rq:failed:{name}", "-inf", now),
                ]
            )
        except AppError as error:
            log.warning("queue_maintenance_failed", queue=name, detail=error.message)

    def _tell_child_to_stop(self) -> None:
        """Only the child itself, not its process group: its helpers are its own to end."""
        if self._horse_pid != 0 and not self._has_told_child:
            self._has_told_child = True
            with suppress(ProcessLookupError):  # it ended by itself in this moment
                os.kill(self._horse_pid, signal.SIGTERM)
