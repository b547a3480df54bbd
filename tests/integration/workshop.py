"""A whole installation in this process: the fake store and queue, real storage, real jobs, tiny models."""

import io
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from model_trainer.container import Container, in_memory
from model_trainer.core.config import load_settings
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.detector import CalibrateSpec, EvaluateDetectorSpec, ExportSpec
from model_trainer.core.contracts.evaluation import EvaluateSpec
from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.failpoints import Reached, pass_by
from model_trainer.core.logging import configure_logging
from model_trainer.infra.queue.memory import MemoryJobQueue
from model_trainer.worker.dispatch import dispatch
from tests.integration.watched import BeforeForward, watched

WORDS = ("the", "cat", "sat", "on", "a", "mat", "and", "looked", "at", "one", "small", "bird")
TEXT = "".join(f"{WORDS[n % 12]} {WORDS[(n * 7) % 12]} {WORDS[(n * n) % 12]}.\n" for n in range(1500))

TINY_GPT2: JsonObject = {
    "model_family": "gpt2",
    "n_layer": 1,
    "n_head": 2,
    "n_embd": 16,
    "max_seq_len": 16,
    "batch_size": 4,
    "max_steps": 6,
    "log_every_steps": 2,
    "eval_every_steps": 3,
    "precision": "fp32",
    "cpu_threads": 1,
    "device": "cpu",
}
TINY_LSTM: JsonObject = {
    "model_family": "char_lstm",
    "num_layers": 1,
    "hidden_size": 16,
    "embedding_size": 8,
    "max_seq_len": 16,
    "batch_size": 4,
    "max_steps": 6,
    "log_every_steps": 2,
    "eval_every_steps": 3,
    "precision": "fp32",
    "cpu_threads": 1,
    "device": "cpu",
}
LABELLED = "".join(
    json.dumps(
        {
            "text": " ".join(WORDS[(n * step + n % 2 * (step % 3)) % 12] for step in range(1, 9 + n % 7))
            + f" {n}.",
            "is_ai": n % 2,
            "domain": "web" if n % 3 else "news",
        }
    )
    + "\n"
    for n in range(300)
)
"""Labelled texts that can be told apart, if not by a glance."""
TINY_DETECTOR: JsonObject = {
    "model_family": "text_detector",
    "data_paths": ["labelled.jsonl"],
    "from_scratch": True,
    "architecture": "bert",
    "parts": "encoder",
    "layers": 1,
    "hidden_size": 16,
    "attention_heads": 2,
    "ffn_size": 32,
    "max_seq_len": 16,
    "batch_size": 4,
    "max_steps": 6,
    "log_every_steps": 2,
    "eval_every_steps": 3,
    "precision": "fp32",
    "cpu_threads": 1,
    "device": "cpu",
    "report": {"bootstrap_samples": 20, "robustness_texts": 10},
}
"""The encoder that ONNX is written from soonest."""
TINY: dict[str, JsonObject] = {
    "gpt2": TINY_GPT2,
    "char_lstm": TINY_LSTM,
    "text_detector": TINY_DETECTOR,
}
"""One small request for every family; a new one needs its own here."""


FILES = {"corpus.txt": TEXT, "labelled.jsonl": LABELLED}


class Workshop:
    """Submits as the API would and carries orders out as a worker would."""

    def __init__(self, files: Mapping[str, str | bytes] | None = None) -> None:
        # Readable logs would draw every traceback with all its variables, which takes seconds.
        configure_logging(service="model-trainer-test", level="INFO", readable=False, stream=io.StringIO())
        self._corpus = next(iter(files or FILES))
        settings = load_settings(env_file=None)
        app = settings.app.model_copy(update={"heartbeat_seconds": 0.02})
        rq = settings.rq.model_copy(update={"retry_backoff_seconds": 0.01})
        self.container: Container = in_memory(
            settings.model_copy(update={"app": app, "rq": rq}), files=files or FILES
        )

    def put(self, name: str, text: str) -> None:
        """Adds or replaces a corpus."""
        beside = self.container.corpora.locate(self._corpus).base
        (beside / name).write_text(text)

    def work(
        self,
        queue: str,
        *,
        reached: Reached = pass_by,
        before_forward: BeforeForward = lambda _model, _tokens: None,
    ) -> None:
        """Takes one order from a queue and carries it out.

        Args:
            queue: whose next order.
            reached: told of each moment at which a process may fail.
            before_forward: called before each forward pass of a model, in training and in evaluation.
        """
        orders = self.container.queue
        assert isinstance(orders, MemoryJobQueue)
        give_up_at = time.monotonic() + 30
        while (payload := orders.take(queue)) is None:  # a retry has to wait for its turn
            assert time.monotonic() < give_up_at
            time.sleep(0.005)
            self.container.runs.reap()
        registry = watched(self.container.registry, before_forward)
        dispatch(
            payload, replace(self.container.worker_parts("worker-1"), registry=registry, reached=reached)
        )

    def record(self, run_id: str) -> RunRecord:
        """How a run stands."""
        return self.container.runs.get(run_id)

    def wait_until_heeded(self, run_id: str) -> None:
        """Until the holder of a run has asked the store for the wishes of others, and acted on the answer."""
        beats: set[int] = set()
        give_up_at = time.monotonic() + 30
        while len(beats) < 4:
            assert time.monotonic() < give_up_at
            beats.add(self.record(run_id).updated_at_ms)
            time.sleep(0.005)

    def wait_until_left(self, run_id: str) -> None:
        """Until the thread that renews the lease of a run has learnt that it is lost, and ended."""
        while any(thread.name == f"lease-{run_id}" for thread in threading.enumerate()):
            time.sleep(0.005)

    def tokenizer(self, **fields: object) -> RunRecord:
        """A trained tokenizer's record."""
        body = {"method": "char", "corpus_path": "corpus.txt", "vocab_size": 60, **fields}
        spec = self.container.registry.parse_tokenizer_spec(json.dumps(body))
        run_id = self.container.tokenizers.start(spec, request_id="r-1", idempotency=None).record.run_id
        self.work("short")
        return self.container.runs.get(run_id)

    def submit(self, base: JsonObject, **fields: object) -> str:
        """A queued training's id."""
        data = {} if "data_paths" in base else {"corpus_path": "corpus.txt"}
        body = {**data, **base, **fields}
        spec = self.container.registry.parse_train_spec(json.dumps(body))
        return self.container.training.start(spec, request_id="r-1", idempotency=None).record.run_id

    def train(self, base: JsonObject, **fields: object) -> RunRecord:
        """A finished training's record."""
        run_id = self.submit(base, **fields)
        self.work("training")
        return self.container.runs.get(run_id)

    def evaluate(self, run: RunRecord, **fields: object) -> RunRecord:
        """A finished evaluation's record."""
        kind = EvaluateDetectorSpec if run.family == "text_detector" else EvaluateSpec
        spec = kind.model_validate_json(json.dumps(fields))
        started = self.container.evaluations.start(spec, parent=run, request_id="r-1", idempotency=None)
        self.work("short")
        return self.container.runs.get(started.record.run_id)

    def calibrate(self, run: RunRecord, **fields: object) -> RunRecord:
        """A finished calibration's record."""
        spec = CalibrateSpec.model_validate_json(json.dumps(fields))
        started = self.container.calibrations.start(spec, parent=run, request_id="r-1", idempotency=None)
        self.work("short")
        return self.container.runs.get(started.record.run_id)

    def export(self, run: RunRecord, **fields: object) -> RunRecord:
        """A finished export's record."""
        spec = ExportSpec.model_validate_json(json.dumps(fields))
        started = self.container.exports.start(spec, parent=run, request_id="r-1", idempotency=None)
        self.work("short")
        return self.container.runs.get(started.record.run_id)

    def folder(self, record: RunRecord) -> Path:
        """Where a model lies."""
        return self.container.artifacts.folder("models", record.run_id)

    def event_types(self, record: RunRecord) -> list[str]:
        """Names of a run's events, in order."""
        return [
            row.event.type for row in self.container.runs.events_after(record.run_id, after=0, limit=1000)
        ]


def rows(path: Path) -> list[dict[str, float]]:
    """A .jsonl file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
