"""Faults of Redis and of the wire to it: trainings go on, the API says 503, and nothing happens twice."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from redis import Redis
from starlette.testclient import TestClient

from model_trainer.api.main import create_app
from model_trainer.container import live
from model_trainer.core.contracts.run import HandBack, IdempotencyKey, RunStatus, RunUpdate
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.redis_client import connect
from model_trainer.infra.persistence.redis_runs import RedisRunStore
from model_trainer.infra.queue.rq_queue import RqJobQueue
from model_trainer.infra.stack.embedded_redis import EmbeddedRedis
from tests.contract.run_stores import QUEUE, RQ_SETTINGS, new_run
from tests.faults.conftest import Expect
from tests.faults.faulty_workshop import only_while_the_store_is_away
from tests.faults.installation import LONG, SHORT, Installation, eventually, faults_of, undisturbed
from tests.faults.toxic_proxy import ToxicProxy, Toxics

STARTED = "trainer.job.started.v1"


@pytest.fixture
def control(module_redis: EmbeddedRedis) -> Iterator[Redis]:
    """A connection for whoever administers the server; it stands before the server is misconfigured."""
    with Redis.from_url(module_redis.url, decode_responses=True) as client:
        client.ping()
        yield client


@pytest.fixture
def proxy(redis_server: EmbeddedRedis, redis_url: str) -> Iterator[ToxicProxy]:
    """A wire to an empty Redis."""
    with Redis.from_url(redis_url, decode_responses=True) as client:
        path = str(client.config_get("unixsocket")["unixsocket"])
    with ToxicProxy(path) as proxy:
        yield proxy


def rows_written(installation: Installation, run_id: str) -> int:
    file = installation.model_folder(run_id) / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


@pytest.mark.slow
def test_a_training_goes_on_while_redis_is_killed_and_comes_back(
    installation: Installation, module_redis: EmbeddedRedis, expected: Expect
) -> None:
    expectation = expected(LONG)
    run_id = installation.submit(LONG, key="redis killed")
    work = installation.work_elsewhere(run_id)
    installation.wait_for_step(run_id, 100)
    assert module_redis.pid is not None
    os.kill(module_redis.pid, signal.SIGKILL)
    module_redis.stop()
    before = rows_written(installation, run_id)
    eventually(lambda: rows_written(installation, run_id) >= before + 3)
    module_redis.start()
    work.join()
    assert work.exitcode == 0
    assert faults_of(installation, "redis killed", expected=expectation) == []
    assert installation.get(run_id).attempt == 1
    assert installation.event_types(run_id).count(STARTED) == 1


@pytest.mark.slow
def test_a_training_goes_on_while_redis_hangs_and_the_api_says_503_instead_of_hanging_too(
    installation: Installation, module_redis: EmbeddedRedis, expected: Expect
) -> None:
    expectation = expected(LONG)
    run_id = installation.submit(LONG, key="redis hangs")
    work = installation.work_elsewhere(run_id)
    installation.wait_for_step(run_id, 100)
    assert module_redis.pid is not None
    os.kill(module_redis.pid, signal.SIGSTOP)
    try:
        before = rows_written(installation, run_id)
        eventually(lambda: rows_written(installation, run_id) >= before + 3)
        with TestClient(create_app(live(installation.settings))) as api:
            answer = api.get(f"/runs/{run_id}")
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
    finally:
        os.kill(module_redis.pid, signal.SIGCONT)
    work.join()
    assert faults_of(installation, "redis hangs", expected=expectation) == []
    assert installation.get(run_id).attempt == 1


@contextmanager
def no_memory(control: Redis, folder: Path) -> Iterator[None]:
    control.config_set("maxmemory", "1")
    yield
    control.config_set("maxmemory", "0")


@contextmanager
def read_only(control: Redis, folder: Path) -> Iterator[None]:
    control.replicaof("127.0.0.1", 1)
    yield
    control.replicaof("NO", "ONE")


@contextmanager
def cannot_save(control: Redis, folder: Path) -> Iterator[None]:
    """A snapshot that fails makes the server refuse writes: MISCONF."""
    (folder / "dump.rdb").mkdir()
    control.config_set("save", "3600 1")
    control.bgsave()
    eventually(lambda: control.info("persistence")["rdb_last_bgsave_status"] == "err")
    yield
    control.config_set("save", "")
    (folder / "dump.rdb").rmdir()


@contextmanager
def password_changed(control: Redis, folder: Path) -> Iterator[None]:
    control.config_set("requirepass", "another")
    drop_others(control)
    yield
    control.config_set("requirepass", "")


@contextmanager
def too_many_clients(control: Redis, folder: Path) -> Iterator[None]:
    control.config_set("maxclients", "1")
    drop_others(control)
    yield
    control.config_set("maxclients", "1000")


def drop_others(control: Redis) -> None:
    control.client_kill_filter(_type="normal", skipme=True)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [no_memory, read_only, cannot_save, password_changed, too_many_clients])
def test_a_server_that_refuses_to_work_costs_submissions_a_503_and_trainings_nothing(
    installation: Installation,
    module_redis: EmbeddedRedis,
    control: Redis,
    expected: Expect,
    fault: Callable[[Redis, Path], AbstractContextManager[None]],
) -> None:
    expectation = expected(LONG)
    body = installation.body(SHORT, key="refused")
    run_id = installation.submit(LONG, key=fault.__name__)
    work = installation.work_elsewhere(run_id)
    installation.wait_for_step(run_id, 50)
    with TestClient(create_app(live(installation.settings))) as api:
        with fault(control, module_redis.log_file.parent):
            refused = api.post("/runs/train", content=body, headers={"Content-Type": "application/json"})
            before = rows_written(installation, run_id)
            eventually(lambda: rows_written(installation, run_id) >= before + 2)
        assert (refused.status_code, "Retry-After" in refused.headers) == (503, True), refused.text
        assert installation.runs_of("refused") == []
    work.join()
    assert work.exitcode == 0
    assert faults_of(installation, fault.__name__, expected=expectation) == []
    assert installation.get(run_id).attempt == 1


def test_a_submission_whose_answer_is_lost_on_the_wire_is_one_run_and_one_order(
    proxy: ToxicProxy, redis_url: str
) -> None:
    clean = connect(redis_url)
    runs = RedisRunStore(clean, RqJobQueue(clean, RQ_SETTINGS))
    for number in range(12):  # each of the answers of a submission once, and then some
        wire = connect(proxy.url)
        store = RedisRunStore(wire, RqJobQueue(wire, RQ_SETTINGS))
        key = IdempotencyKey(key=f"key-{number}", body_sha256="0" * 64)
        wire.call("PING")
        with after_answers(proxy, number % 6):
            first = submitted(store, key)
        again = submitted(store, key)
        assert again is not None
        assert first in (None, again)
        assert RqJobQueue(clean, RQ_SETTINGS).depth(QUEUE) == number + 1
        assert runs.get(again).status is RunStatus.QUEUED
        wire.close()
    clean.close()


def submitted(store: RedisRunStore, key: IdempotencyKey) -> str | None:
    ids: list[str] = []
    with only_while_the_store_is_away():
        ids.append(store.submit(new_run(), idempotency=key).record.run_id)
    return ids[0] if ids else None


@contextmanager
def after_answers(proxy: ToxicProxy, number: int) -> Iterator[None]:
    """Inside, `number` answers come through and the next one is lost."""
    proxy.toxics.answers_before_drop, proxy.toxics.replies_to_drop = number, 1
    yield
    proxy.toxics.answers_before_drop, proxy.toxics.replies_to_drop = 0, 0


def test_a_claim_a_heartbeat_and_an_end_whose_answers_are_lost_count_once(
    proxy: ToxicProxy, redis_url: str
) -> None:
    wire = connect(proxy.url)
    store = RedisRunStore(wire, RqJobQueue(wire, RQ_SETTINGS))
    run_id = store.submit(new_run(), idempotency=None).record.run_id
    wire.call("PING")
    with after_answers(proxy, 0):
        lease = store.claim(run_id, epoch=0, owner="a", host=None, lease_seconds=60.0)
    assert lease is not None
    assert lease.epoch == 1
    with after_answers(proxy, 1):
        store.heartbeat(lease, RunUpdate(message="on the way"))
    with after_answers(proxy, 0):
        record = store.release(lease, HandBack(message="The worker must go."))
    assert (record.status, record.epoch, record.attempt) == (RunStatus.QUEUED, 2, 1)
    wire.close()


@pytest.mark.slow
@pytest.mark.parametrize("toxic", ["slices of one byte", "latency", "resets"])
def test_a_training_over_a_bad_wire_ends_as_over_a_good_one(
    proxy: ToxicProxy, tmp_path: Path, toxic: str
) -> None:
    installation = Installation(tmp_path, proxy.url)
    try:
        expectation = undisturbed(installation, SHORT)
        match toxic:
            case "slices of one byte":
                proxy.toxics.slice_bytes = 1
            case "latency":
                proxy.toxics.latency_seconds = 0.02
            case _:
                proxy.toxics.resets_every = 40
        run_id = sent_until_accepted(installation, key="bad")
        installation.work_elsewhere(run_id).join()
        proxy.toxics = Toxics()
        installation.finish(run_id)
        assert faults_of(installation, "bad", expected=expectation) == []
    finally:
        installation.close()


def sent_until_accepted(installation: Installation, *, key: str) -> str:
    """The id of a run that a client asks for until it hears no 503 any more."""
    while True:
        with only_while_the_store_is_away():
            return installation.submit(SHORT, key=key)


def test_a_wire_that_falls_silent_costs_no_more_than_the_timeout(proxy: ToxicProxy) -> None:
    wire = connect(proxy.url, timeout_seconds=0.2)
    wire.call("PING")
    proxy.toxics.is_silent = True
    with pytest.raises(AppError) as caught:
        wire.call("PING")
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    wire.close()


def filled(folder: Path) -> EmbeddedRedis:
    """A stopped server whose append-only file holds a hundred writes."""
    with EmbeddedRedis(folder) as server, Redis.from_url(server.url) as client:
        for number in range(100):
            client.set(f"key-{number}", "x" * 100)
    return EmbeddedRedis(folder)


def append_only_file(folder: Path) -> Path:
    return next((folder / "appendonlydir").glob("*.incr.aof"))


def test_an_append_only_file_with_a_torn_end_loses_the_torn_write_alone(tmp_path: Path) -> None:
    server = filled(tmp_path)
    file = append_only_file(tmp_path)
    os.truncate(file, file.stat().st_size - 7)
    with server, Redis.from_url(server.url) as client:
        assert client.dbsize() == 99


def test_an_append_only_file_damaged_in_the_middle_is_refused_loudly(tmp_path: Path) -> None:
    server = filled(tmp_path)
    file = append_only_file(tmp_path)
    content = bytearray(file.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40] = b"\xff" * 40
    file.write_bytes(bytes(content))
    with pytest.raises(AppError) as caught:
        server.start()
    assert caught.value.code is ErrorCode.STACK_FAILED
    assert "Bad file format" in caught.value.message
