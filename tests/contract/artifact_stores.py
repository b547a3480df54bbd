"""The artifact stores under test: each over the real thing it speaks to, with a look behind its back."""

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from model_trainer.container import Container, local
from model_trainer.core.contracts.files import StoredFile
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.logging import configure_logging
from model_trainer.core.ports.store import ArtifactStore
from model_trainer.infra.storage.stores.local import LocalStore
from model_trainer.infra.storage.stores.memory import MemoryStore
from tests.contract.reopened import API_KEY
from tests.unit.api.servers import free_port, hypercorn, wait_until_open
from tests.unit.api.service import settings_with

KINDS = ("local", "memory", "s3", "databank")


@dataclass
class ArtifactStoreUnderTest:
    """A store, and what only its owner sees."""

    store: ArtifactStore
    left_behind: Callable[[], list[str]]
    """Everything that lies in it, finished or not."""
    how: tuple[str, ...]
    """What `reopened` opens it by, in another process."""


@dataclass
class S3Server:
    """Moto's server, in a process of its own."""

    port: int

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def make_bucket(self) -> str:
        """An empty bucket's name."""
        name = f"bucket-{new_ulid().lower()}"
        assert httpx.put(f"{self.url}/{name}", trust_env=False).is_success
        return name

    def contents(self, bucket: str) -> list[str]:
        """Keys of all objects, and of uploads that nobody finished."""
        asked = [
            httpx.get(f"{self.url}/{bucket}", params=query, trust_env=False).text
            for query in ({"list-type": "2"}, {"uploads": ""})
        ]
        return [key for each in asked for key in re.findall(r"<Key>([^<]+)</Key>", each)]


@contextmanager
def s3_service() -> Iterator[S3Server]:
    """A service that speaks S3, on loopback."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until_open(port)
            yield S3Server(port)
        finally:
            process.kill()


@dataclass
class DatabankServer:
    """Our own API, over a real socket, with its store in a folder."""

    container: Container
    port: int
    root: Path

    def empty(self) -> None:
        """Forgets every file and upload."""
        shutil.rmtree(self.root, ignore_errors=True)

    def contents(self) -> list[str]:
        """Everything that lies there."""
        return files_below(self.root)


@contextmanager
def databank_service(folder: Path) -> Iterator[DatabankServer]:
    """A data bank on loopback."""
    settings = settings_with(api_key=API_KEY)
    root = folder / "artifacts"
    folders: dict[str, object] = {"artifacts_root": root, "runs_root": folder / "runs"}
    app = settings.app.model_copy(update=folders | {"data_root": folder / "corpus"})
    configure_logging(service="model-trainer-test", level="INFO", readable=False, stream=io.StringIO())
    container = local(settings.model_copy(update={"app": app}))
    server = DatabankServer(container=container, port=0, root=root)
    with hypercorn(server) as running:
        server.port = running.port
        yield server


def local_store(folder: Path) -> ArtifactStoreUnderTest:
    """On this machine's disk."""
    return ArtifactStoreUnderTest(
        store=LocalStore(folder), left_behind=lambda: files_below(folder), how=("local", str(folder))
    )


def memory_store() -> ArtifactStoreUnderTest:
    """The fake that ships."""
    store = MemoryStore()
    return ArtifactStoreUnderTest(
        store=store,
        left_behind=lambda: [file.file_id for file in store.list_files(limit=100).files],
        how=(),
    )


def files_below(folder: Path) -> list[str]:
    """Names of all files, at any depth; a folder may go while it is looked into."""
    found = (Path(place) / name for place, _, names in os.walk(folder) for name in names)
    return sorted(path.relative_to(folder).as_posix() for path in found)


def digest_of(data: bytes) -> str:
    """A file's id."""
    return hashlib.sha256(data).hexdigest()


def write(path: Path, data: bytes) -> tuple[Path, str, int]:
    """A file, its id and its length."""
    path.write_bytes(data)
    return path, digest_of(data), len(data)


def put(store: ArtifactStore, tmp_path: Path, data: bytes) -> StoredFile:
    """Puts a file of these bytes."""
    path, file_id, num_bytes = write(tmp_path / "source", data)
    return store.put(path, file_id=file_id, num_bytes=num_bytes)
