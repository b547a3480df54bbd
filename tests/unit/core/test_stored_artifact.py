"""What an artifact in the store consists of."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from model_trainer.core.contracts.manifest import ArtifactFile, Revision
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.stored_artifact import (
    MOST_MANIFEST_BYTES,
    form_at,
    listed_files,
    stored_form,
    stored_things,
    things_stored_at,
    whole_manifest,
)
from model_trainer.worker.storing import read_form, store_artifact
from tests.unit.worker.sealed import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def file(path: str, digit: str) -> ArtifactFile:
    return ArtifactFile(path=path, num_bytes=1, sha256=digit * 64)


def test_a_file_that_was_sealed_and_revised_counts_once_and_as_sealed(house: House) -> None:
    manifest = house.manifest(house.completed(files={}))
    revision = Revision(job="j", job_id="1", created_at="", files=(file("b", "1"), file("c", "1")))
    manifest = manifest.model_copy(
        update={"files": (file("b", "2"), file("a", "2")), "revisions": (revision,)}
    )
    assert listed_files(manifest) == (file("a", "2"), file("b", "2"), file("c", "1"))
    assert stored_things(manifest, file_id="3" * 64) == tuple(f"file:{digit * 64}" for digit in "123")


def test_the_form_knows_how_large_all_is(house: House) -> None:
    run_id = house.completed(files={"a": b"123", "b/c": b"4567"})
    assert read_form(house.local.folder("models", run_id), kind="models", item_id=run_id).num_bytes == 7


def test_what_is_stored_is_known_from_the_store_alone(house: House) -> None:
    run_id = house.completed()
    folder = house.local.folder("models", run_id)
    form = read_form(folder, kind="models", item_id=run_id)
    address = store_artifact(form, folder, house.store, layout="files", refer=lambda _: None).file_id
    tarball = store_artifact(form, folder, house.store, layout="tarball", refer=lambda _: None).file_id
    assert form_at(house.store, address, kind="models", item_id=run_id) == form
    assert form_at(house.store, tarball, kind="models", item_id=run_id) is None
    things = things_stored_at(house.store, address, kind="models", item_id=run_id)
    assert things == stored_things(form.manifest, file_id=address)
    assert len(things) == len(form.files) + 1
    assert things_stored_at(house.store, tarball, kind="models", item_id=run_id) == (f"file:{tarball}",)


def test_a_manifest_of_another_kind_is_not_taken(house: House) -> None:
    run_id = house.completed()
    content = (house.local.folder("models", run_id) / "manifest.json").read_bytes()
    with pytest.raises(AppError, match="among the models") as caught:
        stored_form(content, kind="tokenizers", item_id=run_id)
    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT


def test_a_manifest_without_end_is_not_collected() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(MOST_MANIFEST_BYTES // 4)

    with pytest.raises(AppError, match="too large"):
        whole_manifest(endless())


@pytest.mark.parametrize("name", ["a" * 256, "ä" * 128, "b/" + "a" * 256])
def test_a_name_that_no_disk_takes_is_refused_before_anything_is_written(house: House, name: str) -> None:
    run_id = house.completed(files={})
    long = house.manifest(run_id).model_copy(update={"files": (file(name, "1"),)})
    with pytest.raises(AppError) as caught:
        stored_form(long.model_dump_json().encode(), kind="models", item_id=run_id)
    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT
