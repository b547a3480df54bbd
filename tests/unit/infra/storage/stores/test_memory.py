"""What the store in memory does for tests."""

from pathlib import Path

from model_trainer.infra.storage.stores.memory import MemoryStore
from tests.contract.artifact_stores import write


def test_it_stands_for_a_store_here_or_elsewhere() -> None:
    assert MemoryStore().is_local
    assert not MemoryStore(is_local=False).is_local


def test_a_damaged_file_keeps_its_place_on_record(tmp_path: Path) -> None:
    path, file_id, num_bytes = write(tmp_path / "source", b"hello")
    store = MemoryStore(clock=lambda: 1.5)
    stored = store.put(path, file_id=file_id, num_bytes=num_bytes)

    store.damage(file_id, b"jello")

    assert store.find(file_id) == stored
    assert stored.stored_at_ms == 1500
    assert b"".join(store.read(file_id)) == b"jello"
