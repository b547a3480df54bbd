"""The real ways: each opens the door that is installed."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from redis import Redis

from model_trainer.cli import ways
from model_trainer.cli.embedded import EmbeddedStack
from model_trainer.cli.house import House
from model_trainer.cli.session import Process
from model_trainer.cli.stack import free_address
from model_trainer.client import TrainerClient
from model_trainer.core.config import Settings
from model_trainer.core.errors import AppError, ErrorCode

PATIENCE_SECONDS = 30.0


class Logging:
    """Remembers how logging was to be set up."""

    def __init__(self) -> None:
        self.services: list[str] = []

    def __call__(self, *, service: str, level: str, readable: bool) -> None:
        self.services.append(service)


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

    logging = Logging()
    asking = ask_to_stop_once(is_up)
    House(configure=logging).serve(settings, host=address.host, port=address.port)
    asking.join()
    assert answers[-1]
    assert logging.services == ["model-trainer"]


def test_maintenance_runs_until_sigterm(settings: Settings) -> None:
    before = signal.getsignal(signal.SIGTERM)
    logging = Logging()
    asking = ask_to_stop_once(lambda: signal.getsignal(signal.SIGTERM) is not before)
    House(configure=logging).maintain(settings)
    asking.join()
    assert signal.getsignal(signal.SIGTERM) is before
    assert logging.services == ["model-trainer-cleanup"]


def test_a_worker_is_found_by_name(settings: Settings) -> None:
    served: list[str] = []

    class Door(ModuleType):
        @staticmethod
        def serve_worker(_settings: Settings, queue: str) -> None:
            served.append(queue)

    asked: list[str] = []

    def find_module(name: str) -> ModuleType:
        asked.append(name)
        return Door(name)

    House(find_module=find_module, configure=Logging()).work(settings, queue="training")
    assert (asked, served) == (["model_trainer.worker_entry"], ["training"])


def test_the_description_needs_no_redis_and_is_the_same_each_time() -> None:
    first = House().openapi()
    assert "/runs/train" in json.loads(first)["paths"]
    assert first == House().openapi()


def test_redis_is_asked_whether_it_answers(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    House().ping_redis(settings)
    monkeypatch.setenv("REDIS_URL", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(AppError) as caught:
        House().ping_redis(ways.read_settings(None))
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE


def test_the_server_of_the_embedded_stack_is_found() -> None:
    assert House().find_redis_server().is_file()


def test_a_stack_brings_redis_and_processes_up_and_down(tmp_path: Path) -> None:
    logging = Logging()
    stack = House(configure=logging).open_stack(tmp_path / "state", with_redis=True)
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
    assert logging.services == ["model-trainer-cli"]


def test_a_stack_without_redis_has_no_address_of_one(tmp_path: Path) -> None:
    stack = EmbeddedStack(tmp_path, with_redis=False)
    with pytest.raises(AppError):
        assert stack.redis_url
    with stack.running([], env={}, on_up=lambda *_: None):
        assert (tmp_path / "stack.lock").exists()


def test_the_installed_command_takes_the_real_ways() -> None:
    real = ways.real_ways()
    assert isinstance(real.doors, House)
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
