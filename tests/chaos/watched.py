"""One run under watch: its event stream as it grows, what became of it at each kill, how long it took to come back."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from model_trainer.container import Container
from model_trainer.core.contracts.events import (
    CheckpointRejected,
    CheckpointSaved,
    Event,
    JobCancelled,
    JobCompleted,
    JobEvaluated,
    JobProgress,
    JobResumed,
    JobStarted,
    MetricsConfig,
    MetricsProgress,
    StoredEvent,
)
from model_trainer.core.contracts.run import Phase, RunRecord, RunStatus
from model_trainer.core.errors import ErrorCode
from model_trainer.engine.training.checkpoint import CheckpointFolder
from tests.chaos.findings import Findings

PAGE = 1000
FORGIVEN = (ErrorCode.WORKER_LOST,)
"""What ends an attempt by right: a kill."""
PHASES = tuple(Phase)
LIMIT = 3
"""So many crashes without progress end a run, as docs/run-record.md says: nobody is killed a third time."""


@dataclass(slots=True)
class _Fall:
    """The owner was killed; the run is not back at work yet."""

    at_ms: int
    reached: int | None
    """The last step in metrics.jsonl; None before the first, and after a kill that was not of a trainer."""
    on_disk: int
    """The newest checkpoint that was complete then; 0 without one."""
    is_disturbed: bool = False
    started: bool = False
    resumed_at: int | None = None


@dataclass(slots=True)
class WatchedRun:
    """A run, from its submission to its end."""

    run_id: str
    family: str
    folder: Path
    every: int
    """Steps between checkpoints."""
    findings: Findings
    events: list[StoredEvent] = field(default_factory=list)
    crashes: int = 0
    mark: tuple[int, int] = (-1, -1)
    fall: _Fall | None = None
    cancels: int = 0
    """How often it was cancelled on purpose, and resumed."""
    kills: int = 0
    last_row: int = 0
    """The step of the last row told."""
    rows_of_this_owner: int = 0
    broken_off_epoch: int | None = None
    """Of the owner that was killed, frozen or cancelled last; None since another one began."""
    epoch_heard: int = 0
    """Whether the attempt at hand was killed or cancelled: what ends otherwise loses no step."""

    def catch_up(self, container: Container) -> None:
        """Reads what is new in the stream: numbers must go on without gaps. Raises STORE_UNAVAILABLE."""
        while page := container.runs.events_after(self.run_id, after=len(self.events), limit=PAGE):
            for stored in page:
                if stored.seq != len(self.events) + 1:
                    detail = f"after {len(self.events)} comes {stored.seq}"
                    self.findings.add("event_gap", self.run_id, detail)
                self.events.append(stored)
                self._hear(stored)

    def look_at(self, record: RunRecord) -> None:
        """No two owners at once: an attempt begins when the one before it has ended, and each has an epoch of its own. And
        none fails by itself: what ends an attempt here is a kill, or somebody's wish."""
        for one, next_one in zip(record.attempts, record.attempts[1:], strict=False):
            if one.ended_at_ms is None or one.ended_at_ms > next_one.started_at_ms:
                detail = f"the attempts of epochs {one.epoch} and {next_one.epoch} overlap"
                self.findings.add("overlapping_attempts", self.run_id, detail)
            if one.epoch >= next_one.epoch:
                self.findings.add("epoch_not_raised", self.run_id, f"{one.epoch} then {next_one.epoch}")
        for attempt in record.attempts:
            if attempt.problem is not None and attempt.problem.code not in FORGIVEN:
                detail = f"epoch {attempt.epoch}: {attempt.problem.code.value}: {attempt.problem.message}"
                self.findings.add("attempt_failed", self.run_id, detail)
        if len(self.events) > record.last_event_seq:
            detail = f"{len(self.events)} events were told, the record knows of {record.last_event_seq}"
            self.findings.add("event_lost", self.run_id, detail)

    def may_fall(self, record: RunRecord) -> bool:
        """Whether the owner can be killed without using up the crashes that a run without progress may have."""
        if record.status is RunStatus.RUNNING:
            return self._crashes_after(record) < LIMIT
        return self.crashes < LIMIT - 1  # nobody's yet; perhaps somebody's before it is killed

    def falls(self, record: RunRecord, *, at_ms: int | None = None, epoch: int | None = None) -> None:
        """The owner has just been killed (at `at_ms`, or now), and is dead; `record` is from before that."""
        self.crashes, self.mark = self._crashes_after(record), max(self.mark, _place(record))
        self.kills += 1
        self.broken_off_epoch = record.epoch if epoch is None else epoch
        self.fall = _Fall(
            at_ms=round(time.time() * 1000) if at_ms is None else at_ms,
            reached=last_step(self.folder / "metrics.jsonl"),
            on_disk=self.look_at_checkpoints(),
        )

    def is_disturbed(self) -> None:
        """Something else was killed: what is measured now says nothing of an undisturbed recovery."""
        if self.fall is not None:
            self.fall.is_disturbed = True

    def look_at_checkpoints(self) -> int:
        """Every checkpoint that has its name verifies; the newest one's step, 0 without any."""
        folder = CheckpointFolder(self.folder / "checkpoints")
        newest = 0
        for step in folder.steps():
            try:
                folder.load(step)
                newest = step
            except Exception as error:
                if folder.path_of(step).exists():  # retention may have taken it just now
                    self.findings.add("torn_checkpoint", self.run_id, f"step {step}: {error}")
        return newest

    def _crashes_after(self, record: RunRecord) -> int:
        return 1 if _place(record) > self.mark else self.crashes + 1

    def _hear(self, stored: StoredEvent) -> None:
        event = stored.event
        self._hear_of_rows(event)
        fall = self.fall
        if fall is None or stored.at_ms < fall.at_ms:
            return
        if isinstance(event, JobStarted):
            fall.started = True
        elif isinstance(event, JobResumed) and fall.started:
            fall.resumed_at = event.step
        elif isinstance(event, MetricsConfig) and fall.started:
            self._count_lost(fall)
        elif fall.started and _is_work(event, after=fall.resumed_at or 0):
            seconds = (stored.at_ms - fall.at_ms) / 1000
            found = self.findings
            (found.disturbed_recoveries if fall.is_disturbed else found.recoveries).append(seconds)
            self.fall = None

    def _hear_of_rows(self, event: Event) -> None:
        match event:
            case CheckpointRejected():
                self.findings.add("checkpoint_rejected", self.run_id, f"{event.path}: {event.why}")
            case JobCancelled():
                self.broken_off_epoch = self.epoch_heard
            case JobStarted():
                self.rows_of_this_owner = 0
                self.epoch_heard = event.epoch
            case JobResumed():
                if event.step < self.last_row and self.broken_off_epoch is None:
                    detail = f"nobody was killed; {self.last_row} reached, {event.step} resumed at"
                    self.findings.add("steps_lost", self.run_id, detail)
            case MetricsConfig():
                # One that is heard late, of an owner that has been killed since, ends nothing.
                if self.broken_off_epoch is not None and self.epoch_heard > self.broken_off_epoch:
                    self.broken_off_epoch = None
            case MetricsProgress():
                self.last_row = event.step
                self.rows_of_this_owner += 1
            case _:
                return

    def _count_lost(self, fall: _Fall) -> None:
        """What was done twice: at most an interval, and what was done while the checkpoint that followed was written.

        On a disk so slow that writing takes an interval, the interval stretches (docs/adr/0010); this is no such disk.
        """
        resumed = fall.resumed_at or 0
        if fall.reached is None:
            return
        lost = max(0, fall.reached - resumed)
        due = fall.reached - fall.reached % self.every
        in_flight = fall.reached - due if resumed < due else 0
        self.findings.steps_lost.append(lost)
        self.findings.steps_in_flight.append(in_flight)
        if lost >= 2 * self.every:
            detail = (
                f"{lost} steps lost: {fall.reached} reached, {resumed} resumed at, {fall.on_disk} on disk"
            )
            self.findings.add("steps_lost", self.run_id, detail)
        if resumed < fall.on_disk:
            detail = f"resumed at {resumed} although {fall.on_disk} was complete on disk"
            self.findings.add("checkpoint_passed_over", self.run_id, detail)


def last_step(path: Path) -> int | None:
    """The step of the last whole row of a series."""
    if not path.exists():
        return None
    rows = path.read_bytes().rpartition(b"\n")[0].splitlines()
    step: int | None = json.loads(rows[-1])["step"] if rows else None
    return step


def _place(record: RunRecord) -> tuple[int, int]:
    """How far a run has come, as the reaper counts it."""
    return PHASES.index(record.phase), record.progress.step


def _is_work(event: Event, *, after: int) -> bool:
    """Whether an event tells of a step, or of what comes when all steps are done."""
    match event:
        case MetricsProgress() | CheckpointSaved():
            return event.step > after
        case JobProgress():
            return event.phase in (Phase.EVALUATING, Phase.FINALIZING) or event.progress.step > after
        case JobEvaluated() | JobCompleted():
            return True
        case _:
            return False
