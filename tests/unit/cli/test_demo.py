"""The demo against a scripted API: what it asks for, what it tells, that it always stops what it started."""

import json
from pathlib import Path

import httpx
import pytest

from model_trainer.cli.demo import (
    STEPS,
    DemoPlan,
    demo_environment,
    first_sample,
    is_own_name,
    leave,
    run_plan,
    text_of,
)
from model_trainer.core.errors import AppError, ErrorCode
from tests.unit.cli.bench import Bench
from tests.unit.cli.test_demo_corpus import small_library
from tests.unit.client.fake_api import RUN_ID, TOKENIZER_ID, event_stream, problem, run_view, tokenizer_view

SAMPLE = {"prompt": "def ", "text": "main(): \x1b[31m pass", "seed": 42, "temperature": 0.8}
EVALUATION = {
    "evaluation_id": RUN_ID,
    "split": "validation",
    "metrics": {"loss": 2.5, "perplexity": 12.18, "bits_per_byte": 1.9, "accuracy": 0.4},
}


def scripted(bench: Bench, **run_changes: object) -> Bench:
    """An API on which everything goes well, but for `run_changes`."""

    def done(_request: httpx.Request) -> httpx.Response:
        return event_stream((None, "done", {"status": "completed"}))

    api = bench.api
    api.on("GET", "/healthz", {}).on("GET", "/readyz", problem(503, "SERVICE_UNAVAILABLE", "not yet"), {})
    api.on("POST", "/tokenizers/train", httpx.Response(202, json=tokenizer_view(status="queued")))
    api.on("GET", f"/runs/{TOKENIZER_ID}/events", done)
    api.on(
        "GET", f"/runs/{TOKENIZER_ID}", run_view(run_id=TOKENIZER_ID, kind="tokenizer", status="completed")
    )
    api.on("GET", f"/tokenizers/{TOKENIZER_ID}", tokenizer_view(stats={"bytes_per_token": 3.25}))
    api.on("POST", "/runs/train", httpx.Response(202, json=run_view(status="queued")))
    api.on("GET", f"/runs/{RUN_ID}/events", done)
    api.on("GET", f"/runs/{RUN_ID}", run_view(**{"status": "completed"} | run_changes))
    api.on("GET", f"/runs/{RUN_ID}/eval", {"run_id": RUN_ID, "data": [EVALUATION]})
    api.on(
        "GET",
        f"/artifacts/models/{RUN_ID}/download",
        httpx.Response(200, content=f"{json.dumps(SAMPLE)}\n".encode()),
    )
    return bench


def plan_in(folder: Path) -> DemoPlan:
    return DemoPlan(family="gpt2", state=folder / "state", library=small_library(folder / "library"), steps=7)


def test_the_demo_trains_a_tokenizer_and_a_model_and_tells_what_came_out(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted(bench)
    run_plan(bench.session(), plan_in(tmp_path), afterwards=leave, platform="linux")
    tokenizer_order, run_order = [json.loads(r.content) for r in bench.api.requests if r.method == "POST"]
    assert tokenizer_order["corpus_path"] == run_order["corpus_path"] == "standard-library"
    assert run_order["tokenizer_id"] == TOKENIZER_ID
    assert run_order["max_steps"] == 7
    captured = capsys.readouterr()
    for part in ("2.5000", "12.1800", "1.9000", "3.2500"):
        assert part in captured.out
    for line in (
        f"The model:     {tmp_path / 'state' / 'artifacts' / 'models' / RUN_ID}",
        f"  model-trainer up --state {tmp_path / 'state'}",
        f"  curl http://127.0.0.1:8000/runs/{RUN_ID}",
    ):
        assert line in captured.err.splitlines()
    assert "\x1b" not in captured.out
    assert bench.doors.log == ["up", "down"]
    assert captured.err.endswith("nothing is left running.\n")


def test_its_processes_know_nothing_of_other_settings(bench: Bench, tmp_path: Path) -> None:
    bench.env |= {
        "PATH": "/bin",
        "APP__DATA_ROOT": "/elsewhere",
        "SECURITY__API_KEY": "k",
        "RQ__QUEUE_NAME": "q",
    }
    run_plan(scripted(bench).session(), plan_in(tmp_path), afterwards=leave, platform="linux")
    stack = bench.doors.stacks[0]
    assert stack.with_redis
    assert stack.env["PATH"] == "/bin"
    assert stack.env["APP__DATA_ROOT"] == str(tmp_path / "state" / "corpus")
    assert stack.env["REDIS_URL"] == "unix:///made-up.sock"
    assert not {"SECURITY__API_KEY", "RQ__QUEUE_NAME"} & stack.env.keys()
    assert all("--env-file" in process.argv for process in stack.processes)
    assert (tmp_path / "state" / "corpus" / "standard-library" / "prose.txt").is_file()


@pytest.mark.parametrize(
    ("changes", "code", "part"),
    [
        (
            {"status": "failed", "problem": {"code": "DIVERGED", "message": "The loss is NaN."}},
            ErrorCode.DIVERGED,
            "NaN",
        ),
        ({"status": "failed", "problem": {"code": "NEW_ONE", "message": "Hm."}}, ErrorCode.INTERNAL, "Hm."),
        ({"status": "cancelled", "message": "Cancelled by somebody."}, ErrorCode.INTERNAL, "by somebody"),
    ],
)
def test_a_run_that_does_not_complete_ends_the_demo_and_the_services(
    bench: Bench, tmp_path: Path, changes: dict[str, object], code: ErrorCode, part: str
) -> None:
    with pytest.raises(AppError) as caught:
        run_plan(scripted(bench, **changes).session(), plan_in(tmp_path), afterwards=leave, platform="linux")
    assert caught.value.code is code
    assert part in caught.value.message
    assert bench.doors.log == ["up", "down"]


def test_windows_is_sent_to_docker(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(AppError, match="Docker Desktop"):
        run_plan(bench.session(), plan_in(tmp_path), afterwards=leave, platform="win32")
    assert bench.api.requests == []


def test_the_command_keeps_the_services_until_ctrl_c_if_asked(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted(bench)
    assert bench.run("demo", "--model", "char_lstm", "--keep", "--json") == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["family"] == "char_lstm"
    assert report["state"] == ".demo"
    assert "stay up" in captured.err
    run_order = json.loads([r for r in bench.api.requests if r.method == "POST"][1].content)
    assert run_order["max_steps"] == STEPS["char_lstm"]
    corpus = tmp_path / ".demo" / "corpus" / "standard-library"
    assert sum(file.stat().st_size for file in corpus.iterdir()) > 2_000_000


def test_there_may_be_no_sample() -> None:
    assert first_sample(b"") == {}
    assert text_of({"prompt": 3}, "prompt") == ""


def test_foreign_variables_pass_and_ours_do_not(tmp_path: Path) -> None:
    assert is_own_name("APP__X")
    assert not is_own_name("APPLE")
    made = demo_environment(tmp_path, {"HOME": "/me", "log_level": "DEBUG"})
    assert made["HOME"] == "/me"
    assert "log_level" not in made
    assert made["APP_ENV"] == "dev"
