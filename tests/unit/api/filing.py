"""What the tests of /files share: a file to store, and a look at what the store has."""

import hashlib
from collections.abc import Mapping
from typing import Protocol

from starlette.testclient import TestClient

from model_trainer.core.contracts.files import FilePage
from tests.unit.api.conftest import Connect
from tests.unit.api.service import Service, settings_with

DATA = bytes(range(256)) * 400
"""More than other bodies may have."""
FILE_ID = hashlib.sha256(DATA).hexdigest()
NO_FILE = "0" * 64


class Answer(Protocol):
    """Of a TestClient."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def content(self) -> bytes: ...
    def json(self) -> dict[str, object]: ...


def store(client: TestClient, data: bytes = DATA) -> str:
    answer = client.post("/files", content=data)
    assert answer.status_code in (200, 201)
    return str(answer.json()["file_id"])


def nothing_is_left(service: Service) -> bool:
    """Neither a file nor an upload, whole or half."""
    root = service.artifacts.root
    begun = [*root.glob("uploads/*"), *root.glob("arrivals/*")]
    return service.store.list_files(limit=9) == FilePage(files=(), has_more=False) and not begun


def code_of(answer: Answer) -> str:
    """Of a refusal, which is a problem document."""
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json()["code"])


def small_files(connect: Connect) -> tuple[Service, TestClient]:
    """A service that takes no file of more than a thousand bytes."""
    settings = settings_with()
    app = settings.app.model_copy(update={"max_file_bytes": 1000})
    service = Service(settings=settings.model_copy(update={"app": app}))
    return service, connect(service)
