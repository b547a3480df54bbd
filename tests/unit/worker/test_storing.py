"""A sealed folder goes to the store whole, or is tried again where it stopped."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.failpoints import Failpoint
from model_trainer.infra.storage.stores.local import LocalStore
from model_trainer.worker.storing import Layout, StoredArtifact, read_form, store_artifact
from tests.faults.faulty_store import StoreFault
from tests.unit.worker.sealed import FILES, House, fails_at

LAYOUTS: tuple[Layout, ...] = ("files", "tarball")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def run_id(house: House) -> str:
    return house.completed()


def store(house: House, run_id: str, *, layout: Layout = "files") -> StoredArtifact:
    folder = house.local.folder("models", run_id)
    form = read_form(folder, kind="models", item_id=run_id)
    return store_artifact(form, folder, house.store, layout=layout, refer=lambda _: None)


def in_store(house: House) -> dict[str, bytes]:
    files = house.bench.files.list_files(limit=1000).files
    return {file.file_id: b"".join(house.bench.files.read(file.file_id)) for file in files}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_every_file_is_stored_by_its_digest_and_the_manifest_is_the_address(
    house: House, run_id: str
) -> None:
    stored = store(house, run_id)
    content = house.content(run_id)
    assert in_store(house) == {sha256(each): each for each in content.values()}
    assert stored.file_id == stored.manifest_sha256 == sha256(content["manifest.json"])


def test_a_tarball_is_one_file_and_its_digest_the_address(house: House, run_id: str) -> None:
    stored = store(house, run_id, layout="tarball")
    assert list(in_store(house)) == [stored.file_id]
    assert stored.manifest_sha256 == sha256(house.content(run_id)["manifest.json"])
    assert house.temporary() == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_storing_again_changes_nothing(house: House, run_id: str, layout: Layout) -> None:
    first = store(house, run_id, layout=layout)
    before = in_store(house)
    assert store(house, run_id, layout=layout) == first
    assert in_store(house) == before


def test_of_a_log_that_has_grown_the_sealed_beginning_is_stored(house: House, run_id: str) -> None:
    with (house.local.folder("models", run_id) / "logs.jsonl").open("ab") as log:
        log.write(b'{"event": "two"}\n')
    store(house, run_id)
    assert FILES["logs.jsonl"] in in_store(house).values()


@pytest.mark.parametrize("fault", [StoreFault.REFUSED, StoreFault.ANSWER_LOST, StoreFault.CUT])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_interrupted_at_any_call_it_ends_as_if_it_had_not_been(
    house: House, run_id: str, layout: Layout, fault: StoreFault
) -> None:
    calls = len(FILES) + 1 if layout == "files" else 1
    for place in range(calls):
        house.store.trouble.script = [*[None] * place, fault]
        with pytest.raises(AppError) as caught:
            store(house, run_id, layout=layout)
        assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
        assert house.temporary() == []
    stored = store(house, run_id, layout=layout)
    assert stored.file_id in in_store(house)
    assert len(in_store(house)) == (len(FILES) + 1 if layout == "files" else 1)


def test_a_store_without_room_says_so(house: House, run_id: str) -> None:
    house.store.trouble.script = [None, StoreFault.FULL]
    with pytest.raises(AppError) as caught:
        store(house, run_id)
    assert caught.value.code is ErrorCode.DISK_FULL


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("content", [b"{} \n", b"[]\n", b"", None])
def test_a_file_that_is_not_as_the_manifest_says_stops_it_by_name(
    house: House, run_id: str, layout: Layout, content: bytes | None
) -> None:
    path = house.local.folder("models", run_id) / "config.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AppError, match=r"config\.json") as caught:
        store(house, run_id, layout=layout)
    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT
    assert sha256(house.content(run_id)["manifest.json"]) not in in_store(house)


def test_a_folder_without_a_manifest_is_not_stored(house: House, run_id: str) -> None:
    (house.local.folder("models", run_id) / "manifest.json").unlink()
    with pytest.raises(AppError, match=r"manifest\.json") as caught:
        store(house, run_id)
    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT


def test_what_it_needs_is_said_before_anything_is_stored(house: House, run_id: str) -> None:
    folder = house.local.folder("models", run_id)
    form = read_form(folder, kind="models", item_id=run_id)
    for layout in LAYOUTS:
        said: list[str] = []

        def refer(things: Sequence[str], said: list[str] = said) -> None:
            assert in_store(house) == {}
            said.extend(things)
            raise AppError(ErrorCode.CONFLICT, "it is being removed")

        with pytest.raises(AppError, match="being removed"):
            store_artifact(form, folder, house.store, layout=layout, refer=refer)
        assert len(said) == (len(FILES) + 1 if layout == "files" else 1)
        assert all(thing.startswith("file:") for thing in said)


def test_it_tells_how_far_it_is_and_stops_where_it_is_told_to(house: House, run_id: str) -> None:
    folder = house.local.folder("models", run_id)
    form = read_form(folder, kind="models", item_id=run_id)
    shares: list[float] = []
    reached: list[Failpoint] = []
    store_artifact(
        form,
        folder,
        house.store,
        layout="files",
        refer=lambda _: None,
        report=shares.append,
        reached=reached.append,
    )
    assert shares[0] == 0.0
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert shares[-2] < 0.01, "by bytes, not by files: the weights come last"
    assert reached == [
        Failpoint.UPLOAD_BEGUN,
        *[Failpoint.UPLOAD_FILE_STORED] * len(FILES),
        Failpoint.UPLOAD_MANIFEST_STORED,
    ]
    stop = fails_at(3, InterruptedError())
    with pytest.raises(InterruptedError):
        store_artifact(form, folder, house.store, layout="files", refer=lambda _: None, report=stop)


def test_an_empty_artifact_is_stored_too(house: House) -> None:
    run_id = house.completed(files={})
    assert store(house, run_id).file_id in in_store(house)


def test_weights_lie_on_the_disk_once_with_a_local_store(house: House, run_id: str, tmp_path: Path) -> None:
    folder = house.local.folder("models", run_id)
    local = LocalStore(tmp_path / "store")
    form = read_form(folder, kind="models", item_id=run_id)
    store_artifact(form, folder, local, layout="files", refer=lambda _: None)
    links = {path.name: path.stat().st_nlink for path in folder.rglob("*") if path.is_file()}
    assert links.pop("model.safetensors") == 2
    assert set(links.values()) == {1}, "what somebody may write to is copied"
