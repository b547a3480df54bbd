"""Defects that the oracle must see, each under an attack that brings it to light; and the same attacks on what is sound.

A harness that cannot fail proves nothing.
"""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.run import RunRecord
from tests.chaos.findings import Findings
from tests.chaos.nursery import Nursery
from tests.chaos.oracle import Reference, judge_run, what_it_left
from tests.chaos.orders import prepare, training
from tests.chaos.processes import has_ended, kill
from tests.chaos.stack import Pace, Stack
from tests.chaos.watched import WatchedRun

LEASE = Pace(lease_seconds=2.0)
WAIT_SECONDS = 40.0
GOES_SECONDS = 5.0
"""What follows a run's end has been brought to disk by then."""
LEAVES_SECONDS = 1.5
"""An owner that has lost its run has found out and gone by then; the run is longer."""
STEPS, BIG_STEPS, EVERY = 1500, 200, 20
BIG: JsonObject = {"n_layer": 2, "n_head": 2, "n_embd": 96}
"""Checkpoints that take long enough to be hit."""


@dataclass(slots=True)
class Duel:
    """One run, and one attack on its owner."""

    stack: Stack
    order: JsonObject
    every: int
    reference: Reference | None
    """None: what the run leaves is not compared."""
    findings: Findings = field(default_factory=Findings)
    run: WatchedRun = field(init=False)

    def __post_init__(self) -> None:
        run_id = self.stack.client.train(self.order).run_id
        folder = self.stack.settings.app.artifacts_root / "models" / run_id
        self.run = WatchedRun(
            run_id=run_id, family="gpt2", folder=folder, every=self.every, findings=self.findings
        )

    def record(self) -> RunRecord:
        """As it stands; the stack is looked after meanwhile."""
        self.stack.look_after()
        record = self.stack.container.runs.get(self.run.run_id)
        self.run.look_at(record)
        self.run.catch_up(self.stack.container)
        return record

    def trainers(self) -> list[int]:
        """Who works on the run, stopped or not."""
        return self.stack.trainers().get(self.run.run_id, [])

    def has_two_trainers(self) -> bool:
        """Whether two processes work on the run, one of them perhaps stopped: noted as what must never be."""
        pids = self.trainers()
        if len(pids) >= 2:
            self.findings.add("two_trainers", self.run.run_id, "two processes have claimed it")
        return len(pids) >= 2

    def until(self, what: Callable[[], bool], *, poll_seconds: float = 0.02) -> bool:
        """Waits for something; False when the run ends first, or when it takes too long."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not what():
            if self.record().status.is_terminal or time.monotonic() > deadline:
                return False
            time.sleep(poll_seconds)
        return True

    def must(self, what: Callable[[], bool], *, poll_seconds: float = 0.02) -> None:
        """Waits for something that the attack cannot do without."""
        if not self.until(what, poll_seconds=poll_seconds):
            raise AssertionError(f"the attack failed: {self.record().status}, {len(self.run.events)} events")

    def judge(self) -> Findings:
        """Waits for the end, then asks the oracle."""
        self.until(lambda: False)
        deadline = time.monotonic() + GOES_SECONDS
        while True:
            record = self.record()
            reference = self.reference or Reference(what_it_left(self.run.folder))
            runs_root = self.stack.settings.app.runs_root
            found = judge_run(self.run, record, reference, runs_root=runs_root)
            if not found.violations or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        self.findings.violations.extend(found.violations)
        return self.findings


def kill_while_saving(duel: Duel) -> None:
    """Kills the owner in the middle of a checkpoint, three times."""
    checkpoints = duel.run.folder / "checkpoints"
    for _ in range(3):
        duel.must(partial(_has_passed, duel, duel.record().progress.step + duel.every))
        duel.must(lambda: _is_half_written(checkpoints), poll_seconds=0.001)
        record = duel.stack.container.runs.get(duel.run.run_id)
        for horse in duel.trainers():
            duel.stack.strike("horse", horse, down_seconds=0)
        duel.run.falls(record)
        duel.must(lambda: duel.run.fall is None)


def freeze(duel: Duel) -> None:
    """Stops the owner for longer than its lease, has another one take the run, and lets the first one go on."""
    duel.must(lambda: duel.record().progress.step > duel.every and len(duel.trainers()) == 1)
    (frozen,) = duel.trainers()
    epoch = duel.record().epoch
    duel.run.broken_off_epoch = epoch
    kill(frozen, signal.SIGSTOP)
    duel.must(lambda: duel.record().epoch > epoch + 1)
    duel.must(lambda: has_ended(frozen) or duel.has_two_trainers())
    # In the thick of it: both have steps to take when the first one comes to.
    duel.must(lambda: duel.record().epoch > epoch + 1 and duel.run.rows_of_this_owner > duel.every)
    kill(frozen, signal.SIGCONT)
    deadline = time.monotonic() + LEAVES_SECONDS
    while frozen in duel.trainers():
        if time.monotonic() > deadline:
            duel.findings.add("stale_owner_works_on", duel.run.run_id, f"process {frozen}")
            return
        time.sleep(0.02)


def _has_passed(duel: Duel, step: int) -> bool:
    return duel.record().progress.step > step


def _is_half_written(checkpoints: Path) -> bool:
    """Whether a checkpoint is being written, under whatever name."""
    if not checkpoints.is_dir():
        return False
    return any(
        (folder / "model.safetensors").exists() and not (folder / "manifest.json").exists()
        for folder in checkpoints.iterdir()
    )


@dataclass(frozen=True, slots=True)
class Control:
    """A way for workers to be, an attack, and what the oracle must say."""

    sabotage: str
    attack: Callable[[Duel], None]
    must_find: frozenset[str]
    """Any of these; empty: nothing at all is wrong."""
    may_find: frozenset[str] = frozenset()
    """What such an arrangement shows without being wrong."""
    hosts: tuple[str, str] | None = None
    is_big: bool = False


CONTROLS = {
    "sound_saving": Control("", kill_while_saving, frozenset(), is_big=True),
    "in_place": Control("in_place", kill_while_saving, frozenset({"torn_checkpoint"}), is_big=True),
    # Maintenance is on a third machine to them, so that it does not miss the lock nobody took.
    "sound_lock": Control("", freeze, frozenset(), hosts=("box", "box")),
    "no_flock": Control("no_flock", freeze, frozenset({"two_trainers"}), hosts=("box", "box")),
    "sound_epoch": Control(
        "lease_alone",
        freeze,
        frozenset(),
        may_find=frozenset({"two_trainers"}),
        hosts=("one", "another"),
    ),
    "no_epoch": Control(
        "no_epoch",
        freeze,
        frozenset({"stale_owner_works_on", "attempt_failed"}),
        may_find=frozenset({"two_trainers"}),
        hosts=("one", "another"),
    ),
}
"""Each defect with its like that has none: the attack must not be what is found."""


def run_control(
    name: str, folder: Path, nursery: Nursery, *, references: dict[bool, Reference] | None = None
) -> Findings:
    """What the oracle finds, but for what such an arrangement may show.

    Args:
        name: one of CONTROLS.
        folder: where everything lies.
        nursery: what forks the processes.
        references: what runs left that nobody attacked, of the small model and of the big one; made where missing.
    """
    control, known = CONTROLS[name], {} if references is None else references
    with Stack(folder, nursery, pace=LEASE, sabotage=control.sabotage, hosts=control.hosts) as stack:
        tokenizer_id = prepare(stack.client, stack.settings.app.data_root)
        order = training("gpt2", tokenizer_id, steps=BIG_STEPS if control.is_big else STEPS, every=EVERY)
        if control.is_big:
            order = {**order, **BIG}
        if not control.must_find and control.is_big not in known:
            undisturbed = Duel(stack=stack, order=order, every=EVERY, reference=None)
            undisturbed.judge()
            known[control.is_big] = Reference(what_it_left(undisturbed.run.folder))
        duel = Duel(stack=stack, order=order, every=EVERY, reference=known.get(control.is_big))
        control.attack(duel)
        was_seen = bool(control.must_find & duel.findings.checks())
        found = duel.findings if was_seen else duel.judge()
    found.violations = [each for each in found.violations if each.check not in control.may_find]
    return found


def is_as_it_must_be(name: str, found: Findings) -> bool:
    """Whether the oracle has said of a control what it must say."""
    wanted = CONTROLS[name].must_find
    return bool(wanted & found.checks()) if wanted else not found.violations
