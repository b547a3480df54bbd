"""What every worker registry promises."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from model_trainer.core.contracts.run import Worker
from model_trainer.core.ports.runs import WorkerRegistry
from model_trainer.infra.persistence.memory import MemoryWorkerRegistry
from model_trainer.infra.persistence.redis_client import RedisClient
from model_trainer.infra.persistence.redis_workers import RedisWorkerRegistry


@dataclass
class RegistryUnderTest:
    """A registry, and the means to let time pass."""

    workers: WorkerRegistry
    pass_time: Callable[[float], None]


@pytest.fixture(params=["redis", "memory"])
def registry(request: pytest.FixtureRequest) -> RegistryUnderTest:
    if request.param == "redis":
        client: RedisClient = request.getfixturevalue("client")
        return RegistryUnderTest(workers=RedisWorkerRegistry(client), pass_time=time.sleep)
    now = [0.0]

    def pass_time(seconds: float) -> None:
        now[0] += seconds

    return RegistryUnderTest(workers=MemoryWorkerRegistry(clock=lambda: now[0]), pass_time=pass_time)


def worker(worker_id: str, *, queue: str = "training") -> Worker:
    return Worker(
        worker_id=worker_id,
        queue=queue,
        host="h",
        pid=1,
        devices=("cpu", "cuda"),
        memory_bytes=2**40,
        cuda_memory_bytes=0,
        cpu_count=2,
        native_bf16=True,
        extras=("sentencepiece",),
        version="1",
    )


def test_live_workers_are_listed_by_name(registry: RegistryUnderTest) -> None:
    assert registry.workers.alive() == ()
    for name in ("b", "a"):
        registry.workers.register(worker(name), ttl_seconds=60.0)
    assert registry.workers.alive() == (worker("a"), worker("b"))


def test_a_worker_that_says_no_more_is_gone(registry: RegistryUnderTest) -> None:
    registry.workers.register(worker("a"), ttl_seconds=0.03)
    registry.workers.register(worker("b"), ttl_seconds=60.0)
    registry.pass_time(0.04)
    assert registry.workers.alive() == (worker("b"),)
    assert registry.workers.alive() == (worker("b"),)


def test_the_last_word_of_a_worker_counts(registry: RegistryUnderTest) -> None:
    registry.workers.register(worker("a"), ttl_seconds=60.0)
    registry.workers.register(worker("a", queue="short"), ttl_seconds=60.0)
    assert registry.workers.alive() == (worker("a", queue="short"),)


def test_a_worker_that_takes_its_leave_is_gone_at_once(registry: RegistryUnderTest) -> None:
    registry.workers.register(worker("a"), ttl_seconds=60.0)
    for _ in range(2):
        registry.workers.unregister("a")
    assert registry.workers.alive() == ()
