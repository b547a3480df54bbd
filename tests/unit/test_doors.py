"""The doors as they are installed, and the command that opens them."""

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis import Redis

from model_trainer.cli import ways
from model_trainer.cli.embedded import EmbeddedStack
from model_trainer.cli.session import Process
from model_trainer.cli.stack import free_address
from model_trainer.client import TrainerClient
from model_trainer.container import live
from model_trainer.core.config import Settings
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.doors import LiveDoors
from tests.contract.run_stores import new_run
from tests.e2e.discord_standin import StandIn, pointed_at
from tests.e2e.discord_world import OWNER_ID

PATIENCE_SECONDS = 30.0


class Logging:
    """Remembers how logging was to be set up."""

    def __init__(self) -> None:
        self.services: list[str] = []
        self.files: list[Path | None] = []

    def __call__(
        self, *, service: str, level: str, readable: bool, log_file: Path | None = None, quiet: bool = False
    ) -> None:
        self.services.append(f"{service} quietly" if quiet else service)
        self.files.append(log_file)


@pytest.fixture
def settings(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("REDIS_URL", redis_url)
    for name in ("ARTIFACTS_ROOT", "RUNS_ROOT", "LOGS_ROOT", "DATA_ROOT"):
        monkeypatch.setenv(f"APP__{name}", str(tmp_path / name.lower()))
    return ways.read_settings(None)


def eventually(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def ask_to_stop_once(ready: Callable[[], bool]) -> threading.Thread:
    """A SIGTERM to this process as soon as `ready` says so."""

    def wait_and_ask() -> None:
        eventually(ready)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=wait_and_ask)
    thread.start()
    return thread


def test_the_api_is_served_until_sigterm(settings: Settings) -> None:
    address = free_address("127.0.0.1", 0)
    answers: list[bool] = []

    def is_up() -> bool:
        with TrainerClient(address.url) as client:
            answers.append(client.is_alive())
        return answers[-1]

    lines = Logging()
    asking = ask_to_stop_once(is_up)
    LiveDoors(configure=lines).serve(settings, host=address.host, port=address.port)
    asking.join()
    assert answers[-1]
    assert lines.services == ["model-trainer"]


def test_maintenance_runs_until_sigterm(settings: Settings) -> None:
    before = signal.getsignal(signal.SIGTERM)
    lines = Logging()
    asking = ask_to_stop_once(lambda: signal.getsignal(signal.SIGTERM) is not before)
    LiveDoors(configure=lines).maintain(settings)
    asking.join()
    assert signal.getsignal(signal.SIGTERM) is before
    assert lines.services == ["model-trainer-cleanup"]


def test_runs_that_redis_has_lost_are_brought_back(settings: Settings) -> None:
    container = live(settings)
    run = new_run(spec={}, user_id=None)
    container.artifacts.keep_record(container.runs.submit(run, idempotency=None).record)
    with Redis.from_url(settings.redis_url.get_secret_value()) as client:
        client.flushall()
    lines = Logging()
    rebuilt = LiveDoors(configure=lines).rebuild(settings, adopt=False)
    assert [(one.run_id, one.fate) for one in rebuilt] == [(run.run_id, "restored")]
    assert container.runs.get(run.run_id).request_id == run.request_id
    assert lines.services == ["model-trainer-cli"]


def test_a_worker_works_until_sigterm_and_logs_to_a_file_of_its_own(settings: Settings) -> None:
    lines = Logging()
    asking = ask_to_stop_once(lambda: bool(live(settings).workers.alive()))
    LiveDoors(configure=lines).work(settings, queue="short")
    asking.join()
    assert lines.services == ["model-trainer-worker"]
    assert lines.files == [settings.app.logs_root / "worker-short.jsonl"]


def test_questions_are_answered_until_sigterm_and_logged_to_a_file_of_their_own(settings: Settings) -> None:
    lines = Logging()
    asking = ask_to_stop_once(lambda: bool(live(settings).workers.alive()))
    LiveDoors(configure=lines).answer(settings)
    asking.join()
    assert lines.services == ["model-trainer-worker"]
    assert lines.files == [settings.app.logs_root / "inference.jsonl"]


def test_the_description_needs_no_redis_and_is_the_same_each_time() -> None:
    first = LiveDoors().openapi()
    assert "/runs/train" in json.loads(first)["paths"]
    assert first == LiveDoors().openapi()


def test_a_clean_up_is_done_once_and_logged_to_a_file_of_its_own(settings: Settings) -> None:
    folder = settings.app.data_root / "corpus_cache"
    lines = Logging()

    removals = LiveDoors(configure=lines).clean_up(settings, "corpus-cache", dry_run=False)

    assert removals == ()
    assert not folder.exists()
    assert lines.services == ["model-trainer-cleanup quietly"]
    assert lines.files == [settings.app.logs_root / "cleanup.jsonl"]


def test_the_artifact_store_is_asked_whether_it_can_be_worked_with(
    settings: Settings, tmp_path: Path
) -> None:
    LiveDoors().check_store(settings)

    in_the_way = tmp_path / "a-file"
    in_the_way.write_text("")
    app = settings.app.model_copy(update={"artifacts_root": in_the_way})
    with pytest.raises(AppError) as caught:
        LiveDoors().check_store(settings.model_copy(update={"app": app}))
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE


def test_redis_is_asked_whether_it_answers(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    LiveDoors().ping_redis(settings)
    monkeypatch.setenv("REDIS_URL", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(AppError) as caught:
        LiveDoors().ping_redis(ways.read_settings(None))
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE


def test_the_server_of_the_embedded_stack_is_found() -> None:
    assert LiveDoors().find_redis_server().is_file()


def test_a_stack_brings_redis_and_processes_up_and_down(tmp_path: Path) -> None:
    lines = Logging()
    stack = LiveDoors(configure=lines).open_stack(tmp_path / "state", with_redis=True)
    mark = tmp_path / "mark"
    program = (
        f"import os, pathlib, time; pathlib.Path({str(mark)!r}).write_text(os.environ['SAY']); time.sleep(60)"
    )
    process = Process(name="p", argv=(sys.executable, "-c", program), is_ready=mark.exists, log_file=None)
    started: list[tuple[str, int]] = []
    with stack.running([process], env={"SAY": "hello"}, on_up=lambda *up: started.append(up)):
        with Redis.from_url(stack.redis_url) as client:
            assert client.ping()
        assert mark.read_text() == "hello"
    assert [name for name, _ in started] == ["redis", "p"]
    for _, pid in started:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert lines.services == ["model-trainer-cli"]


def test_a_door_that_is_told_nothing_else_logs_for_real(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, root = logging.getLogger("model_trainer"), logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(ours, "level", ours.level)
    LiveDoors().open_stack(tmp_path, with_redis=False)
    assert [type(handler) for handler in root.handlers] == [logging.StreamHandler]


def test_a_stack_without_redis_has_no_address_of_one(tmp_path: Path) -> None:
    stack = EmbeddedStack(tmp_path, with_redis=False)
    with pytest.raises(AppError):
        assert stack.redis_url
    with stack.running([], env={}, on_up=lambda *_: None):
        assert (tmp_path / "stack.lock").exists()


def test_the_installed_command_takes_the_real_ways() -> None:
    real = ways.real_ways(LiveDoors())
    assert isinstance(real.doors, LiveDoors)
    assert real.environment()["PATH"]
    with real.connect("http://127.0.0.1:1", "key") as client:
        assert not client.is_alive()


def test_programs_are_run_and_given_up() -> None:
    assert ways.run_program([sys.executable, "-c", "print('hi')"]) == (0, "hi\n")
    code, said = ways.run_program([sys.executable, "-c", "raise SystemExit('no')"])
    assert (code, said) == (1, "no\n")
    code, said = ways.run_program([sys.executable, "-c", "import time; time.sleep(60)"], timeout_seconds=0.05)
    assert code == 124
    assert "no answer" in said


def test_a_command_that_does_a_workers_job_logs_quietly(settings: Settings) -> None:
    lines = Logging()
    LiveDoors(configure=lines).log_quietly(settings)
    assert (lines.services, lines.files) == (["model-trainer-cli quietly"], [None])


def test_the_discord_bot_speaks_until_sigterm_and_logs_to_a_file_of_its_own(settings: Settings) -> None:
    lines = Logging()
    with StandIn() as discord, pointed_at(discord):
        access = {"discord_token": SecretStr(discord.token), "discord_owner_id": int(OWNER_ID)}
        ready = settings.model_copy(update=access)
        asking = ask_to_stop_once(lambda: discord.gateway.is_connected and bool(discord.world.commands))
        LiveDoors(configure=lines).tell_on_discord(ready, api_url="http://127.0.0.1:1", api_key=None)
        asking.join()
        name = LiveDoors().check_discord(ready)
    assert name == "trainer"
    assert lines.services == ["model-trainer-discord"]
    assert lines.files == [settings.app.logs_root / "discord.jsonl"]


def test_a_bot_without_a_token_does_not_start(settings: Settings) -> None:
    bare = settings.model_copy(update={"discord_token": None})
    for door in (
        lambda: LiveDoors(configure=Logging()).tell_on_discord(bare, api_url="http://a.test", api_key=None),
        lambda: LiveDoors().check_discord(bare),
    ):
        with pytest.raises(AppError, match="DISCORD_TOKEN is not set"):
            door()
