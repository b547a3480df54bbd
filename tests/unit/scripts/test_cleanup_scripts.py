"""The clean-up scripts do what the command does, with its options and its exit code."""

import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

from model_trainer.cli.session import Ways
from scripts import cleanup_corpus_cache, cleanup_tokenizers
from scripts.check_constraints import ROOT
from tests.unit.cli.bench import Bench


class Script(Protocol):
    """One of them, as a module."""

    def main(self, arguments: list[str], *, ways: Ways) -> int: ...


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("script", "what"), [(cleanup_tokenizers, "tokenizers"), (cleanup_corpus_cache, "corpus-cache")]
)
def test_a_script_is_the_command_of_the_same_name(script: Script, what: str) -> None:
    bench = Bench()

    assert script.main(["--dry-run"], ways=bench.ways()) == 0
    assert script.main(["--no-such-option"], ways=bench.ways()) == 2

    assert bench.doors.log == [f"clean up {what} True unix:///made-up.sock"]


@pytest.mark.parametrize("name", ["cleanup_tokenizers", "cleanup_corpus_cache"])
def test_a_script_runs_by_itself(name: str) -> None:
    said = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / f"{name}.py"), "--help"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    assert "--dry-run" in said
