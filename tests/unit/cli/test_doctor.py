"""What the doctor finds, and that it fails only for what is essential."""

import json
from pathlib import Path

import pytest

from model_trainer.cli import doctor
from model_trainer.cli.doctor import Finding
from model_trainer.core.compute.machine import hostname
from model_trainer.core.config import load_settings
from model_trainer.core.errors import AppError, ErrorCode
from tests.unit.cli.bench import Bench
from tests.unit.client.fake_api import Answer, problem

CPU_TORCH = json.dumps({"version": "2.13.0+cpu", "cuda": None, "gpus": []})


def findings(bench: Bench, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, str]]:
    """All findings by subject."""
    bench.programs.append((0, f"a warning\n{CPU_TORCH}\n"))
    bench.run("doctor", "--json")
    return {row["subject"]: row for row in json.loads(capsys.readouterr().out)}


def test_a_healthy_machine_is_told_so(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "corpus").mkdir()
    bench.programs.append((0, CPU_TORCH))
    assert bench.run("doctor") == 0
    out = capsys.readouterr().out
    for part in ("Python", "torch 2.13.0+cpu: CPU build", "TORCH=cuda", "answers at REDIS_URL", "data root"):
        assert part in out


def test_findings_are_json_for_programs(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    found = findings(bench, capsys)
    assert found["Python"]["state"] == "ok"
    assert found["data root"]["state"] == "note"
    assert "mkdir corpus" in found["data root"]["fix"]


def test_without_redis_and_without_a_server_it_fails(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.doors.redis_answers = False
    assert "valkey-server" in findings(bench, capsys)["Redis"]["found"]
    bench.doors.server = None
    bench.programs.append((0, CPU_TORCH))
    assert bench.run("doctor") == 1
    assert "No Redis server was found." in capsys.readouterr().out


@pytest.mark.parametrize(("token", "is_told"), [("", False), ("hush", True)])
def test_a_bot_that_is_set_up_is_told_how_to_find_the_redis_of_the_embedded_stack(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    token: str,
    is_told: bool,
) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", token)
    bench.doors.redis_answers = False

    found = findings(bench, capsys)["Redis"]

    assert (found["state"], "discord --state .state" in found["fix"]) == ("ok", is_told)


def test_wrong_settings_are_a_finding_and_end_the_tour(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.settings_fault = AppError(ErrorCode.CONFIG_INVALID, "Settings are not valid. RQ__QUEUE_NAME: bad")
    found = findings(bench, capsys)
    assert found["settings"]["state"] == "missing"
    assert "Redis" not in found


def test_too_little_disk_is_missing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("APP__MIN_FREE_DISK_BYTES", str(1 << 60))
    monkeypatch.setenv("APP__ARTIFACTS_ROOT", "not/there/yet")
    assert findings(bench, capsys)["disk"]["state"] == "missing"


def test_this_machine_has_a_name_of_its_own_or_the_one_it_was_given(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hostname() in findings(bench, capsys)["host id"]["found"]
    monkeypatch.setenv("APP__HOST_ID", "lab-7")
    assert "lab-7" in findings(bench, capsys)["host id"]["found"]


def test_locks_are_tried_where_the_runs_will_be(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = findings(bench, capsys)["run locks"]
    assert (found["state"], found["found"]) == ("ok", "flock works under runs")
    assert list(tmp_path.iterdir()) == []
    assert doctor.locks_exclude(tmp_path)
    assert not doctor.locks_exclude(tmp_path, lock=lambda _descriptor: None)


@pytest.mark.parametrize(
    ("trouble", "state", "part"),
    [
        (PermissionError(13, "Permission denied"), "missing", "Permission denied"),
        (ModuleNotFoundError("fcntl"), "note", "the lease alone"),
        (None, "missing", "keep nobody out"),
    ],
)
def test_locks_that_do_not_work_are_told(trouble: Exception | None, state: str, part: str) -> None:
    def exclude(_folder: Path) -> bool:
        if trouble is not None:
            raise trouble
        return False

    found = doctor.look_at_locks(load_settings(env_file=None), exclude=exclude)
    assert (found.state, part in found.found) == (state, True)


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, "local, under artifacts"),
        ({"STORE__KIND": "s3", "STORE__S3__BUCKET": "models"}, "s3, bucket models"),
        (
            {"STORE__KIND": "databank", "STORE__DATABANK__URL": "https://bank.test"},
            "databank at https://bank.test",
        ),
    ],
)
def test_the_artifact_store_is_asked_whether_it_can_be_worked_with(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    environment: dict[str, str],
    found: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    there = findings(bench, capsys)["artifact store"]
    bench.doors.store_fault = AppError(ErrorCode.STORE_UNAVAILABLE, "The store does not answer. Start it.")
    away = findings(bench, capsys)["artifact store"]

    assert (there["state"], there["found"], there["fix"]) == ("ok", found, "")
    assert (away["state"], away["found"]) == ("missing", found)
    assert away["fix"] == "The store does not answer. Start it."


@pytest.mark.parametrize(
    ("wanted", "state", "part"),
    [(None, "ok", "a quarter"), ("1073741824", "ok", "1.0 GiB"), ("3221225472", "note", "more than")],
)
def test_models_that_are_asked_cannot_take_more_memory_than_there_is(
    monkeypatch: pytest.MonkeyPatch, wanted: str | None, state: str, part: str
) -> None:
    if wanted is not None:
        monkeypatch.setenv("INFERENCE__MEMORY_BYTES", wanted)
    settings = load_settings(env_file=None)

    found = doctor.look_at_inference(settings, memory_bytes=2 << 30)
    unknown = doctor.look_at_inference(settings, memory_bytes=0)

    assert (found.state, part in found.found) == (state, True)
    assert unknown.state == "ok"


def test_an_old_python_is_missing() -> None:
    assert doctor.look_at_python((3, 10, 9)).state == "missing"


@pytest.mark.parametrize(
    ("platform", "state", "part"),
    [
        ("linux", "ok", "Linux"),
        ("darwin", "note", "macOS"),
        ("win32", "note", "Windows"),
        ("aix", "note", "aix"),
    ],
)
def test_each_system_is_told_what_it_lacks(platform: str, state: str, part: str) -> None:
    found = doctor.look_at_system(platform)
    assert (found.state, part in found.found) == (state, True)
    if platform == "win32":
        assert "Docker Desktop" in found.fix


def test_processor_and_memory_are_told() -> None:
    small = list(doctor.look_at_processor(frozenset({"avx512_bf16"}), memory_bytes=1 << 30))
    assert [one.state for one in small] == ["ok", "ok", "note"]
    assert "native on this CPU: precision auto uses it" in small[1].found
    large = list(doctor.look_at_processor(frozenset(), memory_bytes=64 << 30))
    assert [one.state for one in large] == ["ok", "ok", "ok"]
    assert "fp32" in large[1].found
    assert list(doctor.look_at_processor(frozenset(), memory_bytes=0))[2].state == "note"


def test_missing_packages_say_which_extra_brings_them() -> None:
    none = list(doctor.look_at_packages(lambda _name: None))
    assert [one.state for one in none] == ["missing", "note", "note", "note", "note"]
    assert '".[worker]"' in none[0].fix
    assert '".[parquet]"' in none[2].fix
    assert '".[s3]"' in none[3].fix
    assert '".[discord]"' in none[4].fix
    assert ["workers of one queue must be alike" in one.fix for one in none[1:]] == [True, True, True, False]
    assert [one.state for one in doctor.look_at_packages(lambda _name: "1.0")] == ["ok"] * 5


@pytest.mark.parametrize(
    ("answer", "state", "part"),
    [
        ({"families": [], "tokenizers": []}, "ok", "answers at http://127.0.0.1:8000 and takes the key"),
        (problem(401, "UNAUTHORIZED", "The key is wrong."), "missing", "The key is wrong."),
        (problem(503, "SERVICE_UNAVAILABLE", "Not yet."), "note", "Not yet."),
    ],
)
def test_the_api_is_asked_with_the_key(
    bench: Bench,
    capsys: pytest.CaptureFixture[str],
    answer: Answer | dict[str, object],
    state: str,
    part: str,
) -> None:
    bench.api.on("GET", "/families", answer)

    found = findings(bench, capsys)["API"]

    assert (found["state"], part in found["found"]) == (state, True)
    assert ("API_BASE_URL" in found["fix"]) == (state == "note")


def test_a_discord_bot_that_nobody_set_up_is_no_fault(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.doors.discord_fault = AppError(ErrorCode.CONFIG_INVALID, "It was asked.")

    found = findings(bench, capsys)["Discord bot"]

    assert (found["state"], "not set up" in found["found"]) == ("ok", True)


@pytest.mark.parametrize("variable", ["DISCORD_TOKEN", "DISCORD_OWNER_ID"])
@pytest.mark.parametrize(
    ("fault", "state", "part"),
    [
        (None, "ok", "trainer"),
        (AppError(ErrorCode.CONFIG_INVALID, "DISCORD_... is not set"), "missing", "is not set"),
        (AppError(ErrorCode.UNAUTHORIZED, "Discord does not accept it."), "missing", "does not accept"),
        (AppError(ErrorCode.SERVICE_UNAVAILABLE, "Discord cannot be reached."), "note", "cannot be reached"),
    ],
)
def test_discord_is_asked_who_the_bot_is_when_it_is_set_up(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    fault: AppError | None,
    state: str,
    part: str,
) -> None:
    monkeypatch.setenv(variable, "123")
    bench.doors.discord_fault = fault

    found = findings(bench, capsys)["Discord bot"]

    assert found["state"] == state
    assert part in found["found"] + found["fix"]


def test_a_bot_that_is_set_up_misses_its_library(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", "123")
    found = doctor.look_at_discord(bench.session(), load_settings(env_file=None), has_library=False)

    assert (found.state, '".[discord]"' in found.fix) == ("missing", True)


@pytest.mark.parametrize(
    ("answer", "state", "part"),
    [
        ((0, json.dumps({"version": "2.13.0", "cuda": "13.0", "gpus": ["H200"]})), "ok", "H200"),
        ((0, json.dumps({"version": "2.13.0", "cuda": "13.0", "gpus": []})), "note", "sees no GPU"),
        ((1, "Traceback\nImportError: libgomp"), "missing", "libgomp"),
        ((-9, ""), "missing", "no output"),
    ],
)
def test_torch_is_asked_in_a_process_of_its_own(answer: tuple[int, str], state: str, part: str) -> None:
    asked: list[list[str]] = []

    def run_program(command: object) -> tuple[int, str]:
        assert isinstance(command, list)
        asked.append(command)
        return answer

    found = doctor.look_at_torch(run_program)
    assert (found.state, part in found.found) == (state, True)
    assert asked[0][1] == "-c"
    assert ("workers of one queue must be alike" in found.fix) == (state == "ok")


def test_without_torch_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    found = doctor.look_at_torch(lambda _command: (1, ""))
    assert found == Finding("accelerator", "note", "torch is not installed")


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert doctor.version_of("no-such-package-at-all") is None
    assert doctor.version_of("pydantic") is not None
