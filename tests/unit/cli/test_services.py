"""Commands that run something, and the embedded stack as `up` puts it together."""

import socket
import sys
import threading
from pathlib import Path

import pytest

from model_trainer.cli.stack import Address, free_address, stack_processes, wait_until_ready
from model_trainer.core.errors import AppError, ErrorCode
from tests.unit.cli.bench import Bench
from tests.unit.client.fake_api import FakeApi, problem

READY = {"status": "ready", "workers": {}, "free_disk_bytes": 1}


@pytest.fixture
def port() -> int:
    return free_address("127.0.0.1", 0).port


def test_each_service_is_one_command(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RQ__SHORT_QUEUE_NAME", "quick")
    workers = ("worker", "worker --queue short", "worker --queue gpu", "inference")
    for line in ("serve --port 81", *workers, "maintenance"):
        assert bench.run(*line.split()) == 0
    worked = ["work training", "work quick", "work gpu", "answer"]
    assert bench.doors.log == ["serve 127.0.0.1:81", *worked, "maintain"]


def test_the_discord_bot_is_told_where_the_api_is_and_where_redis_is(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("API_BASE_URL=http://api.test:81\nSECURITY__API_KEY=hush\n")
    (tmp_path / "kept").mkdir()

    assert bench.run("discord") == 0
    assert bench.run("discord", "--state", "kept", "--api-url", "http://other.test", "--api-key", "k") == 0

    assert bench.doors.log == [
        "discord redis://127.0.0.1:6379/0 http://api.test:81 hush",
        "discord unix:///made-up.sock http://other.test k",
    ]
    assert [stack.state for stack in bench.doors.stacks] == [Path("kept")]


def test_a_state_folder_that_is_not_there_is_no_place_for_the_bot(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.run("discord", "--state", "nowhere") == 1
    assert "There is no folder nowhere" in capsys.readouterr().err
    assert bench.doors.log == []


def test_openapi_is_printed_written_and_checked(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.run("openapi") == 0
    assert capsys.readouterr().out == bench.doors.document
    assert bench.run("openapi", "--check", "openapi.json") == 1
    assert bench.run("openapi", "--output", "openapi.json") == 0
    assert (tmp_path / "openapi.json").read_text() == bench.doors.document
    assert bench.run("openapi", "--check", "openapi.json") == 0
    bench.doors.document = "{}\n"
    assert bench.run("openapi", "--check", "openapi.json") == 1
    assert "model-trainer openapi --output openapi.json" in capsys.readouterr().err


def test_up_runs_the_stack_until_it_is_told_to_stop(
    bench: Bench, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.api.on("GET", "/healthz", {"status": "ok"}).on("GET", "/readyz", READY)
    bench.env["MINE"] = "kept"
    assert bench.run("up", "--port", str(port)) == 0
    stack = bench.doors.stacks[0]
    assert (stack.state, stack.with_redis) == (Path(".state"), True)
    assert stack.env == {"MINE": "kept", "REDIS_URL": "unix:///made-up.sock"}
    names = [process.name for process in stack.processes]
    assert names == ["api", "worker", "worker-short", "inference", "maintenance"]
    assert stack.processes[0].argv[1:] == (
        *("-m", "model_trainer", "--env-file", ".env"),
        *("serve", "--host", "127.0.0.1", "--port", str(port)),
    )
    assert stack.processes[0].argv[0] == sys.executable
    assert bench.doors.log == ["up", "down"]
    err = capsys.readouterr().err
    assert f"Ready: http://127.0.0.1:{port}" in err
    assert "worker is up (process 101)" in err
    assert err.endswith("Everything has stopped.\n")


def test_up_uses_a_redis_that_somebody_named(
    bench: Bench, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.api.on("GET", "/healthz", {}).on("GET", "/readyz", READY)
    monkeypatch.setenv("REDIS_URL", "rediss://far.test:6380/0")
    bench.env["REDIS_URL"] = "rediss://far.test:6380/0"
    assert bench.run("up", "--port", str(port)) == 0
    assert not bench.doors.stacks[0].with_redis
    assert bench.doors.stacks[0].env["REDIS_URL"] == "rediss://far.test:6380/0"


def test_up_with_a_state_folder_keeps_everything_in_it(bench: Bench, port: int, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("REDIS_URL=redis://elsewhere:1/0\nAPP__DATA_ROOT=/elsewhere\n")
    bench.api.on("GET", "/healthz", {}).on("GET", "/readyz", READY)
    assert bench.run("up", "--port", str(port), "--state", "mine") == 0
    stack = bench.doors.stacks[0]
    assert stack.state == Path("mine")
    assert stack.env["APP__DATA_ROOT"] == str(tmp_path / "mine" / "corpus")
    assert stack.env["APP__ARTIFACTS_ROOT"] == str(tmp_path / "mine" / "artifacts")
    assert stack.env["REDIS_URL"] == "unix:///made-up.sock"
    assert stack.processes[1].argv[3:5] == ("--env-file", "")
    assert (tmp_path / "mine" / "corpus").is_dir()


def test_up_stopped_before_it_is_ready_just_stops(bench: Bench, port: int) -> None:
    bench.api.on("GET", "/healthz", {}).on("GET", "/readyz", problem(503, "SERVICE_UNAVAILABLE", "not yet"))
    assert bench.run("up", "--port", str(port)) == 0
    assert bench.doors.log == ["up", "down"]


def test_a_port_that_is_taken_is_told_before_anything_starts(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        assert bench.run("up", "--port", str(taken)) == 1
    assert "--port" in capsys.readouterr().err
    assert bench.doors.stacks == []


def test_services_that_do_not_get_ready_are_given_up() -> None:
    api = FakeApi().on("GET", "/readyz", problem(503, "SERVICE_UNAVAILABLE", "not yet"))
    with api.client() as client, pytest.raises(AppError) as caught:
        wait_until_ready(client, stopped=lambda: False, sleep=lambda _s: None, timeout_seconds=0.01)
    assert caught.value.code is ErrorCode.STACK_FAILED
    assert "not yet" in caught.value.message


def test_services_that_get_ready_a_moment_too_late_are_told_so() -> None:
    api = FakeApi().on("GET", "/readyz", problem(503, "SERVICE_UNAVAILABLE", "not yet"), READY)
    with api.client() as client, pytest.raises(AppError, match="too slow"):
        wait_until_ready(client, stopped=lambda: False, sleep=lambda _s: None, timeout_seconds=0.0)


def test_readiness_is_asked_again_until_it_is_there() -> None:
    api = FakeApi().on("GET", "/readyz", problem(503, "SERVICE_UNAVAILABLE", "not yet"), READY)
    with api.client() as client:
        assert wait_until_ready(client, stopped=threading.Event().is_set, sleep=lambda _s: None)


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:1"), ("::", "http://127.0.0.1:1"), ("::1", "http://[::1]:1")],
)
def test_an_address_is_found_from_this_machine(host: str, url: str) -> None:
    assert Address(host=host, port=1).url == url


def test_workers_have_longer_to_go_than_their_jobs_have_to_save(
    bench: Bench, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APP__STOP_GRACE_SECONDS", "100")
    bench.api.on("GET", "/healthz", {}).on("GET", "/readyz", READY)
    assert bench.run("up", "--port", str(port)) == 0
    graces = {process.name: process.grace_seconds for process in bench.doors.stacks[0].processes}
    workers = {"worker": 115.0, "worker-short": 115.0, "inference": 115.0}
    assert graces == {"api": 60.0, **workers, "maintenance": 60.0}


def test_output_can_go_into_files() -> None:
    processes = stack_processes(
        Address("127.0.0.1", 1), is_api_up=lambda: True, env_file=None, log_folder=Path("logs")
    )
    assert [process.log_file for process in processes][:2] == [Path("logs/api.log"), Path("logs/worker.log")]
