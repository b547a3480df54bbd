"""The inference process as it is installed, over a real Redis and small trained models: warm, and hard to kill."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from model_trainer.container import Container, live
from model_trainer.core.config import Settings, load_settings
from model_trainer.core.config.settings import process_environment
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.inference import (
    INFERENCE_QUEUE,
    InferenceKind,
    InferenceRecord,
    InferenceRequest,
    InferenceStatus,
)
from model_trainer.core.contracts.jobs import TrainModel, TrainTokenizer
from model_trainer.core.contracts.run import RunStatus, Worker
from model_trainer.core.errors import ErrorCode
from model_trainer.infra.stack.embedded_redis import EmbeddedRedis
from model_trainer.worker_entry import run_job
from tests.integration.workshop import TEXT, TINY_GPT2, TINY_LSTM

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 60.0
LEASE_SECONDS = 2.0


@dataclass(frozen=True)
class Place:
    """An installation with a trained model of each family, and nobody who answers."""

    settings: Settings
    container: Container
    gpt2: str
    char_lstm: str

    def submit(
        self, kind: InferenceKind = InferenceKind.GENERATE, run_id: str = "", **spec: object
    ) -> InferenceRequest:
        asked = InferenceRequest.model_validate(
            {
                "request_id": new_ulid(),
                "kind": kind,
                "run_id": run_id or self.gpt2,
                "spec": spec,
                "batch_key": f"{kind} {run_id}",
                "http_request_id": "r-1",
            }
        )
        self.container.inference.submit(asked, idempotency=None)
        return asked

    def record(self, asked: InferenceRequest) -> InferenceRecord:
        return self.container.inference.get(asked.kind, asked.run_id, asked.request_id)

    def pieces(self, asked: InferenceRequest) -> list[str]:
        told = self.container.inference.pieces_after(self.record(asked), after=0, limit=1000)
        return [row.piece.text for row in told]

    def ended(self, asked: InferenceRequest) -> InferenceRecord:
        eventually(lambda: self.record(asked).status.is_terminal)
        return self.record(asked)

    @contextmanager
    def process(self) -> Iterator["Process"]:
        """A process of its own that answers, once it says that it is there."""
        app = self.settings.app
        environment = process_environment() | {
            "REDIS_URL": self.settings.redis_url.get_secret_value(),
            "APP__DATA_ROOT": str(app.data_root),
            "APP__ARTIFACTS_ROOT": str(app.artifacts_root),
            "APP__RUNS_ROOT": str(app.runs_root),
            "APP__LOGS_ROOT": str(app.logs_root),
            "INFERENCE__LEASE_SECONDS": str(LEASE_SECONDS),
        }
        argv = [sys.executable, "-m", "model_trainer", "--env-file", "", "inference"]
        started = subprocess.Popen(argv, env=environment)
        try:
            eventually(lambda: any(worker.pid == started.pid for worker in self.workers()))
            yield Process(started)
        finally:
            with suppress(ProcessLookupError):
                started.send_signal(signal.SIGCONT)
            started.terminate()
            started.wait(PATIENCE_SECONDS)

    def workers(self) -> tuple[Worker, ...]:
        return self.container.workers_of(INFERENCE_QUEUE)


@dataclass(frozen=True)
class Process:
    """One inference process."""

    started: subprocess.Popen[bytes]

    def children(self) -> list[int]:
        """The process that computes; for a moment between two there is none."""
        listed = Path(f"/proc/{self.started.pid}/task/{self.started.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]


def eventually(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis"), overrides={"appendonly": "no"}) as server:
        root = tmp_path_factory.mktemp("installation")
        (root / "corpus").mkdir()
        (root / "corpus" / "corpus.txt").write_text(TEXT)
        settings = load_settings(env_file=None)
        roots = {
            "artifacts_root": root / "artifacts",
            "runs_root": root / "runs",
            "logs_root": root / "logs",
            "data_root": root / "corpus",
        }
        settings = settings.model_copy(
            update={"redis_url": SecretStr(server.url), "app": settings.app.model_copy(update=roots)}
        )
        container = live(settings)
        body: JsonObject = {"method": "char", "corpus_path": "corpus.txt", "vocab_size": 60}
        spec = container.registry.parse_tokenizer_spec(json.dumps(body))
        tokenizer = container.tokenizers.start(spec, request_id="r-1", idempotency=None).record.run_id
        run_job(TrainTokenizer(run_id=tokenizer, epoch=0).model_dump_json(), settings=settings, worker_id="w")
        yield Place(
            settings,
            container,
            gpt2=trained(container, TINY_GPT2, tokenizer),
            char_lstm=trained(container, TINY_LSTM, tokenizer),
        )


def trained(container: Container, base: JsonObject, tokenizer_id: str) -> str:
    body = {"corpus_path": "corpus.txt", "tokenizer_id": tokenizer_id, **base}
    spec = container.registry.parse_train_spec(json.dumps(body))
    run_id = container.training.start(spec, request_id="r-1", idempotency=None).record.run_id
    order = TrainModel(run_id=run_id, epoch=0).model_dump_json()
    run_job(order, settings=container.settings, worker_id="w")
    assert container.runs.get(run_id).status is RunStatus.COMPLETED
    return run_id


def test_a_model_is_loaded_once_and_then_answers_warm(place: Place) -> None:
    with place.process():
        for run_id in (place.gpt2, place.char_lstm):
            first = place.ended(place.submit(run_id=run_id, prompt_text="the cat", max_new_tokens=8))
            assert first.status is InferenceStatus.COMPLETED, first.problem
            again = place.ended(place.submit(run_id=run_id, prompt_text="the cat", max_new_tokens=8))
            assert again.result == first.result
            assert first.timings is not None
            assert again.timings is not None
            assert (first.timings.load > 0, again.timings.load) == (True, 0.0)
        scored = place.ended(place.submit(InferenceKind.SCORE, text="the cat sat on a mat. " * 5))
        assert scored.status is InferenceStatus.COMPLETED, scored.problem
        assert scored.timings is not None
        assert scored.timings.load == 0.0
    assert place.workers() == ()


def test_of_three_requests_that_were_taken_together_only_the_one_that_kills_the_child_fails(
    place: Place,
) -> None:
    with place.process() as process:
        process.started.send_signal(signal.SIGSTOP)
        good, poison, fine = (
            place.submit(prompt_text="the cat", max_new_tokens=512, stream=True, seed=n) for n in range(3)
        )
        killed_in: set[int] = set()
        process.started.send_signal(signal.SIGCONT)
        while not all(place.record(one).status.is_terminal for one in (good, poison, fine)):
            record = place.record(poison)
            if record.tries not in killed_in and place.pieces(poison):  # the child is in the middle of it
                (child,) = process.children()
                os.kill(child, signal.SIGKILL)
                killed_in.add(record.tries)
        problem = place.record(poison).problem
        assert problem is not None
        assert problem.code is ErrorCode.WORKER_LOST
        assert place.record(good).status is place.record(fine).status is InferenceStatus.COMPLETED
        assert killed_in == {1, 2}
        assert place.ended(place.submit(prompt_text="a")).status is InferenceStatus.COMPLETED


def test_requests_of_a_process_that_was_killed_are_answered_by_another(place: Place) -> None:
    with place.process() as dying, place.process() as other:
        other.started.send_signal(signal.SIGSTOP)
        asked = place.submit(prompt_text="the cat", max_new_tokens=512, num_return_sequences=2)
        eventually(lambda: place.record(asked).status is InferenceStatus.RUNNING)
        (child,) = dying.children()
        dying.started.kill()
        dying.started.wait(PATIENCE_SECONDS)
        eventually(lambda: not Path(f"/proc/{child}").exists())
        other.started.send_signal(signal.SIGCONT)
        record = place.ended(asked)
        assert (record.status, record.tries) == (InferenceStatus.COMPLETED, 2)
