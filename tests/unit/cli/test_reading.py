"""Commands that show what the API says."""

import json

import pytest

from tests.unit.cli.bench import Bench
from tests.unit.client.fake_api import RUN_ID, TOKENIZER_ID, event_stream, page, run_view, tokenizer_view

PROBLEM = {
    "code": "DATA_ENCODING_INVALID",
    "message": "a.txt is not UTF-8.",
    "faults": [{"pointer": "/corpus_path", "message": "offset 17"}],
    "exception": "UnicodeDecodeError",
}


def test_runs_are_listed_as_a_table(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    done = run_view(
        status="completed", metrics={"validation_loss": 1.25}, progress={"fraction": 0.5}, created_at=None
    )
    bench.api.on("GET", "/runs", page(run_view(), done, run_view(metrics={}, progress={})))
    assert bench.run("run", "list", "--status", "running", "--family", "gpt2", "--label", "team=blue") == 0
    out = capsys.readouterr().out
    assert RUN_ID in out
    for shown in ("gpt2", "3/10", "2.5000", "1.2500", "50%", "2026-11-21 01:02:03"):
        assert shown in out
    assert dict(bench.api.requests[0].url.params) == {
        "limit": "20",
        "status": "running",
        "family": "gpt2",
        "metadata[team]": "blue",
    }


def test_a_list_ends_at_its_limit_over_pages(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.api.on("GET", "/runs", page(run_view(), run_view(), has_more=True, last_id=RUN_ID))
    assert bench.run("run", "list", "--limit", "3", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 3
    assert len(bench.api.requests) == 2


def test_a_label_filter_needs_a_value(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("run", "list", "--label", "team") == 1
    assert "KEY=VALUE" in capsys.readouterr().err


def test_a_failed_run_shows_why(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.api.on("GET", f"/runs/{RUN_ID}", run_view(status="failed", problem=PROBLEM))
    assert bench.run("run", "show", RUN_ID) == 0
    out = capsys.readouterr().out
    for shown in (
        "failed",
        "DATA_ENCODING_INVALID: a.txt is not UTF-8.",
        "offset 17",
        "UnicodeDecodeError",
        "team=blue",
    ):
        assert shown in out


def test_a_run_that_was_tried_more_than_once_shows_its_last_attempts_and_what_ended_them(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = {"code": "WORKER_LOST", "message": "The worker died.", "exception": None}
    failed = {"code": "INTERNAL", "message": "A fault.", "exception": "KeyError: 'x'"}
    problems = [None, None, None, lost, failed, None]
    attempts = [
        {
            "owner": f"w{number}",
            "started_at_ms": 1_795_223_000_000,
            "ended_at_ms": None if number == 6 else 1_795_223_060_000,
            "problem": problem,
        }
        for number, problem in enumerate(problems, start=1)
    ]
    bench.api.on(
        "GET", f"/runs/{RUN_ID}", run_view(attempts=attempts), run_view(attempts=attempts[:1]), run_view()
    )

    assert bench.run("run", "show", RUN_ID) == 0

    out = capsys.readouterr().out
    assert "attempt 1 " not in out
    assert "w2" in out
    assert "2026-11-21 01:03:20 to 2026-11-21 01:04:20  w4  WORKER_LOST: The worker died.\n" in squeezed(out)
    assert "w5  INTERNAL: A fault. (KeyError: 'x')" in out
    assert "attempt 6" in out
    assert "to now  w6" in out
    for _ in range(2):  # one attempt, or none, is not worth a line
        assert bench.run("run", "show", RUN_ID) == 0
        assert "attempt" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("view", "shown", "hidden"),
    [
        ({"status": "paused", "pause_requested": True}, "run resume", "asked for"),
        ({"status": "failed", "progress": {"fraction": 1.0}}, "run resume", "100%"),
        ({"status": "cancelled", "cancel_requested": True}, "run resume", "asked for"),
        ({"status": "cancelled", "kind": "tokenizer"}, "cancelled", "run resume"),
        ({"status": "running", "progress": {"fraction": 0.5}}, "50%", "run resume"),
        ({"status": "running", "pause_requested": True}, "asked for  pause", "run resume"),
        ({"status": "cancelling", "cancel_requested": True}, "asked for  cancel", "run resume"),
    ],
)
def test_a_run_shows_what_was_asked_of_it_and_how_it_can_go_on(
    bench: Bench, capsys: pytest.CaptureFixture[str], view: dict[str, object], shown: str, hidden: str
) -> None:
    bench.api.on("GET", f"/runs/{RUN_ID}", run_view(**view))
    assert bench.run("run", "show", RUN_ID) == 0
    out = capsys.readouterr().out
    assert shown in out
    assert hidden not in out


def squeezed(out: str) -> str:
    """Lines without the blanks at their ends."""
    return "".join(f"{line.rstrip()}\n" for line in out.splitlines())


def test_a_terminal_is_not_moved_by_what_others_wrote(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.api.on("GET", f"/runs/{RUN_ID}", run_view(message="\x1b]0;owned\x07 [red]not markup[/red]"))
    assert bench.run("run", "show", RUN_ID) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[red]not markup[/red]" in out


def test_tokenizers_are_listed_and_shown(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    waiting = tokenizer_view(status="queued", vocab_size=None, stats=None)
    bench.api.on("GET", "/tokenizers", page(tokenizer_view(), waiting))
    bench.api.on(
        "GET",
        f"/tokenizers/{TOKENIZER_ID}",
        tokenizer_view(),
        tokenizer_view(status="failed", problem=PROBLEM),
    )
    assert bench.run("tokenizer", "list", "--method", "bpe") == 0
    assert bench.run("tokenizer", "show", TOKENIZER_ID) == 0
    assert bench.run("tokenizer", "show", TOKENIZER_ID) == 0
    assert bench.run("tokenizer", "show", TOKENIZER_ID, "--json") == 0
    out = capsys.readouterr().out
    for shown in (TOKENIZER_ID, "bpe", "300", "0.2500", "holdout", "DATA_ENCODING_INVALID"):
        assert shown in out
    assert json.loads(out.splitlines()[-1])["status"] == "failed"


def test_families_are_listed_with_what_is_missing(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    kinds = [
        {"name": "bpe", "available": True},
        {"name": "sentencepiece", "available": False, "extra": "sentencepiece"},
    ]
    family = {"name": "gpt2", "title": "GPT-2", "supported_tokenizers": ["bpe", "char"]}
    bench.api.on("GET", "/families", {"families": [family], "tokenizers": kinds})
    assert bench.run("families") == 0
    out = capsys.readouterr().out
    assert "bpe, char" in out
    assert 'pip install "model-trainer[sentencepiece]"' in out


def test_logs_are_json_lines_in_either_mode(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.api.on("GET", f"/runs/{RUN_ID}/logs", {"run_id": RUN_ID, "data": [{"event": "a"}, {"event": "b"}]})
    bench.api.on(
        "GET",
        f"/runs/{RUN_ID}/logs/stream",
        event_stream((9, "log", {"event": "c"}), (None, "done", {"status": "x"})),
    )
    assert bench.run("run", "logs", RUN_ID, "--tail", "2") == 0
    assert bench.run("run", "logs", RUN_ID, "--follow", "--json") == 0
    assert [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()] == ["a", "b", "c"]


def test_evaluations_are_shown_with_what_they_were_compared_to(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = {"loss": 1.5, "perplexity": 4.48, "bits_per_byte": 0.75, "accuracy": None}
    worse = {"run_id": RUN_ID, "theirs": 0.7, "ours": 0.75, "difference": 0.05, "regression": True}
    rows = [
        {"evaluation_id": RUN_ID, "split": "validation", "metrics": metrics, "comparison": worse},
        {
            "evaluation_id": RUN_ID,
            "split": "test",
            "metrics": metrics,
            "comparison": worse | {"regression": False},
        },
        {"evaluation_id": RUN_ID, "split": "external", "metrics": metrics, "comparison": None},
    ]
    bench.api.on("GET", f"/runs/{RUN_ID}/eval", {"run_id": RUN_ID, "data": rows, "jobs": []})
    assert bench.run("run", "evaluations", RUN_ID) == 0
    out = capsys.readouterr().out
    for shown in (
        "validation",
        "external",
        "0.7500",
        "+0.0500 bits/byte, regression",
        "bits/byte, no regression",
    ):
        assert shown in out
