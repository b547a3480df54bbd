"""The life of a worker process: serves one queue until it is told to stop, and comes back after Redis was away."""

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import redis
from rq.exceptions import StopRequested

from model_trainer.core.config.settings import RqSettings
from model_trainer.core.logging import get_logger
from model_trainer.infra.persistence.redis_errors import REDIS_ERROR
from model_trainer.infra.queue.parent_death import load_process_control
from model_trainer.infra.queue.rq_job import order_job_class
from model_trainer.infra.queue.rq_worker import OrderQueue, OrderWorker

log = get_logger(__name__)

RESTART_SECONDS = 0.5
SOCKET_SECONDS = 5.0
QUIET_LOGGERS = ("rq.worker", "rq.job", "rq.queue", "rq.registry")


class QueueServer:
    """Makes workers of one queue.

    Args:
        redis_url: where the queue is.
        queue: its name.
        settings: how long an order may run, and how long RQ keeps its own records.
        run: carries out one order, given its payload; called in a forked child that ends afterwards.
        on_heartbeat: called every few seconds, idle and busy; what it raises as AppError is logged.
        on_child_lost: called when a child has died instead of ending.
        stop_grace_seconds: how long a child that was told to stop may take before it is killed.
        pause: waits for so many seconds before the next try.
    """

    def __init__(
        self,
        *,
        redis_url: str,
        queue: str,
        settings: RqSettings,
        run: Callable[[str], None],
        on_heartbeat: Callable[[], None],
        on_child_lost: Callable[[], None],
        stop_grace_seconds: float,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._redis_url = redis_url
        self._queue = queue
        self._job_class = order_job_class(run, queue=queue, settings=settings)
        self._on_heartbeat = on_heartbeat
        self._on_child_lost = on_child_lost
        self._stop_grace_seconds = stop_grace_seconds
        self._pause = pause

    def serve(self) -> None:
        """Takes orders until SIGTERM or SIGINT asks to stop; the order at hand is told too, see OrderWorker."""
        with _signals_restored():
            try:
                while not self._serve_until_disturbed():
                    self._pause(RESTART_SECONDS)
            except StopRequested:
                log.info("worker_stopped_between_tries", queue=self._queue)

    def drain(self) -> None:
        """Takes the orders that wait now, then returns; raises redis-py's errors."""
        with _signals_restored():
            self.worker().work(burst=True, logging_level="WARNING")

    def worker(self) -> OrderWorker:
        """A worker, not yet at work."""
        library: _Library = redis
        connection = library.from_url(
            self._redis_url,
            socket_timeout=SOCKET_SECONDS,
            socket_connect_timeout=SOCKET_SECONDS,
            retry=None,
            protocol=2,
        )
        queue = OrderQueue(self._queue, connection=connection, job_class=self._job_class, serializer="json")
        return OrderWorker(
            queue,
            job_class=self._job_class,
            on_heartbeat=self._on_heartbeat,
            on_child_lost=self._on_child_lost,
            stop_grace_seconds=self._stop_grace_seconds,
            control=load_process_control(),
        )

    def _serve_until_disturbed(self) -> bool:
        """Whether the worker ended because it was told to. RQ ends it at a fault of Redis too, without saying so; and a
        worker that was told to stop while Redis is away cannot say goodbye, but stops."""
        worker: OrderWorker | None = None
        try:
            worker = self.worker()
            worker.work(logging_level="WARNING")
        except REDIS_ERROR as error:
            log.warning("worker_disturbed", queue=self._queue, detail=type(error).__name__)
        return worker is not None and worker.was_told_to_stop


@contextmanager
def _signals_restored() -> Iterator[None]:
    """RQ takes SIGINT and SIGTERM over; they come back. Its own log lines are held to warnings."""
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Library(Protocol):
    """What is used of the module redis, typed."""

    def from_url(
        self,
        url: str,
        *,
        socket_timeout: float,
        socket_connect_timeout: float,
        retry: None,
        protocol: int,
    ) -> redis.Redis: ...
