"""The detector's demo, as small as it gets: a writer, its texts, a detector, and what is told of them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from model_trainer.cli.demo_corpus import standard_library
from model_trainer.cli.demo_detector import (
    PASSAGE_WORDS,
    TRIED,
    DetectorDemo,
    DetectorDemoReport,
    human_side,
    run_detector_demo,
    run_plan,
)
from model_trainer.cli.session import Session
from model_trainer.core.errors import AppError, ErrorCode
from tests.unit.cli.bench import Bench
from tests.unit.cli.labelled import HUMAN
from tests.unit.cli.test_demo_corpus import LONG


def library(folder: Path) -> Path:
    """Docstrings of a hundred words and more, each with words of its own."""
    folder.mkdir()
    for number in range(64):
        said = " ".join(f"{HUMAN[(number * place + place // 7) % 12]}" for place in range(110))
        (folder / f"m{number:02}.py").write_text(f'"""{LONG} Number {number}: {said}."""\n')
    return folder


@pytest.mark.slow
def test_a_small_demo_goes_the_whole_way(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = replace(
        DetectorDemo(state=tmp_path / "state", library=library(tmp_path / "library")),
        steps=10,
        num_pairs=24,
        vocab_size=300,
    )
    reports: list[DetectorDemoReport] = []
    asked: list[DetectorDemo] = []

    def carry_out(session: Session, demo: DetectorDemo) -> DetectorDemoReport:
        asked.append(demo)
        reports.append(run_plan(session, small))
        return reports[0]

    run_detector_demo(bench.session(), state="state", steps=None, keep=False, carry_out=carry_out)
    assert asked == [DetectorDemo(state=tmp_path / "state", library=standard_library())]
    (report,) = reports
    told = capsys.readouterr()
    shown = told.out
    assert bench.doors.log == ["quiet"]
    rows = [json.loads(line) for line in Path(report.labelled).read_text().splitlines()]
    assert [row["label"] for row in rows] == ["human", "ai"] * 24
    assert [row["group"] for row in rows] == [number // 2 for number in range(48)]
    human, machine = rows[0]["text"].split(), rows[1]["text"].split()
    assert len(human) == len(machine) <= PASSAGE_WORDS
    assert human[:11] == machine[:11], "the machine goes on from the first words"
    assert human != machine
    output = Path(report.output)
    assert (output / "README.md").exists()
    assert (output / "runtime_bundle" / "manifest.json").exists()
    assert report.evaluation.num_human > 0
    assert (len(report.tried), len(report.texts)) == (2 * TRIED, 2 * TRIED)
    assert list(report.texts) == [row["text"] for row in rows[: 2 * TRIED]]
    assert f"  model-trainer predict --bundle-dir {output}/runtime_bundle --data-path {report.labelled}" in [
        line.rstrip() for line in told.err.splitlines()
    ], "whole, to be copied"
    assert shown.count("human") >= TRIED
    assert f"{report.tried[0].probability:.3f}" in shown


def test_a_library_without_enough_text_is_refused() -> None:
    passages = ["too short", " ".join(["word"] * PASSAGE_WORDS), "nothing follows"]
    with pytest.raises(AppError, match="has 1 texts of 70 words; 2 are needed") as caught:
        human_side(passages, 2)
    assert caught.value.code is ErrorCode.DATA_TOO_SMALL


def test_a_short_passage_is_read_on_into_the_next() -> None:
    (text,) = human_side(["it begins", " ".join(["word"] * (PASSAGE_WORDS + 5))], 1)
    assert text == " ".join(["it", "begins", *["word"] * (PASSAGE_WORDS - 2)])


def test_passages_are_taken_from_everywhere() -> None:
    passages = [" ".join([f"w{number}"] * PASSAGE_WORDS) for number in range(10)]
    assert [text.split()[0] for text in human_side(passages, 5)] == ["w0", "w2", "w4", "w6", "w8"]


def test_nothing_is_served_that_could_be_kept(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("demo", "--model", "text_detector", "--keep") == 1
    assert "--keep: this demo starts no services" in capsys.readouterr().err
    assert list(Path.cwd().iterdir()) == []
