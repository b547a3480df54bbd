"""Copies here that are older than what another machine stored: replaced when nobody uses them, never mixed."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.storage.artifact_tree import LocalArtifactTree
from model_trainer.infra.storage.stored_tree import StoredArtifactTree
from model_trainer.worker.manifests import seal_again
from model_trainer.worker.storing import Layout
from tests.faults.faulty_store import StoreFault
from tests.unit.infra.storage.stored_runs import LAYOUTS, address, store_again, stored
from tests.unit.worker.sealed import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_copy_that_is_older_than_what_another_machine_stored_is_fetched_anew(
    house: House, tmp_path: Path
) -> None:
    run_id = stored(house)
    local = LocalArtifactTree(tmp_path / "other" / "artifacts", tmp_path / "other" / "runs")
    other = StoredArtifactTree(local, store=house.store, record_of=house.bench.store.get)
    other.folder("models", run_id)
    (house.local.folder("models", run_id) / "calibration.json").write_bytes(b"{}\n")
    seal_again(house.local.folder("models", run_id), {})
    store_again(house, run_id)
    with other.use("models", run_id) as folder:
        assert (folder / "calibration.json").is_file()


def test_a_copy_that_was_changed_here_stays_whatever_others_stored(house: House) -> None:
    run_id = stored(house)
    folder = house.local.folder("models", run_id)
    (folder / "manifest.json").write_bytes((folder / "manifest.json").read_bytes() + b"\n")
    house.bench.store.point_at_artifact(run_id, file_id="0" * 64, epoch=None)
    with house.tree.use("models", run_id) as used:
        assert used == folder


def test_a_copy_in_use_is_not_replaced(house: House) -> None:
    run_id = stored(house)
    with house.tree.use("models", run_id):
        house.bench.store.point_at_artifact(run_id, file_id="0" * 64, epoch=None)
        with house.tree.use("models", run_id) as folder:
            assert folder.is_dir()


def added_to(house: House, run_id: str, *, layout: Layout = "files") -> tuple[str, str]:
    """Something is added and stored; where the artifact was stored before, and where now."""
    old = address(house, run_id)
    folder = house.local.folder("models", run_id)
    (folder / "late.json").write_bytes(b"{}\n")
    seal_again(folder, {})
    store_again(house, run_id, layout=layout)
    return old, address(house, run_id)


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_record_that_is_older_than_the_copy_here_takes_nothing_away(
    house: House, is_there: bool, layout: Layout
) -> None:
    """Redis has lost its last second."""
    run_id = stored(house, layout=layout)
    old, _ = added_to(house, run_id, layout=layout)
    house.bench.store.point_at_artifact(run_id, file_id=old, epoch=None)
    if not is_there:
        house.bench.files.delete(old)
    with house.tree.use("models", run_id) as folder:
        assert (folder / "late.json").read_bytes() == b"{}\n"
    assert house.temporary() == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_older_copy_is_replaced_once_the_newer_one_is_here(
    house: House, tmp_path: Path, layout: Layout
) -> None:
    run_id = stored(house)
    local = LocalArtifactTree(tmp_path / "other" / "artifacts", tmp_path / "other" / "runs")
    other = StoredArtifactTree(local, store=house.store, record_of=house.bench.store.get)
    before = other.folder("models", run_id).stat().st_ino
    _, newer = added_to(house, run_id, layout=layout)
    for fault in (StoreFault.REFUSED, StoreFault.CUT):
        house.store.trouble.script = [*[None] * (3 if layout == "files" else 1), fault]
        with pytest.raises(AppError) as caught, other.use("models", run_id):
            pass
        assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
        assert local.folder("models", run_id).stat().st_ino == before, "nothing goes before"
    with other.use("models", run_id) as folder:
        assert (folder / "late.json").is_file()
    pointer = other.read_pointer(run_id)
    assert pointer is not None
    assert pointer.artifact_file_id == newer
    assert list((tmp_path / "other").rglob(".tmp-*")) == []


def test_a_copy_with_a_file_that_no_account_lists_yet_is_not_replaced(house: House, tmp_path: Path) -> None:
    run_id = stored(house)
    local = LocalArtifactTree(tmp_path / "other" / "artifacts", tmp_path / "other" / "runs")
    other = StoredArtifactTree(local, store=house.store, record_of=house.bench.store.get)
    (other.folder("models", run_id) / "eval" / "unlisted.json").write_bytes(b"{}")
    added_to(house, run_id)
    house.store.calls.clear()
    with other.use("models", run_id) as folder:
        assert (folder / "eval" / "unlisted.json").is_file()
        assert not (folder / "late.json").exists()
    assert len(house.store.calls) == 2, "its account alone was looked at"


def test_two_who_find_the_copy_outdated_fetch_the_newer_one_once(house: House, tmp_path: Path) -> None:
    run_id = stored(house)
    local = LocalArtifactTree(tmp_path / "other" / "artifacts", tmp_path / "other" / "runs")
    other = StoredArtifactTree(local, store=house.store, record_of=house.bench.store.get)
    other.folder("models", run_id)
    added_to(house, run_id)
    house.store.calls.clear()
    house.store.trouble.delay_seconds = 0.05
    together = threading.Barrier(2)

    def use() -> None:
        together.wait(10)
        with other.use("models", run_id):
            pass

    with ThreadPoolExecutor(2) as threads:
        for each in [threads.submit(use) for _ in range(2)]:
            each.result()
    weights = next(file for file in house.manifest(run_id).files if file.path == "model.safetensors")
    assert house.store.calls.count(("read", weights.sha256)) == 1
