"""A whole installation for fault tests: real Redis, real folders, attempts in processes of their own.

What stands when all is over is compared with a run that nothing disturbed.
"""

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from pydantic import SecretStr

from model_trainer.container import Container, live
from model_trainer.core.config import Settings, load_settings
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.events import JobResumed
from model_trainer.core.contracts.run import RunKind, RunQuery, RunRecord, RunStatus
from model_trainer.core.files import TEMPORARY_PREFIX, sha256_of
from model_trainer.engine.training.checkpoint import CheckpointFolder
from model_trainer.infra.persistence.redis_client import RedisClient, connect
from model_trainer.maintenance.asking import PatientAsker
from model_trainer.maintenance.chores import account_closer
from model_trainer.maintenance.disk import DiskWatch
from model_trainer.maintenance.leftovers import LeftoverCleaner
from model_trainer.maintenance.reaper import Reaper
from model_trainer.maintenance.records import RecordKeeper
from model_trainer.worker.dispatch import dispatch
from model_trainer.worker.lost import lost_holders
from model_trainer.worker.manifests import read_manifest, verify
from tests.faults.attempts import OWNER, begin_submit, begin_work, orders_of, submit, take_order
from tests.integration.workshop import TEXT, TINY_GPT2

TRAINING = "training"
ENDS = ("trainer.job.completed.v1", "trainer.job.failed.v1", "trainer.job.cancelled.v1")
SHORT: JsonObject = {
    **TINY_GPT2,
    "max_steps": 6,
    "eval_every_steps": 6,
    "checkpoint": {"every_steps": 2, "keep_last": 1, "keep_best": False},
}
"""Three checkpoints, the later ones with an older one to remove."""
LONG: JsonObject = {
    **TINY_GPT2,
    "max_steps": 800,
    "log_every_steps": 50,
    "eval_every_steps": 800,
    "checkpoint": {"every_steps": 200, "keep_last": 2, "keep_best": False},
}
"""Long enough for something to happen meanwhile."""


class Installation:
    """One machine. Its maintenance does a round when a test says so."""

    def __init__(self, folder: Path, redis_url: str, *, lease_seconds: float = 15.0) -> None:
        self.folder = folder
        self.url = redis_url
        defaults = load_settings(env_file=None)
        app = defaults.app.model_copy(
            update={
                "artifacts_root": folder / "artifacts",
                "runs_root": folder / "runs",
                "logs_root": folder / "logs",
                "data_root": folder / "corpus",
                "heartbeat_seconds": 0.05,
                "lease_seconds": lease_seconds,
                "stop_grace_seconds": 20.0,
                "min_free_disk_bytes": 0,
            }
        )
        rq = defaults.rq.model_copy(update={"retry_backoff_seconds": 0.0})
        self.settings = defaults.model_copy(
            update={"app": app, "rq": rq, "redis_url": SecretStr(redis_url), "omp_num_threads": 1}
        )
        self.container: Container = live(self.settings)
        self.client: RedisClient = connect(redis_url)
        app.data_root.mkdir(parents=True, exist_ok=True)
        self.put_corpus(TEXT)
        self._attempts: list[ForkServerProcess] = []
        self._tokenizer_id: str | None = None

    def put_corpus(self, text: str) -> None:
        """The text that all runs read."""
        (self.settings.app.data_root / "corpus.txt").write_text(text)

    def with_failpoint(self, failpoint: str | None) -> Settings:
        """The settings of a process that is to fail."""
        app = self.settings.app.model_copy(update={"failpoint": failpoint})
        return self.settings.model_copy(update={"app": app})

    def tokenizer_id(self) -> str:
        """A tokenizer, trained at the first call in this process."""
        if self._tokenizer_id is None:
            body = '{"method": "char", "corpus_path": "corpus.txt", "vocab_size": 60}'
            spec = self.container.registry.parse_tokenizer_spec(body)
            started = self.container.tokenizers.start(spec, request_id="r-1", idempotency=None)
            self.work_here(started.record.run_id, "short")
            self._tokenizer_id = started.record.run_id
        return self._tokenizer_id

    def body(self, base: JsonObject, *, key: str = "", **fields: object) -> str:
        """A training's request."""
        spec = {"corpus_path": "corpus.txt", "tokenizer_id": self.tokenizer_id(), **base, **fields}
        return json.dumps({**spec, "metadata": {"key": key}})

    def submit(self, base: JsonObject, *, key: str, **fields: object) -> str:
        """The id of a training, one for each key."""
        return submit(self.container, body=self.body(base, key=key, **fields), key=key)

    def submit_elsewhere(
        self, base: JsonObject, *, key: str, failpoint: str | None = None
    ) -> ForkServerProcess:
        """A process that submits a training."""
        process = begin_submit(
            self.with_failpoint(failpoint),
            body=self.body(base, key=key),
            key=key,
            log_file=self.log_of("submit"),
        )
        self._attempts.append(process)
        return process

    def work_elsewhere(
        self, run_id: str, *, failpoint: str | None = None, before: str = "nothing"
    ) -> ForkServerProcess:
        """A process that carries the order of a run out."""
        process = begin_work(
            self.with_failpoint(failpoint),
            run_id=run_id,
            queue=TRAINING,
            log_file=self.log_of(run_id),
            before=before,
        )
        self._attempts.append(process)
        return process

    def work_here(self, run_id: str, queue: str = TRAINING) -> None:
        """Carries the order of a run out in this process."""
        payload = take_order(self.client, queue, run_id=run_id)
        assert payload is not None, "no order waits"
        dispatch(payload, self.container.worker_parts(OWNER))

    def maintain(self) -> None:
        """One round of the maintenance process; a day has passed for the small files of the runs root."""
        container, app = self.container, self.settings.app
        runs, artifacts = container.runs, container.artifacts
        asker, keep = PatientAsker(), RecordKeeper(runs=runs, artifacts=artifacts)
        lost = partial(lost_holders, runs, container.locks)
        Reaper(runs, find_lost=lost, keep=keep, asker=asker).reap()
        DiskWatch(
            runs=runs, artifacts=artifacts, min_free_bytes=app.min_free_disk_bytes, keep=keep, asker=asker
        ).look()
        account_closer(container, keep=keep, asker=asker).close_due()
        LeftoverCleaner(
            roots=(app.runs_root,), passing=(), policy=app.cleanup, now=lambda: time.time() + 86_400
        ).clean()

    def finish(self, run_id: str) -> RunRecord:
        """Does what maintenance and workers do until the run has ended; its record."""
        for _ in range(10):
            self.maintain()
            if self.get(run_id).status.is_terminal:
                return self.get(run_id)
            self.work_elsewhere(run_id).join()
        raise AssertionError(f"the run does not end: {self.get(run_id)}")

    def wait_for_step(self, run_id: str, step: int) -> None:
        """Returns when the run has come to a step."""
        eventually(lambda: self.get(run_id).progress.step >= step or self.get(run_id).status.is_terminal)
        assert not self.get(run_id).status.is_terminal, self.get(run_id)

    def log_of(self, what: str) -> Path:
        """What the attempts at a run said."""
        return self.folder / f"attempts-{what}.log"

    def runs_of(self, key: str) -> list[RunRecord]:
        """All trainings that were made of one key."""
        query = RunQuery(kind=RunKind.TRAIN, limit=100, metadata={"key": key})
        return list(self.container.runs.list_runs(query).records)

    def get(self, run_id: str) -> RunRecord:
        """A run's record."""
        return self.container.runs.get(run_id)

    def model_folder(self, run_id: str) -> Path:
        """Where its model lies."""
        return self.settings.app.artifacts_root / "models" / run_id

    def event_types(self, run_id: str) -> list[str]:
        """Names of its events, in order."""
        return [row.event.type for row in self.container.runs.events_after(run_id, after=0, limit=10_000)]

    def last_checkpoint(self, run_id: str) -> int:
        """The step of its newest checkpoint."""
        return max(CheckpointFolder(self.model_folder(run_id) / "checkpoints").steps())

    def end_attempts(self) -> None:
        """Ends what still runs."""
        for process in self._attempts:
            process.kill()
            process.join()
        self._attempts.clear()

    def close(self) -> None:
        """Ends processes and connections; the folder stays."""
        self.end_attempts()
        self.client.close()


def undisturbed(installation: Installation, base: JsonObject, *, key: str = "undisturbed") -> dict[str, str]:
    """Digests of what a run leaves that nothing disturbed."""
    run_id = installation.submit(base, key=key)
    installation.work_here(run_id)
    assert installation.get(run_id).status is RunStatus.COMPLETED, installation.get(run_id).problem
    return digests(installation.model_folder(run_id))


def digests(folder: Path) -> dict[str, str]:
    """Digests of what is a function of spec, data and seed alone."""
    return {name: sha256_of(folder / name) for name in ("model.safetensors", "metrics.jsonl", "config.json")}


def faults_of(installation: Installation, key: str, *, expected: dict[str, str]) -> list[str]:
    """What is wrong after all is over: empty when exactly one run completed as if nothing had been."""
    records = installation.runs_of(key)
    if len(records) != 1:
        return [f"{len(records)} runs of one key"]
    record = records[0]
    folder = installation.model_folder(record.run_id)
    if record.status is not RunStatus.COMPLETED:
        return [f"the run is {record.status.value}: {record.message}"]
    return [
        *wrong_events(installation, record.run_id),
        *[f"{name} differs" for name, digest in digests(folder).items() if digest != expected[name]],
        *[f"manifest: {problem}" for problem in verify(folder)],
        *([] if read_manifest(folder).status == "completed" else ["the manifest does not say completed"]),
        *[f"left over: {path}" for path in leftovers(installation.folder)],
        *torn_checkpoints(folder),
        *[
            f"left order: {job_id}"
            for job_id in orders_of(installation.client, TRAINING, run_id=record.run_id)
        ],
    ]


def wrong_events(installation: Installation, run_id: str) -> list[str]:
    """Gaps, repetitions, more than one end; a file that tells another story than the store."""
    stored = installation.container.runs.events_after(run_id, after=0, limit=10_000)
    file = installation.model_folder(run_id) / "events.jsonl"
    mirrored = [json.loads(line) for line in file.read_text().splitlines()]
    ends = Counter(row.event.type for row in stored if row.event.type in ENDS)
    wrong = []
    if [row.seq for row in stored] != list(range(1, len(stored) + 1)):
        wrong.append(f"event numbers: {[row.seq for row in stored]}")
    if ends.total() != 1:
        wrong.append(f"ends: {ends}")
    if mirrored != [json.loads(row.model_dump_json()) for row in stored]:
        wrong.append(
            f"events.jsonl has {len(mirrored)} lines, the store {len(stored)} events, or they differ"
        )
    return wrong


def steps_resumed_at(installation: Installation, run_id: str) -> list[int]:
    """From which steps the run went on, in order."""
    rows = installation.container.runs.events_after(run_id, after=0, limit=10_000)
    return [row.event.step for row in rows if isinstance(row.event, JobResumed)]


def leftovers(folder: Path) -> list[Path]:
    """Temporary files and folders that nobody removed."""
    return list(folder.rglob(f"{TEMPORARY_PREFIX}*"))


def torn_checkpoints(folder: Path) -> list[str]:
    """Checkpoints that do not verify."""
    checkpoints = CheckpointFolder(folder / "checkpoints")
    return [f"checkpoint {step}: {why}" for step in checkpoints.steps() for why in _reason(checkpoints, step)]


def _reason(checkpoints: CheckpointFolder, step: int) -> Iterator[str]:
    try:
        checkpoints.load(step)
    except Exception as error:
        yield str(error)


def eventually(holds: Callable[[], bool], *, seconds: float = 30.0) -> None:
    """Returns when it has come true."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def empty(folder: Path) -> None:
    """Takes a folder away."""
    shutil.rmtree(folder, ignore_errors=True)
