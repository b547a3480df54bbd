"""What changes between a look and the next: files that go or shrink, a store that goes away."""

import asyncio
from pathlib import Path

import pytest
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from model_trainer.api.asgi import Message
from model_trainer.api.downloads import answer_download, open_download
from model_trainer.api.places import file_or_none
from model_trainer.api.streams import Streams
from model_trainer.api.validators.training import check_comparison, check_tokenizer
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.manifest import ArtifactKind
from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.memory import MemoryRunSignal, MemoryRunStore
from model_trainer.infra.storage.memory import MemoryArtifactTree
from tests.unit.api.conftest import Connect
from tests.unit.api.service import Service, ToyFamily, ToySpec


class SwappingTree(MemoryArtifactTree):
    """Between the check of a path and its use somebody puts a link there."""

    def file(self, kind: ArtifactKind, item_id: str, path: str) -> Path:
        found = super().file(kind, item_id, path)
        found.unlink()
        found.symlink_to("/etc/hostname")
        return found


class ForbiddenTree(MemoryArtifactTree):
    """A disk that does not let anybody look."""

    def file(self, kind: ArtifactKind, item_id: str, path: str) -> Path:
        raise AppError(ErrorCode.INTERNAL, "no")


class AwayRuns(MemoryRunStore):
    """A store that does not answer."""

    def get(self, run_id: str) -> RunRecord:
        raise AppError(ErrorCode.STORE_UNAVAILABLE, "Redis is away.")


def test_a_file_swapped_for_a_link_is_not_followed(connect: Connect) -> None:
    service = Service(artifacts=SwappingTree())
    item_id = new_ulid()
    service.write("models", item_id, "a.txt", b"mine")
    client: TestClient = connect(service)

    answer = client.get(f"/artifacts/models/{item_id}/download?path=a.txt")

    assert (answer.status_code, answer.json()["code"]) == (404, "ARTIFACT_NOT_FOUND")


def test_a_file_that_cannot_be_looked_at_is_not_a_missing_one() -> None:
    with pytest.raises(AppError) as error:
        file_or_none(ForbiddenTree(), "models", new_ulid(), "a.txt")

    assert error.value.code is ErrorCode.INTERNAL


def test_a_file_that_shrinks_while_it_is_sent_ends_the_download(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"x" * 100)
    file = path.open("rb", buffering=0)
    opened = open_download(file, name="a.bin", sha256=None)
    path.write_bytes(b"x" * 10)
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.sleep(60)
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    async def test() -> None:
        streams = Streams(signal=MemoryRunSignal(), stopping=asyncio.Event())
        await answer_download(opened, Headers({}), streams=streams)({"type": "http"}, receive, send)

    asyncio.run(test())

    assert [message.get("body") for message in sent] == [None, b"x" * 10, b""]
    assert file.closed


def test_a_store_that_is_away_is_no_wrong_field() -> None:
    service = Service(run_store=AwayRuns)
    spec = ToySpec(corpus_path="demo", tokenizer_id=new_ulid(), compare_to_run_id=new_ulid())

    for check in (
        lambda: check_tokenizer(spec.tokenizer_id, ToyFamily(), service.container.tokenizers),
        lambda: check_comparison(spec.compare_to_run_id, service.runs),
    ):
        with pytest.raises(AppError) as error:
            check()
        assert error.value.code is ErrorCode.STORE_UNAVAILABLE
