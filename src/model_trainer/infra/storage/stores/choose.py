"""Which store this installation keeps its files in."""

from pathlib import Path
from typing import assert_never

from model_trainer.core.config.settings import StoreSettings
from model_trainer.core.ports.store import ArtifactStore
from model_trainer.infra.storage.stores.databank import DatabankStore
from model_trainer.infra.storage.stores.databank_wire import DatabankWire
from model_trainer.infra.storage.stores.local import LocalStore
from model_trainer.infra.storage.stores.s3 import Bucket, S3Store

STORE_FOLDER = "store"


def open_store(settings: StoreSettings, artifacts_root: Path) -> ArtifactStore:
    """The store of STORE__KIND. Connects when something is first asked for; raises CONFIG_INVALID for settings, or an
    installation, that cannot work."""
    match settings.kind:
        case "local":
            return LocalStore(artifacts_root / STORE_FOLDER)
        case "s3":
            bucket = Bucket(settings.s3, timeout_seconds=settings.timeout_seconds)
            return S3Store(bucket, bucket=settings.s3.bucket or "")
        case "databank":
            return DatabankStore(DatabankWire(settings.databank, timeout_seconds=settings.timeout_seconds))
        case _:
            assert_never(settings.kind)
