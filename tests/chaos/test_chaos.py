"""A short round under fire, and the defects that the oracle must see."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.battle import Battle, Plan
from tests.chaos.controls import CONTROLS, is_as_it_must_be, run_control
from tests.chaos.fire import Fire
from tests.chaos.nursery import Nursery
from tests.chaos.oracle import Reference
from tests.chaos.report import report_of, summary
from tests.chaos.stack import Stack

KILLS, SEED = 15, 1

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whose orphans processes are"),
]


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("nursery") / "zygote.log") as nursery:
        yield nursery


@pytest.fixture(scope="module")
def references() -> dict[bool, Reference]:
    return {}


def test_runs_end_as_if_nobody_had_been_killed(
    nursery: Nursery, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Stack(tmp_path, nursery) as stack:
        battle = Battle(stack, Fire(SEED), Plan(kills=KILLS, steps=500))
        found = battle.fight()
    with capsys.disabled():
        sys.stdout.write(f"\n{summary(report_of(battle, wall_seconds=0.0))}")
    assert not found.violations
    assert battle.fire.fired.total() >= KILLS
    assert battle.ended == battle.submitted > len(battle.references)


@pytest.mark.parametrize("name", sorted(CONTROLS))
def test_the_oracle_sees_a_defect_and_nothing_where_there_is_none(
    name: str, nursery: Nursery, references: dict[bool, Reference], tmp_path: Path
) -> None:
    found = run_control(name, tmp_path, nursery, references=references)
    assert is_as_it_must_be(name, found), found.violations
