"""A data bank made of what a test says that it answers."""

import os
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from model_trainer.core.config.settings import DatabankSettings
from model_trainer.core.errors import AppError
from model_trainer.infra.storage.stores.databank import DatabankStore
from model_trainer.infra.storage.stores.databank_wire import DatabankWire
from tests.contract.artifact_stores import write

ABSENT = "0" * 64
KEY = "correct-horse"
UPLOAD_ID = "01J00000000000000000000000"
PLACE = f"/files/uploads/{UPLOAD_ID}"
STORED_AT = "2026-01-02T03:04:05.678Z"
STORED_AT_MS = 1_767_323_045_678

Answer = httpx.Response | Exception
Handler = Callable[[httpx.Request], Answer]


class Server:
    """Answers with the script, and remembers what it was asked; the last answer is given for ever."""

    def __init__(self, *script: Answer | Handler) -> None:
        self.script = list(script)
        self.asked: list[tuple[str, str]] = []
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.method, request.url.path))
        self.requests.append(request)
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def store(self) -> DatabankStore:
        """Speaks to it."""
        settings = DatabankSettings(url="http://databank.test/api", api_key=SecretStr(KEY))
        transport = httpx.MockTransport(self)
        return DatabankStore(
            DatabankWire(settings, timeout_seconds=7.0, transport=transport, sleep=self.pauses.append)
        )


def there(file_id: str, num_bytes: int) -> httpx.Response:
    """A file that is there."""
    headers = {"Content-Length": str(num_bytes), "X-Stored-At-Ms": str(STORED_AT_MS)}
    return httpx.Response(200, headers=headers)


def view(file_id: str, num_bytes: int, *, status: int = 201) -> httpx.Response:
    """A file as it is shown."""
    body = {"file_id": file_id, "num_bytes": num_bytes, "stored_at": STORED_AT, "more": "than we know"}
    return httpx.Response(status, json=body)


def problem(status: int, code: str, message: str = "so it says") -> httpx.Response:
    """A refusal in the server's own words."""
    return httpx.Response(status, json={"code": code, "message": message, "request_id": "r-1"})


def gone() -> httpx.Response:
    """Nothing is there."""
    return httpx.Response(404)


def drained(answer: httpx.Response) -> Handler:
    """Reads the body, as a server would, and answers."""

    def handle(request: httpx.Request) -> httpx.Response:
        request.read()
        return answer

    return handle


def fault_of(action: Callable[[], object]) -> AppError:
    """What it is refused with."""
    with pytest.raises(AppError) as caught:
        action()
    return caught.value


def large(tmp_path: Path, num_bytes: int) -> tuple[Path, str, int]:
    """A file of so many bytes, its id and its length."""
    return write(tmp_path / "large", os.urandom(1000) * (num_bytes // 1000) + bytes(num_bytes % 1000))
