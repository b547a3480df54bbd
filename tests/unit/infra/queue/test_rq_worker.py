import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq.exceptions import StopRequested
from rq.worker import WorkerStatus

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.jobs import TrainModel
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.redis_client import RedisClient
from model_trainer.infra.queue.rq_job import OrderJob, rq_job_id
from model_trainer.infra.queue.rq_queue import RqJobQueue
from model_trainer.infra.queue.rq_worker import NO_JOB, OrderQueue, OrderWorker
from model_trainer.infra.queue.serve import RESTART_SECONDS, QueueServer
from tests.contract.run_stores import QUEUE, RQ_SETTINGS


def nothing() -> None:
    """The heart beats and nobody listens."""


def server(
    redis_url: str,
    *,
    kind: type[QueueServer] = QueueServer,
    run: Callable[[str], None] = print,
    on_heartbeat: Callable[[], None] = nothing,
    on_child_lost: Callable[[], None] = nothing,
    stop_grace_seconds: float = 30.0,
    pause: Callable[[float], None] = time.sleep,
) -> QueueServer:
    return kind(
        redis_url=redis_url,
        queue=QUEUE,
        settings=RQ_SETTINGS,
        run=run,
        on_heartbeat=on_heartbeat,
        on_child_lost=on_child_lost,
        stop_grace_seconds=stop_grace_seconds,
        pause=pause,
    )


@pytest.fixture
def worker(redis_url: str) -> Iterator[OrderWorker]:
    worker = server(redis_url).worker()
    yield worker
    worker.connection.close()


def next_job(worker: OrderWorker, client: RedisClient) -> tuple[OrderJob, OrderQueue]:
    RqJobQueue(client, RQ_SETTINGS).enqueue(TrainModel(run_id=new_ulid(), epoch=0), queue=QUEUE)
    taken = worker.dequeue_job_and_maintain_ttl(None)
    assert taken is not None
    job, queue = taken
    assert isinstance(job, OrderJob)
    assert isinstance(queue, OrderQueue)
    return job, queue


@contextmanager
def signals_kept() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def cut(worker: OrderWorker) -> None:
    """Takes the worker's Redis away."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port: int = gone.getsockname()[1]
    worker.connection = redis.Redis(port=port, retry=Retry(NoBackoff(), 0))


# ---------------------------------------------------------------- serving


def test_a_worker_serves_until_a_signal_comes_and_says_that_it_lives(redis_url: str) -> None:
    beats: list[float] = []

    def beat() -> None:
        beats.append(time.monotonic())
        if len(beats) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    server(redis_url, on_heartbeat=beat).serve()
    assert len(beats) >= 3
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_server_tries_again_until_redis_is_there(redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port: int = gone.getsockname()[1]
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise StopRequested  # as RQ's signal handler does

    server(f"redis://127.0.0.1:{port}", pause=pause).serve()
    assert pauses == [RESTART_SECONDS] * 3


def test_a_fault_that_ends_rqs_loop_does_not_end_the_service(redis_url: str) -> None:
    beats: list[float] = []

    def beat() -> None:
        beats.append(0.0)
        if len(beats) == 1:
            raise redis.TimeoutError
        os.kill(os.getpid(), signal.SIGTERM)

    pauses: list[float] = []
    server(redis_url, on_heartbeat=beat, pause=pauses.append).serve()
    assert pauses == [RESTART_SECONDS]


def test_a_stop_while_redis_is_away_is_kept_although_the_worker_cannot_say_goodbye(redis_url: str) -> None:
    class Mute(OrderWorker):
        """Redis goes away in the moment of the stop."""

        def register_death(self) -> None:
            raise redis.ConnectionError

    class Serving(QueueServer):
        def worker(self) -> OrderWorker:
            worker = super().worker()
            worker.__class__ = Mute
            return worker

    def beat() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    pauses: list[float] = []
    server(redis_url, kind=Serving, on_heartbeat=beat, pause=pauses.append).serve()
    assert pauses == []


def test_a_stop_is_heard_after_a_worker_that_a_fault_left_looking_busy(redis_url: str) -> None:
    made: list[OrderWorker] = []

    class Serving(QueueServer):
        def worker(self) -> OrderWorker:
            made.append(super().worker())
            return made[-1]

    def beat() -> None:
        if len(made) > 1:  # the stop was lost: end all the same
            os.kill(os.getpid(), signal.SIGTERM)
        made[-1]._state = WorkerStatus.BUSY
        raise redis.TimeoutError

    def pause(_seconds: float) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    server(redis_url, kind=Serving, on_heartbeat=beat, pause=pause).serve()
    assert len(made) == 1


def test_a_heartbeat_nobody_could_hear_is_no_reason_to_stop(redis_url: str, client: RedisClient) -> None:
    def beat() -> None:
        raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")

    RqJobQueue(client, RQ_SETTINGS).enqueue(TrainModel(run_id=new_ulid(), epoch=0), queue=QUEUE)
    server(redis_url, on_heartbeat=beat).drain()
    assert RqJobQueue(client, RQ_SETTINGS).depth(QUEUE) == 0


# ---------------------------------------------------------------- the child


def test_the_child_begins_by_tying_its_life_to_the_workers(redis_url: str) -> None:
    worker = server(redis_url).worker()
    worker._worker_pid = os.getppid()
    worker._control = None
    with signals_kept():
        worker.setup_work_horse_signals()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_child_forked_in_the_moment_of_the_stop_is_told_as_well(
    redis_url: str, client: RedisClient
) -> None:
    worker = server(redis_url, run=lambda _payload: time.sleep(60)).worker()
    job, queue = next_job(worker, client)
    worker._shutdown_requested_date = datetime.now(UTC)
    worker.prepare_execution(job)
    worker.fork_work_horse(job, queue)
    _, status, _ = worker.wait_for_horse()
    assert status is not None
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGTERM


def test_a_stop_that_reaches_a_child_before_it_listens_ends_it(redis_url: str, client: RedisClient) -> None:
    class Early(OrderWorker):
        """A child that is told to stop in the name of the whole process group, just after it was forked."""

        def setup_work_horse_signals(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            super().setup_work_horse_signals()

    worker = server(redis_url).worker()
    job, queue = next_job(worker, client)
    worker.__class__ = Early
    worker.prepare_execution(job)
    with signals_kept():
        signal.signal(signal.SIGTERM, worker.request_stop)
        worker.fork_work_horse(job, queue)
    _, status, _ = worker.wait_for_horse()
    assert status is not None
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGTERM
    assert not worker.was_told_to_stop


@pytest.mark.parametrize(
    ("end", "losses"),
    [(lambda _: None, 0), (lambda _: os.kill(os.getpid(), signal.SIGKILL), 1), (lambda _: os._exit(75), 1)],
    ids=["ended", "killed", "gave up"],
)
def test_the_death_of_a_child_is_told_and_its_end_is_not(
    redis_url: str, client: RedisClient, end: Callable[[str], None], losses: int
) -> None:
    lost: list[str] = []
    RqJobQueue(client, RQ_SETTINGS).enqueue(TrainModel(run_id=new_ulid(), epoch=0), queue=QUEUE)
    server(redis_url, run=end, on_child_lost=lambda: lost.append("lost")).drain()
    assert len(lost) == losses


def test_the_death_of_a_child_is_told_when_redis_is_away(worker: OrderWorker, client: RedisClient) -> None:
    lost: list[str] = []
    worker._on_child_lost = lambda: lost.append("lost")
    job, _ = next_job(worker, client)
    worker.prepare_execution(job)
    pid = os.fork()
    if pid == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    worker._horse_pid = pid
    cut(worker)
    job.connection = worker.connection
    with pytest.raises(redis.ConnectionError):
        worker.monitor_work_horse(job, worker._queue)
    assert lost == ["lost"]


def test_a_child_that_does_not_stop_in_time_is_killed(redis_url: str, client: RedisClient) -> None:
    def never_stop(_payload: str) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.kill(os.getppid(), signal.SIGTERM)
        while True:
            time.sleep(60)

    lost: list[str] = []
    RqJobQueue(client, RQ_SETTINGS).enqueue(TrainModel(run_id=new_ulid(), epoch=0), queue=QUEUE)
    server(
        redis_url, run=never_stop, on_child_lost=lambda: lost.append("lost"), stop_grace_seconds=0.1
    ).serve()
    assert lost == ["lost"]


def test_a_worker_that_is_told_twice_to_stop_does_not_kill_its_child(worker: OrderWorker) -> None:
    worker.set_state(WorkerStatus.BUSY)
    with signals_kept():
        stop: Callable[[int, None], None] = worker.request_stop
        stop(signal.SIGTERM, None)
        worker._shutdown_requested_date = datetime(2020, 1, 1, tzinfo=UTC)
        worker.request_force_stop(signal.SIGTERM, None)
    assert worker.was_told_to_stop


def test_a_child_is_told_to_stop_once(worker: OrderWorker) -> None:
    told: list[int] = []
    with signals_kept():
        signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
        worker._horse_pid = os.getpid()
        for _ in range(2):
            worker.handle_warm_shutdown_request()
    assert told == [signal.SIGTERM]


def test_a_child_that_has_just_ended_needs_no_telling(worker: OrderWorker) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    worker._horse_pid = pid
    worker.handle_warm_shutdown_request()


def test_a_stop_without_a_child_tells_nobody(worker: OrderWorker) -> None:
    worker.handle_warm_shutdown_request()
    assert not worker._has_told_child


def test_a_child_works_on_while_redis_is_away(worker: OrderWorker, client: RedisClient) -> None:
    job, _ = next_job(worker, client)
    worker.prepare_execution(job)
    cut(worker)
    worker.maintain_heartbeats(job)
    worker.set_current_job_working_time(3.5)
    assert worker.current_job_working_time == 3.5


def test_a_stop_while_redis_is_away_does_not_break_the_wait_for_the_child(worker: OrderWorker) -> None:
    worker.set_state(WorkerStatus.BUSY)
    cut(worker)
    with signals_kept():
        stop: Callable[[int, None], None] = worker.request_stop
        stop(signal.SIGTERM, None)
    assert worker.was_told_to_stop


# ---------------------------------------------------------------- what lies in Redis


def test_an_id_that_is_none_of_ours_counts_as_an_unknown_job(
    worker: OrderWorker, client: RedisClient
) -> None:
    key = f"rq:queue:{QUEUE}"
    client.call("RPUSH", key, "../../etc/passwd")
    assert OrderQueue.lmove(worker.connection, key, None) == (key, NO_JOB)
    client.call("RPUSH", key, rq_job_id("01ARZ3NDEKTSV4RRFFQ69G5FAV", epoch=0))
    assert OrderQueue.lmove(worker.connection, key, None) == (key, b"01ARZ3NDEKTSV4RRFFQ69G5FAV-0")
    assert OrderQueue.lmove(worker.connection, key, None) is None


def test_maintenance_clears_away_what_dead_workers_left(worker: OrderWorker, client: RedisClient) -> None:
    later = time.time() + 60
    client.call("RPUSH", f"rq:queue:{QUEUE}:intermediate", "left")
    client.call("ZADD", f"rq:wip:{QUEUE}", 1, "dead-0:x", later, "alive-0:y")
    client.call("HSET", "rq:job:dead-0", "poison", "\x00")
    client.call("HSET", "rq:job:alive-0", "a", "b")
    for registry in ("finished", "failed"):
        client.call("ZADD", f"rq:{registry}:{QUEUE}", 1, "old", later, "new")
    due = [worker.should_run_maintenance_tasks]
    worker.run_maintenance_tasks()
    due.append(worker.should_run_maintenance_tasks)
    assert due == [True, False]
    assert client.call("EXISTS", f"rq:queue:{QUEUE}:intermediate", "rq:job:dead-0") == 0
    assert client.call("EXISTS", "rq:job:alive-0") == 1
    assert client.call("ZRANGE", f"rq:wip:{QUEUE}", 0, -1) == ["alive-0:y"]
    for registry in ("finished", "failed"):
        assert client.call("ZRANGE", f"rq:{registry}:{QUEUE}", 0, -1) == ["new"]


def test_maintenance_waits_for_better_days_when_redis_is_away(worker: OrderWorker) -> None:
    cut(worker)
    worker.run_maintenance_tasks()
    assert not worker.should_run_maintenance_tasks


def test_a_worker_listens_to_no_commands(worker: OrderWorker, client: RedisClient) -> None:
    worker.subscribe()
    assert client.call("PUBSUB", "CHANNELS", "rq:*") == []
    worker.unsubscribe()
