"""`python -m tests.chaos`: a round of any length, or one of the controls."""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.battle import DEFAULT_VERBS, Battle, Plan
from tests.chaos.controls import CONTROLS, is_as_it_must_be, run_control
from tests.chaos.fire import WEIGHTS, Fire
from tests.chaos.nursery import Nursery
from tests.chaos.report import report_of, summary, write
from tests.chaos.stack import Stack


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 when the oracle found something; then everything stays where it is, to be looked at."""
    asked = _parser().parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    began = time.monotonic()
    if asked.sabotage:
        with Nursery(folder / "zygote.log") as nursery:
            found = run_control(asked.sabotage, folder, nursery)
        lines = [f"{violation.check}: {violation.detail}" for violation in found.violations]
        verdict = "as it must be" if is_as_it_must_be(asked.sabotage, found) else "NOT AS IT MUST BE"
        sys.stdout.write("\n".join([f"{asked.sabotage}: {len(lines)} violations, {verdict}", *lines]) + "\n")
    else:
        kinds = tuple(kind for kind in WEIGHTS if not asked.kinds or kind in asked.kinds)
        plan = Plan(kills=asked.kills, steps=asked.steps, every=asked.every, verbs=tuple(asked.verbs))
        with Nursery(folder / "zygote.log") as nursery, Stack(folder, nursery) as stack:
            battle = Battle(stack, Fire(asked.seed, kinds), plan, tell=_tell)
            found = battle.fight()
        report = report_of(battle, wall_seconds=time.monotonic() - began)
        sys.stdout.write(summary(report))
        if asked.report is not None:
            write(report, asked.report)
            sys.stdout.write(f"report: {asked.report}\n")
    if found.violations:
        sys.stdout.write(f"everything is left in {folder}\n")
        return 1
    shutil.rmtree(folder)
    return 0


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="how many processes to kill")
    parser.add_argument("--seed", type=int, default=1, help="what draws the kills")
    parser.add_argument("--report", type=_path_or_none, default=None, help="where to leave the report (JSON)")
    parser.add_argument("--kinds", nargs="*", choices=sorted(WEIGHTS), default=[], help="kill these alone")
    parser.add_argument(
        "--verbs", nargs="*", choices=("pause", "cancel", "stop"), default=list(DEFAULT_VERBS)
    )
    parser.add_argument("--steps", type=int, default=Plan.steps, help="of each run")
    parser.add_argument("--every", type=int, default=Plan.every, help="steps between checkpoints")
    parser.add_argument(
        "--sabotage", choices=sorted(CONTROLS), help="a defect that must be found, instead of a round"
    )
    return parser


def _path_or_none(text: str) -> Path | None:
    return Path(text) if text else None


if __name__ == "__main__":
    sys.exit(main())
