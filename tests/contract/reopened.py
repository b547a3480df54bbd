"""Opens the artifact stores under test, also in another process; imports no more than that takes."""

import sys
from pathlib import Path

from pydantic import SecretStr

from model_trainer.core.config.settings import DatabankSettings, S3Settings
from model_trainer.core.ports.store import ArtifactStore
from model_trainer.infra.storage.stores.databank import DatabankStore
from model_trainer.infra.storage.stores.databank_wire import DatabankWire
from model_trainer.infra.storage.stores.local import LocalStore
from model_trainer.infra.storage.stores.s3 import Bucket, S3Store

API_KEY = "correct-horse"
SECRET = "s3-secret-battery-staple"


def s3_store(port: int, *, bucket: str, prefix: str = "models/", timeout_seconds: float = 5.0) -> S3Store:
    """A bucket of the service behind a port."""
    settings = S3Settings(
        bucket=bucket,
        prefix=prefix,
        endpoint=f"http://127.0.0.1:{port}",
        access_key_id="key",
        secret_access_key=SecretStr(SECRET),
        allow_http=True,
    )
    return S3Store(Bucket(settings, timeout_seconds=timeout_seconds), bucket=bucket)


def databank_store(port: int, *, api_key: str = API_KEY, timeout_seconds: float = 5.0) -> DatabankStore:
    """The data bank behind a port."""
    settings = DatabankSettings(url=f"http://127.0.0.1:{port}", api_key=SecretStr(api_key))
    wire = DatabankWire(settings, timeout_seconds=timeout_seconds, sleep=lambda _: None)
    return DatabankStore(wire)


def reopened(kind: str, where: str, bucket: str = "") -> ArtifactStore:
    """The store that another process has under test."""
    if kind == "local":
        return LocalStore(Path(where))
    return s3_store(int(where), bucket=bucket) if kind == "s3" else databank_store(int(where))


def main(path: str, file_id: str, num_bytes: str, *how: str) -> None:
    """Puts a file."""
    reopened(*how).put(Path(path), file_id=file_id, num_bytes=int(num_bytes))


if __name__ == "__main__":
    main(*sys.argv[1:])
