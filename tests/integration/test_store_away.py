"""A Redis that hangs or is gone: the API says so in time, open streams stay, and everything goes on afterwards."""

import hashlib
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from model_trainer.api.main import create_app
from model_trainer.client import TrainerClient
from model_trainer.container import Container, live
from model_trainer.core.config import load_settings
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.errors import AppError
from model_trainer.infra.stack.embedded_redis import EmbeddedRedis
from tests.unit.api.servers import hypercorn

SECONDS = 2.0
AT_ONCE = 8
BODIES = {
    "train_tokenizer": {"method": "char", "corpus_path": "a.txt", "vocab_size": 20},
    "train_model": {"model_family": "gpt2", "corpus_path": "a.txt", "tokenizer_id": new_ulid()},
    "evaluate_run": {"split": "train"},
    "resume_run": {},
    "generate": {"prompt_text": "one two three"},
    "score": {"text": "one two three"},
    "chat": {"message": "one two three"},
    "predict": {"texts": ["one two three"]},
}
EMPTY_FILE = hashlib.sha256(b"").hexdigest()
WITHOUT_STORE = {
    "get_health": 200,
    "get_service_metrics": 200,
    "get_artifact": 404,
    "download_file": 404,
    # Files lie on the disk; only whether somebody needs one is known to Redis.
    "store_file": 200,
    "list_files": 200,
    "get_file": 200,
    "begin_upload": 201,
    "append_part": 422,
    "get_upload": 404,
    "complete_upload": 404,
    "abort_upload": 404,
}


@dataclass
class House:
    """A real API over a real Redis of its own."""

    container: Container
    redis: EmbeddedRedis
    url: str

    def asked(self, request: tuple[str, str, str]) -> tuple[str, httpx.Response]:
        """One request; raises when the answer takes too long."""
        operation, method, path = request
        body = BODIES.get(operation)
        url = f"{self.url}{path}{'?path=x' if operation == 'download_file' else ''}"
        with httpx.Client(trust_env=False, timeout=SECONDS) as client:
            return operation, client.request(method, url, json=body)

    def routes(self) -> list[tuple[str, str, str]]:
        """Every operation of the API: its id, its method, its path."""
        found: list[tuple[str, str, str]] = []
        document = create_app(self.container).openapi()
        paths = document["paths"]
        assert isinstance(paths, dict)
        for path, operations in paths.items():
            assert isinstance(operations, dict)
            real = path.replace("{kind}", "models").replace("{file_id}", EMPTY_FILE)
            real = re.sub(r"\{[a-z_]+\}", new_ulid(), real)
            for method, one in operations.items():
                assert isinstance(one, dict)
                found.append((str(one["operationId"]), method.upper(), real))
        return found

    @contextmanager
    def hung(self) -> Iterator[None]:
        """Inside, Redis takes connections and says nothing."""
        pid = self.redis.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Its Redis may be stopped; nobody else's is."""
    settings = load_settings(env_file=None)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text("one two three\n" * 200)
    roots = {
        "artifacts_root": tmp_path / "artifacts",
        "runs_root": tmp_path / "runs",
        "data_root": tmp_path / "corpus",
    }
    with EmbeddedRedis(tmp_path / "redis", overrides={"appendonly": "no"}) as redis:
        app = settings.app.model_copy(update=roots)
        container = live(settings.model_copy(update={"redis_url": SecretStr(redis.url), "app": app}))
        served = House(container=container, redis=redis, url="")
        with hypercorn(served) as running:
            served.url = f"http://127.0.0.1:{running.port}"
            httpx.post(f"{served.url}/files", content=b"", trust_env=False).raise_for_status()
            yield served


def refused(house: House) -> None:
    """Asks everything, one after the other and then at once."""
    requests = house.routes()
    assert len(requests) > 20
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = [*map(house.asked, requests), *pool.map(house.asked, requests)]
    for operation, answer in answers:
        assert answer.status_code == WITHOUT_STORE.get(operation, 503), (operation, answer.text)
        assert ("retry-after" in answer.headers) == (answer.status_code == 503), operation


def until_back(house: House) -> None:
    """Returns when the store is used again: its silence is remembered for a moment."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            return house.container.runs.ping()
        except AppError:
            time.sleep(0.05)
    raise TimeoutError


def test_every_route_answers_in_time_while_redis_hangs_and_streams_go_on_after(house: House) -> None:
    spec = house.container.registry.parse_tokenizer_spec(
        '{"method": "char", "corpus_path": "a.txt", "vocab_size": 20}'
    )
    run_id = house.container.tokenizers.start(spec, request_id="r", idempotency=None).record.run_id
    seen: list[str | None] = []
    first = threading.Event()

    def follow() -> None:
        with TrainerClient(house.url) as client:
            for event in client.follow_events(run_id):
                seen.append(event.id if event.name != "done" else event.name)
                first.set()

    reader = threading.Thread(target=follow, daemon=True)
    reader.start()
    assert first.wait(10)
    with house.hung():
        refused(house)
    until_back(house)
    house.container.training.cancel(run_id)
    reader.join(20)

    assert not reader.is_alive()
    assert seen == ["1", "2", "done"]


def test_every_route_answers_while_redis_is_gone(house: House) -> None:
    house.container.runs.ping()
    house.redis.stop()

    refused(house)
