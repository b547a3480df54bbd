"""`model-trainer rebuild` finds the Redis that `up` uses, and says what became of each run."""

import json
import re
from pathlib import Path

import pytest

from model_trainer.core.errors import AppError, ErrorCode
from tests.unit.cli.bench import Bench, Rebuilt


def test_each_run_is_shown_with_what_became_of_it(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.doors.rebuilt = [
        Rebuilt("R1", "restored"),
        Rebuilt("R2", "known", "completed", "the store has it"),
        Rebuilt("R3", "skipped", "", "it is \x1b[31mtorn"),
    ]
    assert bench.run("rebuild") == 0
    out, err = capsys.readouterr()
    assert re.search(r"R2 +known +completed +the store has it", out)
    assert "it is \N{REPLACEMENT CHARACTER}[31mtorn" in out
    assert "1 restored, 1 already there, 1 skipped.\nwarning: " in err
    assert bench.doors.log == ["rebuild False"]


def test_programs_read_json(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.doors.rebuilt = [Rebuilt("R1", "restored", "failed", "adopted")]
    assert bench.run("rebuild", "--adopt", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == [{"run_id": "R1", "fate": "restored", "status": "failed", "detail": "adopted"}]
    assert "warning" not in err
    assert bench.doors.log == ["rebuild True"]


def test_nothing_to_do_is_said_politely(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("rebuild") == 0
    assert "There is no record under runs: nothing to rebuild." in capsys.readouterr().err
    bench.doors.rebuilt = [Rebuilt("R1", "known"), Rebuilt("R2", "known")]
    assert bench.run("rebuild") == 0
    assert "Nothing was lost: the store has all 2 runs." in capsys.readouterr().err


def test_it_speaks_to_the_redis_that_up_brings(bench: Bench) -> None:
    assert bench.run("rebuild") == 0
    (settings,) = bench.doors.rebuilt_with
    assert settings.redis_url.get_secret_value() == "unix:///made-up.sock"
    assert settings.app.runs_root == Path("runs")
    assert bench.doors.stacks[0].state == Path(".state")


def test_it_speaks_to_the_redis_that_somebody_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://far.test:1/0")
    bench.env["REDIS_URL"] = "redis://far.test:1/0"
    assert bench.run("rebuild") == 0
    (settings,) = bench.doors.rebuilt_with
    assert settings.redis_url.get_secret_value() == "redis://far.test:1/0"
    assert bench.doors.stacks == []


def test_it_works_on_the_folder_that_up_was_given(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_text("APP__RUNS_ROOT=/elsewhere\nREDIS_URL=redis://elsewhere:1/0\n")
    assert bench.run("rebuild", "--state", "mine") == 1
    assert "There is no folder mine." in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()
    (tmp_path / "mine").mkdir()
    assert bench.run("rebuild", "--state", "mine") == 0
    (settings,) = bench.doors.rebuilt_with
    assert settings.app.runs_root == tmp_path / "mine" / "runs"
    assert settings.app.artifacts_root == tmp_path / "mine" / "artifacts"
    assert settings.redis_url.get_secret_value() == "unix:///made-up.sock"


def test_a_redis_that_is_away_is_to_be_started_first(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.doors.rebuild_fault = AppError(ErrorCode.STORE_UNAVAILABLE, "Redis does not answer.")
    assert bench.run("rebuild") == 1
    err = capsys.readouterr().err
    assert "`model-trainer up`" in err
    assert "Redis does not answer." in err


def test_another_fault_is_told_as_it_is(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.doors.rebuild_fault = AppError(ErrorCode.ARTIFACT_CORRUPT, "installation.json is damaged.")
    assert bench.run("rebuild") == 1
    assert capsys.readouterr().err == "error ARTIFACT_CORRUPT: installation.json is damaged.\n"
