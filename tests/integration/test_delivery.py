"""Orders on their way from the store through RQ to a function, with real processes that are killed and stopped."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_trainer.core.contracts.jobs import TrainModel, decode_job
from model_trainer.core.contracts.run import RunStatus
from model_trainer.infra.persistence.redis_client import RedisClient, connect
from model_trainer.infra.queue.rq_queue import RqJobQueue
from model_trainer.infra.queue.serve import QueueServer
from model_trainer.infra.stack.embedded_redis import EmbeddedRedis
from tests.contract.run_stores import LEASE_SECONDS, QUEUE, RQ_SETTINGS, StoreUnderTest, redis_store

WORKER = Path(__file__).with_name("order_worker.py")
StartWorker = Callable[[str], "subprocess.Popen[bytes]"]
StartWorkerAt = Callable[[str, str], "subprocess.Popen[bytes]"]


@pytest.fixture
def client(redis_url: str) -> Iterator[RedisClient]:
    client = connect(redis_url)
    yield client
    client.close()


@pytest.fixture
def store(client: RedisClient) -> StoreUnderTest:
    return redis_store(client)


@pytest.fixture
def start_worker(redis_url: str, start_worker_at: StartWorkerAt) -> StartWorker:
    return lambda mode: start_worker_at(redis_url, mode)


@pytest.fixture
def start_worker_at(tmp_path: Path) -> Iterator[StartWorkerAt]:
    started: list[subprocess.Popen[bytes]] = []

    def start(url: str, mode: str) -> "subprocess.Popen[bytes]":
        source = str(Path(__file__).parents[2] / "src")
        process = subprocess.Popen(
            [sys.executable, str(WORKER), url, mode, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": source},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def eventually(holds: Callable[[], bool], *, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state not in ("Z", "X")


def noted(folder: Path) -> str:
    """The payload that a worker of the mode `note` was given; empty until it is written."""
    file = folder / "payloads"
    text = file.read_text() if file.exists() else ""
    return text if text.endswith("\n") else ""


def child_at_work(folder: Path) -> int:
    eventually((folder / "pid").exists)
    return int((folder / "pid").read_text())


def test_an_order_reaches_its_function_in_a_process_of_its_own(
    store: StoreUnderTest, redis_url: str, tmp_path: Path
) -> None:
    def run(payload: str) -> None:
        (tmp_path / "seen").write_text(f"{os.getpid()} {payload}")

    run_id = store.submit()
    beats: list[int] = []
    server = QueueServer(
        redis_url=redis_url,
        queue=QUEUE,
        settings=RQ_SETTINGS,
        run=run,
        on_heartbeat=lambda: beats.append(1),
        on_child_lost=lambda: None,
        stop_grace_seconds=10.0,
    )
    before = signal.getsignal(signal.SIGTERM)
    server.drain()
    pid, _, payload = (tmp_path / "seen").read_text().partition(" ")
    assert decode_job(payload) == TrainModel(run_id=run_id, epoch=0)
    assert int(pid) != os.getpid()
    assert beats
    assert store.queue.depth(QUEUE) == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_order_delivered_many_times_is_carried_out_once(
    store: StoreUnderTest, client: RedisClient, redis_url: str, tmp_path: Path
) -> None:
    run_id = store.submit()
    for _ in range(19):
        client.call("RPUSH", f"rq:queue:{QUEUE}", f"{run_id}-0")

    def run(payload: str) -> None:
        order = decode_job(payload)
        worker = redis_store(connect(redis_url))
        lease = worker.runs.claim(
            order.run_id, epoch=order.epoch, owner=str(os.getpid()), host="h", lease_seconds=60.0
        )
        with (tmp_path / "claims").open("a") as file:
            file.write("claimed\n" if lease is not None else "nothing to do\n")

    QueueServer(
        redis_url=redis_url,
        queue=QUEUE,
        settings=RQ_SETTINGS,
        run=run,
        on_heartbeat=lambda: None,
        on_child_lost=lambda: None,
        stop_grace_seconds=10.0,
    ).drain()
    claims = (tmp_path / "claims").read_text().split("\n")[:-1]
    assert claims == ["claimed"] + ["nothing to do"] * 19
    assert store.runs.get(run_id).attempt == 1


def test_a_worker_killed_outright_takes_its_child_with_it_and_the_run_goes_on_elsewhere(
    store: StoreUnderTest, start_worker: StartWorker, tmp_path: Path
) -> None:
    run_id = store.submit()
    worker = start_worker("hang")
    child = child_at_work(tmp_path)
    assert is_alive(child)
    store.claim(run_id, owner=str(child), lease_seconds=LEASE_SECONDS)
    worker.kill()
    worker.wait()
    eventually(lambda: not is_alive(child))
    time.sleep(LEASE_SECONDS)
    assert store.runs.reap() == (run_id,)
    record = store.runs.get(run_id)
    assert record.status is RunStatus.QUEUED
    assert store.queue.holds(run_id, epoch=record.epoch, queue=QUEUE)
    start_worker("note")
    eventually(lambda: noted(tmp_path) != "")
    assert decode_job(noted(tmp_path)) == TrainModel(run_id=run_id, epoch=record.epoch)


def test_a_stop_reaches_a_child_that_listens_to_it(
    store: StoreUnderTest, start_worker: StartWorker, tmp_path: Path
) -> None:
    run_id = store.submit()
    worker = start_worker("yield")
    child_at_work(tmp_path)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=30.0) == 0
    assert decode_job((tmp_path / "yielded").read_text()) == TrainModel(run_id=run_id, epoch=0)


def test_a_stop_ends_a_child_that_does_not_listen_and_the_run_is_put_back(
    store: StoreUnderTest, start_worker: StartWorker, tmp_path: Path
) -> None:
    run_id = store.submit()
    worker = start_worker("hang")
    child = child_at_work(tmp_path)
    store.claim(run_id, owner=str(child), lease_seconds=LEASE_SECONDS)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=30.0) == 0
    assert not is_alive(child)
    time.sleep(LEASE_SECONDS)
    assert store.runs.reap() == (run_id,)
    assert store.runs.get(run_id).status is RunStatus.QUEUED


def test_an_idle_worker_stops_at_once_and_says_that_it_lives_while_it_waits(
    start_worker: StartWorker, tmp_path: Path
) -> None:
    worker = start_worker("note")
    eventually((tmp_path / "beats").exists)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=30.0) == 0


def test_a_lost_order_is_delivered_after_the_reaper_came_by(
    store: StoreUnderTest, client: RedisClient, start_worker: StartWorker, tmp_path: Path
) -> None:
    run_id = store.submit()
    client.call("LREM", f"rq:queue:{QUEUE}", 0, f"{run_id}-0")
    start_worker("note")
    assert store.runs.reap() == (run_id,)
    eventually(lambda: noted(tmp_path) != "")
    assert decode_job(noted(tmp_path)).run_id == run_id


def test_poison_in_the_queue_does_not_keep_an_order_from_its_worker(
    client: RedisClient, store: StoreUnderTest, start_worker: StartWorker, tmp_path: Path
) -> None:
    poison = {
        "not-one-of-ours": {"data": "x"},
        "01ARZ3NDEKTSV4RRFFQ69G5FA0-0": {"data": "not even compressed", "status": "no status"},
        "01ARZ3NDEKTSV4RRFFQ69G5FA1-0": {"status": "queued"},
        "01ARZ3NDEKTSV4RRFFQ69G5FA2-0": {"timeout": "soon", "data": '["os.system",null,["touch x"],{}]'},
    }
    for job_id, fields in poison.items():
        flat = [part for pair in fields.items() for part in pair]
        client.call("HSET", f"rq:job:{job_id}", *flat)
        client.call("RPUSH", f"rq:queue:{QUEUE}", job_id)
    client.call("RPUSH", f"rq:queue:{QUEUE}", b"\xff\xfe")
    client.call("SET", "rq:job:01ARZ3NDEKTSV4RRFFQ69G5FA3-0", "a string, not a hash")
    client.call("RPUSH", f"rq:queue:{QUEUE}", "01ARZ3NDEKTSV4RRFFQ69G5FA3-0")
    run_id = store.submit()
    start_worker("note")
    eventually(lambda: noted(tmp_path) != "")
    assert decode_job(noted(tmp_path)).run_id == run_id
    assert client.call("LLEN", "queue:quarantine") == 6


def test_a_worker_comes_back_after_its_connection_was_cut(
    client: RedisClient, store: StoreUnderTest, start_worker: StartWorker, tmp_path: Path
) -> None:
    worker = start_worker("note")
    eventually((tmp_path / "beats").exists)
    client.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    RqJobQueue(client, RQ_SETTINGS).enqueue(
        TrainModel(run_id="01ARZ3NDEKTSV4RRFFQ69G5FA0", epoch=0), queue=QUEUE
    )
    eventually(lambda: noted(tmp_path) != "")
    assert worker.poll() is None


def test_a_child_at_work_outlives_an_absence_of_redis(tmp_path: Path, start_worker_at: StartWorkerAt) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    with EmbeddedRedis(folder) as server:
        url = server.url
        client = connect(url)
        RqJobQueue(client, RQ_SETTINGS).enqueue(
            TrainModel(run_id="01ARZ3NDEKTSV4RRFFQ69G5FA0", epoch=0), queue=QUEUE
        )
        worker = start_worker_at(url, "yield")
        child = child_at_work(tmp_path)
        client.close()
    beats = (tmp_path / "beats").stat().st_size
    eventually(lambda: (tmp_path / "beats").stat().st_size >= beats + 2)  # two rounds without Redis
    assert is_alive(child)
    with EmbeddedRedis(folder) as server:
        assert server.url == url
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=30.0) == 0
    assert (tmp_path / "yielded").exists()
