"""Pausing, resuming and branching off from the command line."""

import httpx
import pytest

from tests.unit.cli.bench import Bench
from tests.unit.cli.test_ordering import watched
from tests.unit.client.fake_api import RUN_ID, TOKENIZER_ID, run_view
from tests.unit.client.test_steering import CHECKPOINT, RUN


def test_a_pause_says_how_to_go_on(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.api.on("POST", f"{RUN}/pause", run_view(status="paused", checkpoint={"step": 20}))

    assert bench.run("run", "pause", RUN_ID) == 0

    shown = capsys.readouterr()
    assert "step 20" in shown.out
    assert f"model-trainer run resume {RUN_ID}" in shown.err


def test_a_resume_takes_a_step_and_can_stay_to_watch(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.api.on("POST", f"{RUN}/resume", run_view(status="queued"))
    watched(bench.api)

    assert bench.run("run", "resume", RUN_ID, "--step", "20") == 0
    assert bench.api.sent() == {"step": 20}
    assert f"model-trainer run watch {RUN_ID}" in capsys.readouterr().err
    assert bench.run("run", "resume", RUN_ID, "--watch") == 0
    assert "completed" in capsys.readouterr().out
    assert bench.run("run", "resume", RUN_ID, "--step", "-1") == 2


def test_checkpoints_are_a_table(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    torn = {
        **CHECKPOINT,
        "step": 30,
        "is_best": False,
        "is_last": False,
        "problem": "it is torn",
        "saved_at": None,
    }
    bench.api.on("GET", f"{RUN}/checkpoints", {"run_id": RUN_ID, "data": [torn, CHECKPOINT]})

    assert bench.run("run", "checkpoints", RUN_ID) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[0] == "30"
    assert "passed over: it is torn" in lines[1]
    assert "best, last" in lines[2]
    assert "1.5000" in lines[2]


def test_a_training_begins_from_another_one(bench: Bench) -> None:
    bench.api.on("POST", "/runs/train", httpx.Response(202, json=run_view(status="queued")))
    common = ("run", "train", "--family", "gpt2", "--corpus", "books", "--tokenizer", TOKENIZER_ID)

    assert bench.run(*common, "--init-from", f"{RUN_ID}@20", "--keep-optimizer") == 0
    assert bench.api.sent()["init_from"] == {"run_id": RUN_ID, "step": 20, "keep_optimizer": True}
    assert bench.run(*common, "--init-from", RUN_ID, "--checkpoint-every-seconds", "30") == 0
    assert bench.api.sent()["init_from"] == {"run_id": RUN_ID}
    assert bench.api.sent()["checkpoint"] == {"every_seconds": 30.0}
    sent = len(bench.api.requests)
    for wrong in ("@", "@x", "@-1", "@1.5"):
        assert bench.run(*common, "--init-from", RUN_ID + wrong) == 1
    assert len(bench.api.requests) == sent
