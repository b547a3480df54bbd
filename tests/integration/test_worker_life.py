"""Real workers that train, and are stopped, killed and stopped for good in the middle of it.

The lease of these runs lasts for ten minutes: who goes on earlier knew by the kernel that the owner was dead.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from model_trainer.container import Container, live
from model_trainer.core.config import Settings, load_settings
from model_trainer.core.contracts.base import JsonObject, dump_json
from model_trainer.core.contracts.events import JobResumed, JobStarted
from model_trainer.core.contracts.jobs import TrainTokenizer
from model_trainer.core.contracts.run import RunRecord, RunStatus
from model_trainer.core.ports.storage import RunLocks
from model_trainer.infra.persistence.redis_client import connect
from model_trainer.infra.storage.memory import MemoryRunLocks
from model_trainer.infra.storage.run_locks import LocalRunLocks
from model_trainer.worker_entry import reap_lost, run_job
from tests.contract.run_stores import redis_store
from tests.integration.workshop import TEXT, TINY_LSTM

SOURCE = str(Path(__file__).parents[2] / "src")
LEASE_SECONDS = 600.0
STEPS = 1000
Worker = subprocess.Popen[bytes]


class Installation:
    """A Redis, folders, and workers as processes of their own, each leading a process group."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        settings = load_settings(env_file=None)
        self.roots = {f"{name}_root": folder / name for name in ("artifacts", "runs", "logs", "data")}
        self.roots["data_root"].mkdir()
        (self.roots["data_root"] / "corpus.txt").write_text(TEXT)
        self.redis_url = redis_url
        app = settings.app.model_copy(update={**self.roots, "lease_seconds": LEASE_SECONDS})
        self.settings: Settings = settings.model_copy(update={"redis_url": SecretStr(redis_url), "app": app})
        self.container: Container = live(self.settings)
        self.workers: list[Worker] = []
        self._folder = folder

    def tokenizer(self) -> str:
        spec = self.container.registry.parse_tokenizer_spec(
            '{"method": "char", "corpus_path": "corpus.txt", "vocab_size": 60}'
        )
        record = self.container.tokenizers.start(spec, request_id="r", idempotency=None).record
        order = TrainTokenizer(run_id=record.run_id, epoch=0)
        run_job(order.model_dump_json(), settings=self.settings, worker_id="w")
        return record.run_id

    def training(self, tokenizer_id: str, *, steps: int = STEPS) -> str:
        body: JsonObject = {
            **TINY_LSTM,
            "corpus_path": "corpus.txt",
            "tokenizer_id": tokenizer_id,
            "max_steps": steps,
            "eval_every_steps": steps,
            "log_every_steps": 50,
        }
        spec = self.container.registry.parse_train_spec(dump_json(body))
        return self.container.training.start(spec, request_id="r", idempotency=None).record.run_id

    def start_worker(self) -> Worker:
        roots = {f"APP__{name.upper()}": str(path) for name, path in self.roots.items()}
        process = subprocess.Popen(
            [sys.executable, "-m", "model_trainer", "worker", "--queue", "training"],
            cwd=self._folder,
            env={
                **os.environ,
                **roots,
                "PYTHONPATH": SOURCE,
                "REDIS_URL": self.redis_url,
                "APP__LEASE_SECONDS": str(LEASE_SECONDS),
                "APP__HEARTBEAT_SECONDS": "0.1",
            },
            start_new_session=True,
        )
        self.workers.append(process)
        return process

    def record(self, run_id: str) -> RunRecord:
        return self.container.runs.get(run_id)

    def at_step(self, run_id: str, step: int) -> RunRecord:
        eventually(
            lambda: self.record(run_id).progress.step >= step or self.record(run_id).status.is_terminal
        )
        record = self.record(run_id)
        assert record.status is RunStatus.RUNNING, record
        return record

    def ended(self, run_id: str) -> RunRecord:
        eventually(lambda: self.record(run_id).status.is_terminal)
        return self.record(run_id)

    def steps_begun_at(self, run_id: str) -> list[int]:
        """The step each attempt began after."""
        events = [row.event for row in self.container.runs.events_after(run_id, after=0, limit=10_000)]
        resumed = [event.step for event in events if isinstance(event, JobResumed)]
        assert sum(isinstance(event, JobStarted) for event in events) == len(resumed) + 1
        return [0, *resumed]

    def outcome(self, run_id: str) -> dict[str, bytes]:
        folder = self.container.artifacts.folder("models", run_id)
        names = ("model.safetensors", "metrics.jsonl")
        assert not list(folder.rglob(".tmp-*"))
        return {name: (folder / name).read_bytes() for name in names}


@pytest.fixture
def installation(redis_url: str, tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(redis_url, tmp_path)
    yield installation
    for worker in installation.workers:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def eventually(holds: Callable[[], bool], *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def child_of(worker: Worker) -> int:
    (pid,) = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    return int(pid)


def test_a_training_that_is_stopped_and_killed_ends_as_if_it_had_not_been(installation: Installation) -> None:
    tokenizer_id = installation.tokenizer()
    undisturbed = installation.training(tokenizer_id)
    first = installation.start_worker()
    assert installation.ended(undisturbed).status is RunStatus.COMPLETED

    # SIGTERM to all processes of the worker, as a service manager sends it, and SIGKILL to what is left after the grace.
    run_id = installation.training(tokenizer_id)
    installation.at_step(run_id, 100)
    os.killpg(first.pid, signal.SIGTERM)
    assert first.wait(timeout=30) == 0
    stopped = installation.record(run_id)
    assert (stopped.status, stopped.retries, stopped.attempt) == (RunStatus.QUEUED, 0, 1)
    assert stopped.checkpoint is not None
    assert stopped.checkpoint.step == stopped.progress.step >= 100

    # Another worker goes on; its child is killed in the middle of it, and it goes on once more.
    second = installation.start_worker()
    installation.at_step(run_id, stopped.progress.step + 100)
    os.kill(child_of(second), signal.SIGKILL)
    record = installation.ended(run_id)
    assert (record.status, record.attempt) == (RunStatus.COMPLETED, 3)
    assert installation.steps_begun_at(run_id)[1] == stopped.progress.step
    assert installation.outcome(run_id) == installation.outcome(undisturbed)


def test_a_worker_at_its_start_rescues_what_a_dead_one_held(installation: Installation) -> None:
    run_id = installation.training(installation.tokenizer(), steps=20_000)
    first = installation.start_worker()
    installation.at_step(run_id, 50)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    installation.start_worker()
    eventually(lambda: installation.record(run_id).attempt == 2)
    installation.container.runs.request_cancel(run_id)
    assert installation.ended(run_id).status is RunStatus.CANCELLED


@pytest.mark.parametrize(("host", "is_rescued"), [("here", True), ("there", False)])
def test_a_death_on_another_host_is_known_by_the_lease_alone(
    redis_url: str, tmp_path: Path, host: str, is_rescued: bool
) -> None:
    store = redis_store(connect(redis_url))
    run_id = store.submit()
    lock = LocalRunLocks(tmp_path, host="here").take(run_id, epoch=0)
    assert lock is not None
    assert store.runs.claim(run_id, epoch=0, owner="w", host="here", lease_seconds=0.5) is not None
    looking: RunLocks = LocalRunLocks(tmp_path, host=host)
    reap_lost(store.runs, looking)
    assert store.runs.get(run_id).status is RunStatus.RUNNING
    lock.release()  # as its death does
    reap_lost(store.runs, looking)
    assert (store.runs.get(run_id).status is RunStatus.QUEUED) is is_rescued
    time.sleep(0.5)
    reap_lost(store.runs, looking)
    assert store.runs.get(run_id).status is RunStatus.QUEUED


def test_a_store_that_is_away_does_not_keep_a_worker_from_starting() -> None:
    reap_lost(redis_store(connect("redis://127.0.0.1:1")).runs, MemoryRunLocks())
