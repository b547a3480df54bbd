"""The demo for real, on a corpus and a model of a few seconds: Redis, API, workers, maintenance as processes."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from model_trainer.cli.demo import DemoPlan, Family, leave, run_plan
from model_trainer.cli.demo_corpus import standard_library
from model_trainer.cli.output import Output
from model_trainer.cli.session import Session
from model_trainer.cli.ways import real_ways
from model_trainer.doors import LiveDoors

MODULES = (
    "argparse.py",
    "textwrap.py",
    "string.py",
    "shutil.py",
    "tempfile.py",
    "statistics.py",
    "pathlib.py",
)


def few_modules(folder: Path) -> Path:
    """A library of a few hundred kilobytes."""
    folder.mkdir()
    for name in MODULES:
        shutil.copy(standard_library() / name, folder / name)
    return folder


@pytest.mark.parametrize("family", ["gpt2", "char_lstm"])
def test_the_demo_goes_from_text_to_an_evaluated_model_and_leaves_nothing_running(
    family: Family, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    session = Session(
        ways=real_ways(LiveDoors()),
        output=Output(as_json=True),
        api_url="unused",
        api_key=None,
        env_file=None,
    )
    plan = DemoPlan(family=family, state=state, library=few_modules(tmp_path / "library"), steps=3)
    run_plan(session, plan, afterwards=leave, platform=sys.platform)
    captured = capsys.readouterr()
    rows = [json.loads(line) for line in captured.out.splitlines()]
    report = rows[-1]
    model = Path(report["model_folder"])
    assert report["metrics"]["loss"] > 0
    assert report["metrics"]["bits_per_byte"] > 0
    assert report["continuation"]
    for name in ("config.json", "model.safetensors", "manifest.json", "metrics.jsonl", "eval/metrics.json"):
        assert (model / name).is_file(), name
    assert json.loads((model / "manifest.json").read_text())["status"] == "completed"
    assert (Path(report["tokenizer_folder"]) / "tokenizer.json").is_file()
    types = {row["event"]["type"] for row in rows[:-1]}
    assert {"trainer.job.started.v1", "trainer.metrics.progress.v1", "trainer.job.completed.v1"} <= types
    assert "nothing is left running" in captured.err
    assert not list(processes_of(state))


def processes_of(state: Path) -> list[str]:
    """Command lines or environments that name the state folder."""
    found: list[str] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if str(state).encode() in told:
            found.append(folder.name)
    return found
