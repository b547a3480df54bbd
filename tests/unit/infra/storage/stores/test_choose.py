"""Which store the settings name."""

from pathlib import Path

import pytest

from model_trainer.core.config import load_settings
from model_trainer.core.config.settings import DatabankSettings, S3Settings, StoreSettings
from model_trainer.infra.storage.stores.choose import open_store
from model_trainer.infra.storage.stores.databank import DatabankStore
from model_trainer.infra.storage.stores.local import LocalStore
from model_trainer.infra.storage.stores.s3 import S3Store
from tests.contract.artifact_stores import files_below, write

DEFAULTS = load_settings(env_file=None).store


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        (DEFAULTS, LocalStore),
        (DEFAULTS.model_copy(update={"kind": "s3", "s3": S3Settings(bucket="models")}), S3Store),
        (
            DEFAULTS.model_copy(
                update={"kind": "databank", "databank": DatabankSettings(url="http://127.0.0.1:1")}
            ),
            DatabankStore,
        ),
    ],
)
def test_each_kind_is_opened_without_asking_anybody(
    settings: StoreSettings, kind: type, tmp_path: Path
) -> None:
    store = open_store(settings, tmp_path)

    assert isinstance(store, kind)
    assert store.is_local is (kind is LocalStore)
    assert list(tmp_path.iterdir()) == []


def test_the_local_store_lies_under_the_artifacts(tmp_path: Path) -> None:
    path, file_id, num_bytes = write(tmp_path / "source", b"hello")

    open_store(DEFAULTS, tmp_path / "artifacts").put(path, file_id=file_id, num_bytes=num_bytes)

    assert files_below(tmp_path / "artifacts") == [f"store/{file_id[:2]}/{file_id[2:]}"]
