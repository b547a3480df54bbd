"""The run record: the one authority on what happens to a run. Everything else projects it."""

from enum import StrEnum
from typing import Literal

from pydantic import JsonValue

from model_trainer.core.contracts.base import Contract, JsonObject
from model_trainer.core.errors import ErrorCode, FailureClass, Reason


class RunKind(StrEnum):
    """What a record is the life of. All kinds live the same life."""

    TRAIN = "train"
    TOKENIZER = "tokenizer"
    EVALUATE = "evaluate"
    CALIBRATE = "calibrate"
    EXPORT = "export"

    @property
    def follow_up_folder(self) -> str | None:
        """For a job on a trained model: where in the model's artifact it has a folder of its own, named by its run id."""
        return FOLLOW_UP_FOLDERS.get(self)


FOLLOW_UP_FOLDERS = {
    RunKind.EVALUATE: "eval",
    RunKind.CALIBRATE: "calibrations",
    RunKind.EXPORT: "exports",
}


class RunStatus(StrEnum):
    """Where a run stands; `phase` says what it is doing there."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing will happen any more."""
        return self in (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED)


class Phase(StrEnum):
    """What a worker is doing."""

    WAITING = "waiting"
    STARTING = "starting"
    VALIDATING = "validating"
    TOKENIZING = "tokenizing"
    TRAINING = "training"
    CALIBRATING = "calibrating"
    EVALUATING = "evaluating"
    EXPORTING = "exporting"
    FINALIZING = "finalizing"
    DONE = "done"


class Progress(Contract):
    """How far a phase has come. Rates and times are of the worker's own clock."""

    step: int = 0
    total_steps: int = 0
    fraction: float = 0.0
    """Of the current phase, 0 to 1."""
    epoch: float = 0.0
    tokens_per_second: float | None = None
    eta_seconds: float | None = None


class Problem(Contract):
    """An error as the API shows it and the record keeps it (RFC 9457 with our fields)."""

    code: ErrorCode
    message: str
    faults: tuple["ProblemFault", ...] = ()
    exception: str | None = None
    """Type and text of the last exception, when it was not one of ours."""


class ProblemFault(Contract):
    """One wrong field: a JSON pointer and what to do."""

    pointer: str
    message: str


class Attempt(Contract):
    """One try at a run by one worker."""

    epoch: int
    owner: str
    started_at_ms: int
    ended_at_ms: int | None = None
    problem: Problem | None = None


class LastCheckpoint(Contract):
    """The newest complete checkpoint of a run."""

    step: int
    path: str
    """Relative to the artifact's folder."""
    num_bytes: int


class ResumeOrder(Contract):
    """Somebody chose the checkpoint to go on from: what comes after it is to be forgotten, once."""

    epoch: int
    """The record's when the order was given; tells one order from the next."""
    step: int


class RunRecord(Contract):
    """All facts of one run. Times are milliseconds of Redis' clock since 1970."""

    run_id: str
    kind: RunKind
    queue: str
    family: str
    """Model family or tokenizer method; for an evaluation the family of the run it evaluates."""
    spec: JsonObject
    user_id: str | None
    metadata: dict[str, str]
    parent_run_id: str | None
    """The run an evaluation belongs to, or that a training began from."""
    request_id: str
    """The HTTP request that made it."""
    status: RunStatus
    phase: Phase
    message: str
    reason: Reason | None
    failure_class: FailureClass | None
    problem: Problem | None
    epoch: int
    """Fencing number: every claim raises it, and a write that carries an older one is refused."""
    owner: str | None
    host: str | None = None
    """The machine of the owner."""
    lease_until_ms: int
    attempt: int
    attempts: tuple[Attempt, ...]
    retries: int = 0
    """How often in a row the owner handed the run back; coming further than at any hand-back sets it to 0."""
    cancel_requested: bool
    pause_requested: bool = False
    """Somebody wants the run to stand still; it does at its next step."""
    resume_order: ResumeOrder | None = None
    checkpoint: LastCheckpoint | None = None
    created_at_ms: int
    updated_at_ms: int
    started_at_ms: int | None
    finished_at_ms: int | None
    heartbeat_at_ms: int | None
    progress: Progress
    metrics: dict[str, float]
    """The latest."""
    result: JsonObject
    """What the finished job says: final metrics, sizes, early stopping, comparison."""
    artifact_file_id: str | None = None
    """Where its artifact is stored: digest of the stored manifest, or of the tarball; None: on one machine only."""
    last_event_seq: int


class NewRun(Contract):
    """What a submitter knows of a run."""

    run_id: str
    kind: RunKind
    queue: str
    family: str
    spec: JsonObject
    user_id: str | None
    metadata: dict[str, str]
    parent_run_id: str | None
    request_id: str


class IdempotencyKey(Contract):
    """One intent of a caller: the same key and body replay the first answer."""

    key: str
    body_sha256: str


class Submission(Contract):
    """The record that now stands, and whether an earlier request had made it."""

    record: RunRecord
    replayed: bool


class Lease(Contract):
    """The right to write to a run, until another owner claims it."""

    run_id: str
    epoch: int
    owner: str
    lease_seconds: float


class Holder(Contract):
    """Who holds a run now."""

    run_id: str
    epoch: int
    owner: str
    host: str | None


class Flags(Contract):
    """What others ask of the owner. Cancelling goes before pausing."""

    cancel: bool
    pause: bool = False


class RunUpdate(Contract):
    """What the owner reports. Fields left out stay as they are."""

    phase: Phase | None = None
    message: str | None = None
    progress: Progress | None = None
    metrics: dict[str, float] | None = None
    checkpoint: LastCheckpoint | None = None
    quiet_ms: int = 0
    """How long ago the work itself gave a sign; the heartbeat is dated back by it."""


class HandBack(Contract):
    """How an owner gives a run up without ending it: back to the queue, or to stand still until it is resumed."""

    status: Literal[RunStatus.QUEUED, RunStatus.PAUSED] = RunStatus.QUEUED
    message: str
    reason: Reason | None = None
    """Why it stands still; None when somebody asked for it."""
    problem: Problem | None = None
    """Kept in the attempt."""
    delay_seconds: float = 0.0
    """Before a queued run's turn, or before a run that stands still may be resumed by itself."""
    is_retry: bool = False
    """Whether the record counts it among its `retries`."""


class Outcome(Contract):
    """How a run ended. `completed` carries a result, the others a reason."""

    status: Literal[RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED]
    message: str
    reason: Reason | None = None
    problem: Problem | None = None
    result: dict[str, JsonValue] = {}
    metrics: dict[str, float] = {}


class RunQuery(Contract):
    """Which runs to list, newest first."""

    kind: RunKind
    limit: int
    after: str | None = None
    """Only runs older than this id."""
    status: RunStatus | None = None
    family: str | None = None
    user_id: str | None = None
    parent_run_id: str | None = None
    metadata: dict[str, str] = {}


class RunPage(Contract):
    """One page of runs."""

    records: tuple[RunRecord, ...]
    has_more: bool


class Worker(Contract):
    """What a live worker process can do, as it says itself every few seconds."""

    worker_id: str
    queue: str
    host: str
    pid: int
    devices: tuple[str, ...]
    memory_bytes: int
    """Physical memory of the machine."""
    cuda_memory_bytes: int
    """Of the largest CUDA device; 0 without one."""
    cpu_count: int
    native_bf16: bool
    extras: tuple[str, ...]
    """Optional packages it has: sentencepiece, parquet."""
    version: str
