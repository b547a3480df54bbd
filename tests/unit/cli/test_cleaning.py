"""`model-trainer cleanup` says what it removed, would remove, or could not remove, and does not fail for that."""

import json
import re
from pathlib import Path

import pytest

from model_trainer.maintenance.telling import Removal
from tests.unit.cli.bench import Bench

REMOVED = Removal(path=Path("/a/T1"), fate="removed", num_files=3, num_bytes=700, run_id="T1")
DUE = Removal(path=Path("/a/T2"), fate="due", num_files=1, num_bytes=20)
FAILED = Removal(path=Path("/a/\x1b[31m"), fate="failed", detail="Permission denied")


@pytest.mark.parametrize("what", ["artifacts", "corpus-cache", "tokenizers"])
def test_each_kind_is_cleaned_by_its_name(bench: Bench, what: str) -> None:
    assert bench.run("cleanup", what) == 0
    assert bench.run("cleanup", what, "--dry-run") == 0
    assert bench.doors.log == [
        f"clean up {what} False unix:///made-up.sock",
        f"clean up {what} True unix:///made-up.sock",
    ]


def test_people_see_a_table_and_what_it_comes_to(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.doors.removals = [REMOVED, DUE, REMOVED, FAILED]
    assert bench.run("cleanup", "tokenizers") == 0
    out, err = capsys.readouterr()
    assert re.search(r"/a/T1 +removed +3 +700", out)
    assert re.search(r"/a/T2 +would go +1 +20", out)
    assert re.search(r"could not be removed +0 +0 +Permission denied", out)
    assert "\x1b" not in out
    assert err == "2 removed (1400 bytes), 1 would go (20 bytes), 1 could not be removed (0 bytes).\n"


def test_programs_read_json(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.doors.removals = [REMOVED]
    assert bench.run("cleanup", "tokenizers", "--json") == 0
    assert json.loads(capsys.readouterr().out) == [
        {
            "path": "/a/T1",
            "fate": "removed",
            "bytes_freed": 700,
            "files_deleted": 3,
            "run_id": "T1",
            "detail": "",
        }
    ]


def test_nothing_to_do_is_said(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("cleanup", "corpus-cache") == 0
    assert capsys.readouterr().err == "There is nothing to remove.\n"


def test_it_works_on_the_folder_that_up_was_given(bench: Bench, tmp_path: Path) -> None:
    assert bench.run("cleanup", "artifacts", "--state", "mine") == 1
    (tmp_path / "mine").mkdir()
    assert bench.run("cleanup", "artifacts", "--state", "mine") == 0
    assert bench.doors.stacks[0].state == Path("mine")
