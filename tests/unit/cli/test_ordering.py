"""Commands that order work, and the watching of it."""

import json
from pathlib import Path

import httpx
import pytest

from tests.unit.cli.bench import Bench
from tests.unit.client.fake_api import RUN_ID, TOKENIZER_ID, FakeApi, event_stream, run_view, tokenizer_view

EVALUATION_ID = "01JD0000000000000000000002"
STREAM: list[tuple[int | None, str, dict[str, object]]] = [
    (1, "state", {"seq": 1, "event": {"type": "trainer.job.started.v1", "epoch": 1}}),
    (
        2,
        "progress",
        {
            "seq": 2,
            "event": {
                "type": "trainer.job.progress.v1",
                "phase": "training",
                "message": "",
                "progress": {"fraction": 0.5},
            },
        },
    ),
    (3, "state", {"seq": 3, "event": {"type": "trainer.job.completed.v1", "message": "Done", "metrics": {}}}),
    (None, "done", {"run_id": RUN_ID, "status": "completed"}),
]


def watched(api: FakeApi, run_id: str = RUN_ID, **changes: object) -> None:
    """Scripts a run that ends."""
    api.on("GET", f"/runs/{run_id}/events", lambda _request: event_stream(*STREAM))
    api.on("GET", f"/runs/{run_id}", run_view(**{"run_id": run_id, "status": "completed"} | changes))


def test_options_become_the_body(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.api.on("POST", "/runs/train", httpx.Response(202, json=run_view(status="queued")))
    arguments = "--family gpt2 --corpus books --tokenizer T --size tiny --steps 5 --seq-len 64 --batch-size 2"
    more = "--learning-rate 0.001 --device cpu --precision fp32 --seed 7 --user-id me --label a=b --set dropout=0.1"
    assert bench.run("run", "train", *arguments.split(), *more.split()) == 0
    assert bench.api.sent() == {
        "model_family": "gpt2",
        "corpus_path": "books",
        "tokenizer_id": "T",
        "model_size": "tiny",
        "max_steps": 5,
        "max_seq_len": 64,
        "batch_size": 2,
        "optimizer": {"learning_rate": 0.001},
        "device": "cpu",
        "precision": "fp32",
        "seed": 7,
        "user_id": "me",
        "metadata": {"a": "b"},
        "dropout": 0.1,
    }
    captured = capsys.readouterr()
    assert RUN_ID in captured.out
    assert f"model-trainer run watch {RUN_ID}" in captured.err


def test_a_tokenizer_is_ordered_from_a_file(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.yaml").write_text("method: bpe\ncorpus_path: books\n")
    bench.api.on("POST", "/tokenizers/train", httpx.Response(202, json=tokenizer_view(status="queued")))
    more = ["--vocab-size", "300", "--min-frequency", "3", "--holdout", "0.2"]
    assert bench.run("tokenizer", "train", "t.yaml", *more, "--json") == 0
    assert bench.api.sent() == {
        "method": "bpe",
        "corpus_path": "books",
        "vocab_size": 300,
        "min_frequency": 3,
        "holdout_fraction": 0.2,
    }
    assert json.loads(capsys.readouterr().out)["tokenizer_id"] == TOKENIZER_ID


def test_an_evaluation_takes_the_validation_split_unless_told_otherwise(bench: Bench) -> None:
    answer = httpx.Response(202, json=run_view(run_id=EVALUATION_ID, kind="evaluate", status="queued"))
    bench.api.on("POST", f"/runs/{RUN_ID}/evaluate", answer)
    assert bench.run("run", "evaluate", RUN_ID) == 0
    assert bench.api.sent() == {"split": "validation"}
    assert bench.run("run", "evaluate", RUN_ID, "--corpus", "other", "--compare-to", EVALUATION_ID) == 0
    assert bench.api.sent() == {"corpus_path": "other", "compare_to_run_id": EVALUATION_ID}
    assert bench.run("run", "evaluate", RUN_ID, "--split", "test") == 0
    assert bench.api.sent() == {"split": "test"}


def test_a_run_is_cancelled(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.api.on("POST", f"/runs/{RUN_ID}/cancel", run_view(status="cancelling"))
    assert bench.run("run", "cancel", RUN_ID) == 0
    assert "cancelling" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "path", "answer"),
    [
        (["run", "train"], "/runs/train", run_view(status="queued")),
        (["tokenizer", "train"], "/tokenizers/train", tokenizer_view(tokenizer_id=RUN_ID)),
        (["run", "evaluate", EVALUATION_ID], f"/runs/{EVALUATION_ID}/evaluate", run_view()),
    ],
)
def test_watch_stays_until_the_end(
    bench: Bench,
    arguments: list[str],
    path: str,
    answer: dict[str, object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench.api.on("POST", path, httpx.Response(202, json=answer))
    watched(bench.api)
    assert bench.run(*arguments, "--watch") == 0
    captured = capsys.readouterr()
    assert "completed" in captured.out
    assert "training" in captured.err


def test_watching_as_json_prints_each_event_and_then_the_run(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    watched(bench.api)
    assert bench.run("run", "watch", RUN_ID, "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row.get("seq") for row in rows] == [1, 2, 3, None]
    assert rows[-1]["status"] == "completed"


def test_watching_a_run_that_fails_ends_with_one(bench: Bench) -> None:
    watched(bench.api, status="failed")
    assert bench.run("run", "watch", RUN_ID) == 1


def test_ctrl_c_detaches_and_says_how_to_come_back(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_request: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    bench.api.on("GET", f"/runs/{RUN_ID}/events", interrupted)
    assert bench.run("run", "watch", RUN_ID) == 130
    err = capsys.readouterr().err
    assert f"model-trainer run watch {RUN_ID}" in err
    assert f"model-trainer run cancel {RUN_ID}" in err
    assert all(request.method == "GET" for request in bench.api.requests)
