"""Real runs under fire: always two in flight, somebody killed every second or so, the oracle asked after each."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from model_trainer.core.contracts.run import RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from tests.chaos.errands import Errands, Follower, Verb
from tests.chaos.findings import Findings
from tests.chaos.fire import Fire, Shot
from tests.chaos.oracle import Reference, judge_follower, judge_rest, judge_run, temporary_files, what_it_left
from tests.chaos.orders import families, prepare, training
from tests.chaos.processes import has_ended
from tests.chaos.stack import GRACE_SECONDS, Stack
from tests.chaos.watched import WatchedRun

LOOK_SECONDS = 0.05
SETTLE_SECONDS = 8.0
"""What is still to be brought to disk after a run's end is there by then."""
RUN_SECONDS = 180.0
"""A run that has not come to its end by then, hangs."""
IN_FLIGHT = 2


DEFAULT_VERBS = ("pause", "cancel", "stop")


@dataclass(frozen=True)
class Plan:
    """How long the runs are, and how often something is asked of them besides."""

    kills: int
    steps: int = 1200
    every: int = 40
    verb_share: float = 0.08
    """Of the shots, as many pauses, cancellations and polite stops come on top."""
    verbs: tuple[str, ...] = DEFAULT_VERBS
    shot_at_submission_share: float = 0.25


@dataclass(slots=True)
class _Front:
    """One run in flight and those who watch it."""

    run: WatchedRun
    follower: Follower
    record: RunRecord
    submitted_at: float
    verb: Future[bool] | None = None
    verb_name: str = ""
    ended_at: float | None = None


@dataclass(slots=True)
class Battle:
    """One round over one stack."""

    stack: Stack
    fire: Fire
    plan: Plan
    tell: Callable[[str], None] = lambda _: None
    """Told of each run that has ended, as a line."""
    findings: Findings = field(default_factory=Findings)
    references: dict[str, Reference] = field(default_factory=dict)
    submitted: int = 0
    ended: int = 0
    most_kills: int = 0
    """That one run came through."""
    events_heard: int = 0
    """Over HTTP, by followers of the streams."""
    verbs_done: dict[str, int] = field(default_factory=dict)
    exit_codes: dict[str, int | None] = field(default_factory=dict)
    _tokenizer_id: str = ""
    _fronts: dict[str, _Front] = field(default_factory=dict)
    _submission: tuple[str, Future[str]] | None = None
    _next_family: int = 0

    def fight(self) -> Findings:
        """References first, then fire until all kills are spent, then peace; returns what was found."""
        errands = Errands(self.stack.new_client)
        try:
            self._tokenizer_id = prepare(self.stack.client, self.stack.settings.app.data_root)
            self._make_references(errands)
            next_shot = time.monotonic() + self.fire.gap_seconds()
            while not self._is_over():
                self.stack.look_after()
                self._order_more(errands)
                self._watch()
                if self._kills_left() > 0 and time.monotonic() >= next_shot:
                    next_shot = time.monotonic() + (
                        self.fire.gap_seconds() if self._shoot() else LOOK_SECONDS
                    )
                    self._ask_for_something(errands)
                time.sleep(LOOK_SECONDS)
            self._come_to_rest()
        finally:
            errands.close()
        return self.findings

    def _kills_left(self) -> int:
        return self.plan.kills - self.fire.fired.total()

    def _is_over(self) -> bool:
        return self._kills_left() <= 0 and not self._is_busy()

    def _is_busy(self) -> bool:
        return bool(self._fronts) or self._submission is not None

    def _make_references(self, errands: Errands) -> None:
        for family in families():
            order = training(family, self._tokenizer_id, steps=self.plan.steps, every=self.plan.every)
            self._submission = (family, errands.submit(order))
            while self._is_busy():
                self.stack.look_after()
                self._take_up(errands)
                self._watch()
                time.sleep(LOOK_SECONDS)

    def _order_more(self, errands: Errands) -> None:
        if self._submission is None and self._kills_left() > 0 and len(self._fronts) < IN_FLIGHT:
            names = families()
            family = names[self._next_family % len(names)]
            self._next_family += 1
            order = training(family, self._tokenizer_id, steps=self.plan.steps, every=self.plan.every)
            self._submission = (family, errands.submit(order))
            if self.fire.source.random() < self.plan.shot_at_submission_share:
                time.sleep(self.fire.source.uniform(0, 0.03))
                api = self.stack.members["api"]
                if api.restart_at is None:
                    self._hit(Shot("api", api.pid, self.fire.source.uniform(0, 0.4)))
        self._take_up(errands)

    def _take_up(self, errands: Errands) -> None:
        """Begins to watch a run whose submission was answered."""
        if self._submission is None or not self._submission[1].done():
            return
        family, answer = self._submission
        run_id = answer.result()
        try:
            record = self.stack.container.runs.get(run_id)
        except AppError as error:
            if error.code is ErrorCode.STORE_UNAVAILABLE:
                return
            raise
        self._submission = None
        self.submitted += 1
        run = WatchedRun(
            run_id=run_id,
            family=family,
            folder=self.stack.settings.app.artifacts_root / "models" / run_id,
            every=self.plan.every,
            findings=self.findings,
        )
        self._fronts[run_id] = _Front(
            run=run, follower=errands.follow(run_id), record=record, submitted_at=time.monotonic()
        )

    def _watch(self) -> None:
        """One look at everything: one trainer to a run at most, the streams, and who has ended."""
        self._count_trainers()
        for front in list(self._fronts.values()):
            record = self._record(front.run.run_id)
            if record is None:
                continue
            front.record = record
            front.run.look_at(record)
            try:
                front.run.catch_up(self.stack.container)
            except AppError as error:
                if error.code is not ErrorCode.STORE_UNAVAILABLE:
                    self.findings.add("stream_lost", front.run.run_id, error.message)
                continue
            if self._has_ended(front):
                self._close(front)
            elif time.monotonic() - front.submitted_at > RUN_SECONDS:
                where = f"{record.status.value}, {record.phase.value}, epoch {record.epoch}"
                self.findings.add("run_hangs", front.run.run_id, where)
                del self._fronts[front.run.run_id]

    def _count_trainers(self) -> None:
        for run_id, pids in self.stack.trainers().items():
            if len(pids) < 2:
                continue
            time.sleep(0.1)  # the kernel may be at taking one of them down
            both = [
                pid for pid in pids if pid in self.stack.trainers().get(run_id, []) and not has_ended(pid)
            ]
            if len(both) >= 2:
                self.findings.add("two_trainers", run_id, f"processes {both}")

    def _has_ended(self, front: _Front) -> bool:
        if front.verb is not None:
            if not front.verb.done():
                return False
            stopped, front.verb = front.verb.result(), None
            if stopped:
                self.verbs_done[front.verb_name] = self.verbs_done.get(front.verb_name, 0) + 1
                front.run.cancels += front.verb_name == "cancel"
                return False
        return front.record.status.is_terminal

    def _close(self, front: _Front) -> None:
        """Judges a run that has ended: now, and again until what follows its end has been brought to disk."""
        run, now = front.run, time.monotonic()
        if front.ended_at is None:
            front.ended_at = now
            front.follower.done.set()
        left = what_it_left(run.folder)
        reference = self.references.get(run.family, Reference(left))
        found = judge_run(run, front.record, reference, runs_root=self.stack.settings.app.runs_root)
        if front.follower.refused:
            found.add("stream_refused", run.run_id, front.follower.refused)
        judge_follower(found, run, heard=list(front.follower.heard))
        if found.violations and now - front.ended_at < SETTLE_SECONDS:
            return
        self.references.setdefault(run.family, Reference(left))
        self.findings.violations.extend(found.violations)
        self.ended += 1
        self.most_kills = max(self.most_kills, run.kills)
        self.events_heard += len(front.follower.heard)
        self.tell(
            f"{self.fire.fired.total()} kills; run {self.ended} ({run.family}): {front.record.status.value} after "
            f"{run.kills} kills of its own, {len(front.record.attempts)} attempts, "
            f"{len(found.violations)} violations"
        )
        del self._fronts[run.run_id]

    def _shoot(self) -> bool:
        """Kills somebody, unless it would be the third time without progress; False when there was nobody to kill."""
        shot = self.fire.draw(self.stack)
        if shot is None or not all(self._spares(front, shot) for front in self._fronts.values()):
            return False
        self._hit(shot)
        return True

    def _spares(self, front: _Front, shot: Shot) -> bool:
        is_owner = shot.kind in ("worker", "horse", "worker_and_horse")
        return not is_owner or front.run.may_fall(front.record) or not self._owns(front.record, shot)

    def _owns(self, record: RunRecord, shot: Shot) -> bool:
        """Whether the process, or its parent, is the run's owner; nobody's run may become its own any moment."""
        worker = self.stack.horses().get(shot.pid, shot.pid)
        return record.owner is None or f"-{worker}-" in record.owner

    def _hit(self, shot: Shot) -> None:
        before = {run_id: self._record(run_id) or front.record for run_id, front in self._fronts.items()}
        owner = f"-{self.stack.horses().get(shot.pid, shot.pid)}-"
        struck_at_ms = time.time() * 1000
        self.stack.strike(shot.kind, shot.pid, down_seconds=shot.down_seconds)
        self.fire.fired[shot.kind] += 1
        for run_id, front in self._fronts.items():
            front.run.is_disturbed()
            record = self._record(run_id) or before[run_id]
            if record.status.is_terminal:
                continue
            # A rescue takes milliseconds: the run may be another owner's by now, in another attempt.
            struck = [
                attempt
                for attempt in record.attempts
                if owner in attempt.owner and (attempt.ended_at_ms or struck_at_ms) >= struck_at_ms - 1
            ]
            if struck:
                is_as_it_was = struck[-1] is record.attempts[-1] and record.status is RunStatus.RUNNING
                now = record if is_as_it_was else before[run_id]
                front.run.falls(now, at_ms=round(struck_at_ms), epoch=struck[-1].epoch)

    def _record(self, run_id: str) -> RunRecord | None:
        """As it stands now; None when Redis is dead."""
        try:
            return self.stack.container.runs.get(run_id)
        except AppError as error:
            if error.code is not ErrorCode.STORE_UNAVAILABLE:
                self.findings.add("record_lost", run_id, error.message)
            return None

    def _ask_for_something(self, errands: Errands) -> None:
        source = self.fire.source
        if not self.plan.verbs or source.random() >= self.plan.verb_share:
            return
        wanted = source.choice(self.plan.verbs)
        if wanted == "stop":
            self.stack.ask_to_stop(source.choice(("worker-1", "worker-2")))
            self.verbs_done["stop"] = self.verbs_done.get("stop", 0) + 1
            return
        free = [front for front in self._fronts.values() if front.verb is None]
        if free:
            front = source.choice(free)
            verb: Verb = "pause" if wanted == "pause" else "cancel"
            front.verb_name = verb
            front.verb = errands.stop_and_resume(front.run.run_id, verb, seed=source.getrandbits(32))

    def _come_to_rest(self) -> None:
        """Nothing is left of the work; then everything is asked to go, and goes."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            self.stack.look_after()
            found = judge_rest(self.stack.container, runs=self.submitted) if self.stack.is_whole() else None
            busy = self.stack.horses() or self.stack.strays() or not self.stack.is_whole()
            if (found is not None and not found.violations and not busy) or time.monotonic() > deadline:
                break
            time.sleep(LOOK_SECONDS)
        if found is not None:
            self.findings.violations.extend(found.violations)
        self._have_leftovers_cleared()
        for pid in (*self.stack.horses(), *self.stack.strays()):
            self.findings.add("stray_process", None, f"process {pid} outlives its run")
        self.exit_codes = self.stack.stop_in_order()
        for name, code in self.exit_codes.items():
            if code != 0:
                self.findings.add("did_not_stop", None, f"{name}: exit code {code} after SIGTERM")
        for pid in self.stack.all_processes():
            self.findings.add("stray_process", None, f"process {pid} outlives the stack")

    def _have_leftovers_cleared(self) -> None:
        """What killed writers left half done: the maintenance process clears it away when it starts, and now and then."""
        roots = (self.stack.settings.app.artifacts_root, self.stack.settings.app.runs_root)
        if not temporary_files(*roots):
            return
        time.sleep(GRACE_SECONDS)
        self.stack.ask_to_stop("maintenance")
        deadline = time.monotonic() + SETTLE_SECONDS
        while temporary_files(*roots) and time.monotonic() < deadline:
            self.stack.look_after()
            time.sleep(LOOK_SECONDS)
        for path in temporary_files(*roots):
            self.findings.add("temporary_left", None, str(path.relative_to(self.stack.folder)))
