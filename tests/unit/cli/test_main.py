"""Global options, exit codes, what a mistake looks like, what --help costs."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from model_trainer.cli.commands import run
from model_trainer.cli.main import build, hoist
from model_trainer.core.errors import AppError, ErrorCode
from tests.unit.cli.bench import Bench
from tests.unit.client.fake_api import RUN_ID, page, problem, run_view

HEAVY = (
    "torch",
    "transformers",
    "sklearn",
    "tokenizers",
    "numpy",
    "pydantic",
    "httpx",
    "fastapi",
    "redis",
    "discord",
    "aiohttp",
    "asyncio",
)


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from model_trainer.__main__ import main\n"
        "sys.argv = ['model-trainer', '--help']\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert ended.code == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stderr.strip() == "[]"
    for name in (
        "up",
        "serve",
        "worker",
        "inference",
        "maintenance",
        "discord",
        "rebuild",
        "demo",
        "doctor",
        "openapi",
        "tokenizer",
        "run",
        "artifact",
        "config",
    ):
        assert name in ended.stdout


@pytest.mark.parametrize(
    "group",
    [["run"], ["tokenizer"], ["artifact"], ["config"], ["run", "train", "--help"], ["demo", "--help"]],
)
def test_each_group_and_command_has_help(
    bench: Bench, group: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.run(*group) in (0, 2)
    assert "Usage" in "".join(capsys.readouterr())


def test_the_program_starts_as_a_module(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["model-trainer", "openapi", "--bogus"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("model_trainer", run_name="__main__")
    assert ended.value.code == 2
    assert "--bogus" in capsys.readouterr().err


def test_the_program_does_nothing_when_it_is_only_imported() -> None:
    assert "main" in runpy.run_module("model_trainer", run_name="imported")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--api-url", "http://one.test", "--api-key", "k", "run", "list", "--json"],
        ["run", "--api-url=http://one.test", "list", "--json", "--api-key=k"],
    ],
)
def test_global_options_may_stand_anywhere(
    bench: Bench, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    bench.api.on("GET", "/runs", page(run_view()))
    assert bench.run(*arguments) == 0
    assert bench.urls == ["http://one.test"]
    assert bench.keys == ["k"]
    assert json.loads(capsys.readouterr().out)[0]["run_id"] == RUN_ID


def test_hoisting_stops_at_two_dashes_and_survives_a_missing_value() -> None:
    assert hoist(["a", "--json", "--", "--json"]) == ["--json", "a", "--", "--json"]
    assert hoist(["a", "--api-key"]) == ["--api-key", "a"]


def test_address_and_key_come_from_the_environment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_BASE_URL", "http://env.test")
    monkeypatch.setenv("SECURITY__API_KEY", "from-env")
    bench.api.on("GET", "/runs", page())
    assert bench.run("run", "list") == 0
    assert (bench.urls, bench.keys) == (["http://env.test"], ["from-env"])


def test_the_key_in_dot_env_is_used_and_can_be_left_aside(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SECURITY__API_KEY=from-file\n")
    bench.api.on("GET", "/runs", page())
    assert bench.run("run", "list") == 0
    assert bench.run("run", "list", "--env-file", "") == 0
    assert bench.keys == ["from-file", None]


def test_the_address_in_dot_env_is_used_unless_the_environment_or_an_option_name_another(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.api.on("GET", "/runs", page())
    assert bench.run("run", "list") == 0
    (tmp_path / ".env").write_text("API_BASE_URL=http://file.test\n")
    assert bench.run("run", "list") == 0
    assert bench.run("run", "list", "--env-file", "") == 0
    monkeypatch.setenv("API_BASE_URL", "http://env.test")
    assert bench.run("run", "list") == 0
    assert bench.run("run", "list", "--api-url", "http://option.test") == 0

    default = "http://127.0.0.1:8000"
    assert bench.urls == [default, "http://file.test", default, "http://env.test", "http://option.test"]


def test_settings_are_read_only_where_address_or_key_are_left_to_them(bench: Bench) -> None:
    bench.settings_fault = AppError(ErrorCode.CONFIG_INVALID, "Settings are not valid.")
    bench.api.on("GET", "/runs", page())

    assert bench.run("run", "list", "--api-url", "http://a.test", "--api-key", "") == 0
    assert bench.run("run", "list", "--api-url", "http://a.test") == 1
    assert bench.run("run", "list", "--api-key", "k") == 1
    assert bench.keys == [""]


def test_a_refusal_is_one_line_its_fields_and_the_request_id(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = [
        {"pointer": "/max_steps", "message": "must be positive"},
        {"pointer": "", "message": "nothing else"},
    ]
    bench.api.on(
        "POST", "/runs/train", problem(422, "CONFIG_INVALID", "The request does not fit.", errors=faults)
    )
    assert bench.run("run", "train", "--family", "gpt2") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0] == "error CONFIG_INVALID: The request does not fit."
    assert "  /max_steps: must be positive" in lines
    assert "  /: nothing else" in lines
    assert lines[-1] == "  request_id: req-1"
    assert len(lines) == 4


def test_an_api_that_is_away_is_explained(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.api.on("GET", f"/runs/{RUN_ID}", httpx.ConnectError("refused"))
    assert bench.run("run", "show", RUN_ID) == 1
    assert "model-trainer up" in capsys.readouterr().err


def test_a_fault_of_the_disk_is_explained(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("openapi", "--output", "no/such/folder/openapi.json") == 1
    assert "no/such/folder" in capsys.readouterr().err


def test_wrong_usage_ends_with_two(bench: Bench) -> None:
    assert bench.run("run", "show") == 2
    assert bench.run("nonsense") == 2


def test_a_defect_keeps_its_stack() -> None:
    with pytest.raises(TypeError, match="without its ways"):
        build()(args=["run", "list"], obj=3)
    with pytest.raises(TypeError, match="without its root"):
        run.group()(args=["show", RUN_ID], obj=3)
