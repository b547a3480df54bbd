"""Commands over HTTP for what a trained detector can be asked."""

import io
import json
import sys
from pathlib import Path

import httpx
import pytest

from tests.unit.cli.bench import Bench
from tests.unit.cli.test_ordering import watched
from tests.unit.client.fake_api import RUN_ID, run_view
from tests.unit.client.test_detectors import JOB_ID, detector_evaluation, judging, prediction

ACCEPTED = httpx.Response(202, json=run_view(run_id=JOB_ID, status="queued"))


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (["calibrate"], {}),
        (
            ["calibrate", "--decision", "fpr_1", "--target-precision", "0.9", "--fit-bias"],
            {"decision": "fpr_1", "target_precision": 0.9, "fit_bias": True},
        ),
        (["calibrate", "--set", "length_buckets=[100]"], {"length_buckets": [100]}),
        (["export"], {}),
        (["export", "--quantize", "--set", "max_flips=0.01"], {"quantize": True, "max_flips": 0.01}),
        (["evaluate"], {"split": "validation"}),
        (
            ["evaluate", "--data-path", "a.csv", "--data-path", "b.csv", "--set", "columns.text_col=body"],
            {"data_paths": ["a.csv", "b.csv"], "columns": {"text_col": "body"}},
        ),
    ],
)
def test_a_job_on_a_detector_is_ordered_from_options(
    bench: Bench, capsys: pytest.CaptureFixture[str], arguments: list[str], sent: dict[str, object]
) -> None:
    bench.api.on("POST", f"/runs/{RUN_ID}/{arguments[0]}", ACCEPTED)
    assert bench.run("run", arguments[0], RUN_ID, *arguments[1:]) == 0
    assert bench.api.sent() == sent
    captured = capsys.readouterr()
    assert JOB_ID in captured.out
    assert f"model-trainer run watch {JOB_ID}" in captured.err


@pytest.mark.parametrize(("verb", "title"), [("calibrate", "Calibration"), ("export", "Export")])
def test_such_a_job_can_be_watched(
    bench: Bench, capsys: pytest.CaptureFixture[str], verb: str, title: str
) -> None:
    bench.api.on("POST", f"/runs/{RUN_ID}/{verb}", ACCEPTED)
    watched(bench.api, JOB_ID)
    assert bench.run("run", verb, RUN_ID, "--watch") == 0
    captured = capsys.readouterr()
    assert f"{title} {JOB_ID} is queued." in captured.err
    assert "completed" in captured.out


def test_the_model_card_is_a_page_for_people_and_json_for_programs(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    def card(request: httpx.Request) -> httpx.Response:
        if request.headers["accept"] == "text/markdown":
            return httpx.Response(200, content=b"# A detector\x1b[2J\n")
        return httpx.Response(200, json={"name": "a detector", "run_id": RUN_ID, "limits": ["many"]})

    bench.api.on("GET", f"/runs/{RUN_ID}/model-card", card)
    assert bench.run("run", "model-card", RUN_ID) == 0
    assert capsys.readouterr().out == "# A detector\N{REPLACEMENT CHARACTER}[2J\n\n"
    assert bench.run("run", "model-card", RUN_ID, "--json") == 0
    assert json.loads(capsys.readouterr().out)["limits"] == ["many"]


def test_texts_and_files_are_judged_and_named(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "essay.txt").write_text("machine \N{EM DASH} made")
    bench.api.on("POST", f"/runs/{RUN_ID}/predict", judging)
    arguments = [str(tmp_path / "essay.txt"), "--text", "one", "--text", "two", "--decision", "fpr_1"]
    assert bench.run("run", "predict", RUN_ID, *arguments) == 0
    assert bench.api.sent() == {
        "texts": ["one", "two", "machine \N{EM DASH} made"],
        "decision": "fpr_1",
    }
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[1:3]] == [["text", "1", "0.2500"], ["text", "2", "0.2500"]]
    assert "essay.txt" in "".join(lines[3:])
    for shown in ("uncertain", "max_f1 0.4321", "1,234", "Fewer than 60 words."):
        assert shown in lines[1]


def test_standard_input_is_one_text_and_programs_get_every_figure(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("from a pipe\n"))
    bench.api.on("POST", f"/runs/{RUN_ID}/predict", judging)
    assert bench.run("run", "predict", RUN_ID, "-", "--json") == 0
    assert bench.api.sent() == {"texts": ["from a pipe\n"]}
    assert json.loads(capsys.readouterr().out) == [prediction("from a pipe\n")]


def test_nothing_to_judge_is_refused_before_anybody_is_asked(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.run("run", "predict", RUN_ID) != 0
    assert "--text" in capsys.readouterr().err
    assert bench.api.requests == []


def test_a_file_that_is_no_text_is_named(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "image.png").write_bytes(b"\xff\xd8")
    assert bench.run("run", "predict", RUN_ID, str(tmp_path / "image.png")) != 0
    err = capsys.readouterr().err
    assert "image.png cannot be read as UTF-8 text" in err
    assert bench.api.requests == []


def test_evaluations_of_a_detector_show_the_threshold_in_use_first(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    worse = {"run_id": JOB_ID, "theirs": 0.95, "ours": 0.9, "difference": -0.05, "regression": True}
    rows = [detector_evaluation(comparison=worse), detector_evaluation(split="external")]
    bench.api.on("GET", f"/runs/{RUN_ID}/eval", {"run_id": RUN_ID, "data": rows, "jobs": []})
    assert bench.run("run", "evaluations", RUN_ID) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("test")
    for shown in ("0.9000 [0.800, 1.000]", "max_f1", "0.4321", "0.0125", "-0.0500 ROC-AUC, regression"):
        assert shown in lines[1]
    assert lines[2].split()[:2] == ["half", "0.5000"]
    assert "regression" not in lines[2]
    assert lines[3].startswith("external")
    assert "regression" not in lines[3]
