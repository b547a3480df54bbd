"""Every artifact tree answers this way."""

import errno
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model_trainer.core.contracts.ids import is_ulid, new_ulid
from model_trainer.core.contracts.manifest import RunPointer
from model_trainer.core.contracts.run import Phase, Progress, RunKind, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.storage import ArtifactTree
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.infra.queue.memory import MemoryJobQueue
from model_trainer.infra.storage.artifact_tree import LocalArtifactTree
from model_trainer.infra.storage.memory import MemoryArtifactTree
from model_trainer.infra.storage.stored_tree import StoredArtifactTree
from model_trainer.infra.storage.stores.memory import MemoryStore

ITEM = "01JD8Z3M6Q4T7V9XW2Y5A1B3C4"


@pytest.fixture(params=["local", "memory", "stored"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactTree:
    made: dict[str, Callable[[], ArtifactTree]] = {
        "local": lambda: LocalArtifactTree(tmp_path / "artifacts", tmp_path / "runs"),
        "memory": MemoryArtifactTree,
        "stored": lambda: StoredArtifactTree(
            LocalArtifactTree(tmp_path / "artifacts", tmp_path / "runs"),
            store=MemoryStore(),
            record_of=MemoryRunStore(queue=MemoryJobQueue(), clock=lambda: 0.0, announce=lambda _: None).get,
        ),
    }
    return made[request.param]()


def refused(tree: ArtifactTree, path: str) -> bool:
    with pytest.raises(AppError) as caught:
        tree.file("models", ITEM, path)
    return caught.value.code is ErrorCode.ARTIFACT_NOT_FOUND


def test_an_item_has_a_folder_once_it_is_created(tree: ArtifactTree) -> None:
    assert not tree.exists("models", ITEM)

    folder = tree.create("models", ITEM)

    assert folder.is_dir()
    assert tree.exists("models", ITEM)
    assert not tree.exists("tokenizers", ITEM)
    assert tree.folder("models", ITEM) == folder == tree.create("models", ITEM)


def test_an_item_that_was_never_created_is_not_found(tree: ArtifactTree) -> None:
    with pytest.raises(AppError, match=ITEM) as caught:
        tree.folder("tokenizers", ITEM)

    assert caught.value.code is ErrorCode.ARTIFACT_NOT_FOUND


@pytest.mark.parametrize("item_id", ["..", "", "a/b", "\0", ITEM.lower(), f"{ITEM}\n", "x" * 5000])
def test_an_id_of_another_shape_never_touches_the_disk(tree: ArtifactTree, item_id: str) -> None:
    assert not tree.exists("models", item_id)
    for ask in (tree.folder, tree.create, tree.files):
        with pytest.raises(AppError, match="ULID") as caught:
            ask("models", item_id)
        assert caught.value.code is ErrorCode.ARTIFACT_NOT_FOUND


def test_files_are_listed_sorted_without_temporary_ones_and_links(tree: ArtifactTree) -> None:
    folder = tree.create("models", ITEM)
    for name in ("manifest.json", "eval/samples.jsonl", "eval/metrics.json", "checkpoints/step-1/a.bin"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    (folder / ".tmp-a").write_text("half")
    (folder / "checkpoints" / ".tmp-step-2").mkdir()
    (folder / "checkpoints" / ".tmp-step-2" / "a.bin").write_text("half")
    (folder / "link.json").symlink_to(folder / "manifest.json")
    (folder / "linked").symlink_to(folder / "eval")
    os.mkfifo(folder / "pipe")

    names = tree.files("models", ITEM)

    assert names == ("checkpoints/step-1/a.bin", "eval/metrics.json", "eval/samples.jsonl", "manifest.json")
    assert all(tree.file("models", ITEM, name) == folder / name for name in names)


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "/",
        "/etc/passwd",
        "../outside.txt",
        "eval/../manifest.json",
        "eval/../../outside.txt",
        "./manifest.json",
        "eval//metrics.json",
        "eval/",
        "eval",
        "missing.json",
        "manifest.json/x",
        "eval\\metrics.json",
        "C:manifest.json",
        "manifest.json\0",
        "manifest.json\0.txt",
        "\ud800",
        "x" * 300,
        "x/" * 5000,
        ".tmp-a",
        ".tmp-b/manifest.json",
        "link.json",
        "linked/metrics.json",
        "linked-outside/outside.txt",
        "pipe",
    ],
)
def test_only_plain_names_of_regular_files_inside_the_folder_are_given_out(
    tree: ArtifactTree, path: str
) -> None:
    folder = tree.create("models", ITEM)
    (folder.parent / "outside.txt").write_text("secret")
    (folder / "manifest.json").write_text("{}")
    for inner in ("eval", ".tmp-b"):
        (folder / inner).mkdir()
    (folder / "eval" / "metrics.json").write_text("{}")
    (folder / ".tmp-b" / "manifest.json").write_text("{}")
    (folder / ".tmp-a").write_text("half")
    (folder / "link.json").symlink_to(folder / "manifest.json")
    (folder / "linked").symlink_to(folder / "eval")
    (folder / "linked-outside").symlink_to(folder.parent)
    os.mkfifo(folder / "pipe")

    assert refused(tree, path)


def test_a_link_in_place_of_an_items_folder_is_no_item(tree: ArtifactTree) -> None:
    other = tree.create("models", new_ulid())
    other.with_name(ITEM).symlink_to(other)

    assert not tree.exists("models", ITEM)
    with pytest.raises(AppError, match=ITEM):
        tree.folder("models", ITEM)


def test_token_caches_have_a_folder_beside_the_artifacts(tree: ArtifactTree) -> None:
    assert tree.cache_folder().is_dir()
    assert tree.cache_folder() == tree.cache_folder()


def test_a_pointer_is_replaced_as_a_whole(tree: ArtifactTree) -> None:
    for status in ("running", "completed"):
        tree.write_pointer(pointer(status))

    written = runs_root(tree) / ITEM / "manifest.json"
    assert RunPointer.model_validate_json(written.read_bytes()) == pointer("completed")
    assert [path.name for path in written.parent.iterdir()] == ["manifest.json"]


def test_where_an_artifact_is_stored_stays_known_from_the_pointer_before(tree: ArtifactTree) -> None:
    stored: dict[str, object] = {"artifact_file_id": "a" * 64, "stored_manifest_sha256": "b" * 64}
    tree.write_pointer(pointer("running"))
    assert tree.read_pointer(ITEM) == pointer("running")
    tree.write_pointer(pointer("running").model_copy(update=stored))
    tree.write_pointer(pointer("completed"))

    assert tree.read_pointer(ITEM) == pointer("completed").model_copy(update=stored)

    newer: dict[str, object] = {"artifact_file_id": "c" * 64, "stored_manifest_sha256": "d" * 64}
    tree.write_pointer(pointer("completed").model_copy(update=newer))
    assert tree.read_pointer(ITEM) == pointer("completed").model_copy(update=newer)


def test_a_pointer_that_cannot_be_read_is_none_and_is_written_anew(tree: ArtifactTree) -> None:
    assert tree.read_pointer(ITEM) is None
    tree.write_pointer(pointer("running"))
    (runs_root(tree) / ITEM / "manifest.json").write_text("{")

    assert tree.read_pointer(ITEM) is None

    tree.write_pointer(pointer("completed"))
    assert tree.read_pointer(ITEM) == pointer("completed")
    with pytest.raises(AppError, match="ULID"):
        tree.read_pointer("../x")


def test_a_folder_in_use_is_not_removed_and_one_that_nobody_uses_is(tree: ArtifactTree) -> None:
    folder = tree.create("models", ITEM)
    (folder / "a.json").write_text("{}")
    with tree.use("models", ITEM) as used:
        assert used == folder == tree.here("models", ITEM)
        assert not again(tree).remove("models", ITEM, if_still=lambda _: True)
        assert (folder / "a.json").exists()
    assert not tree.remove("models", ITEM, if_still=lambda _: False)
    assert tree.remove("models", ITEM, if_still=lambda place: place == folder)
    assert tree.here("models", ITEM) is None
    assert not tree.exists("models", ITEM)
    assert not tree.remove("models", ITEM, if_still=lambda _: True)
    assert not list(folder.parent.iterdir())


def test_a_folder_that_is_not_there_is_not_used_and_nothing_is_made_for_it(tree: ArtifactTree) -> None:
    for item_id in (ITEM, "../x"):
        assert tree.here("models", item_id) is None
        with pytest.raises(AppError) as caught, tree.use("models", item_id):
            pytest.fail("there is none")
        assert caught.value.code is ErrorCode.ARTIFACT_NOT_FOUND
    assert not (runs_root(tree) / ITEM).exists()


def test_the_last_use_is_known(tree: ArtifactTree) -> None:
    assert tree.used_at("models", ITEM) == 0.0
    tree.write_pointer(pointer("running"))
    folder = tree.create("models", ITEM)
    mark = runs_root(tree) / ITEM / "in_use"

    def long_ago() -> None:
        for place in (folder, mark):
            os.utime(place, (100, 100))
        assert tree.used_at("models", ITEM) == 100.0

    long_ago()
    tree.here("models", ITEM)
    tree.exists("models", ITEM)
    assert tree.used_at("models", ITEM) == 100.0, "to look is no use"
    tree.folder("models", ITEM)
    assert tree.used_at("models", ITEM) > 100.0
    long_ago()
    with tree.use("models", ITEM):
        assert tree.used_at("models", ITEM) > 100.0
        long_ago()
    assert tree.used_at("models", ITEM) > 100.0, "a use counts from its end"


def test_a_folder_is_given_out_although_nothing_can_be_noted(tree: ArtifactTree) -> None:
    folder = tree.create("models", ITEM)
    runs_root(tree).mkdir(exist_ok=True)
    (runs_root(tree) / ITEM).write_text("no folder")

    assert tree.folder("models", ITEM) == folder


def test_free_space_is_known_before_anything_is_written(tree: ArtifactTree) -> None:
    before = tree.free_bytes()
    tree.create("models", ITEM)

    assert before > 0
    assert tree.free_bytes() > 0


def test_an_installation_names_itself_once(tree: ArtifactTree) -> None:
    first = tree.installation_id()

    assert is_ulid(first)
    assert tree.installation_id() == first
    assert again(tree).installation_id() == first
    assert [path.name for path in artifacts_root(tree).glob("*.json")] == ["installation.json"]
    assert not list(artifacts_root(tree).glob(".*"))


def test_all_who_ask_at_once_get_the_same_name(tmp_path: Path) -> None:
    for place in range(10):
        start = threading.Barrier(8)

        def name(root: Path = tmp_path / str(place), start: threading.Barrier = start) -> str:
            start.wait()
            return LocalArtifactTree(root / "artifacts", root / "runs").installation_id()

        with ThreadPoolExecutor(8) as askers:
            names = {asked.result() for asked in [askers.submit(name) for _ in range(8)]}
        assert len(names) == 1


def test_a_link_into_nowhere_is_no_name_and_is_not_replaced(tree: ArtifactTree) -> None:
    link = artifacts_root(tree) / "installation.json"
    link.symlink_to("elsewhere.json")

    with pytest.raises(AppError, match="damaged"):
        tree.installation_id()

    assert link.is_symlink()
    assert not list(artifacts_root(tree).glob(".tmp-*"))


@pytest.mark.parametrize("damage", ["", "{}", '{"schema_version": 1, "installation_id": "mine"}'])
def test_a_damaged_name_is_not_made_anew(tree: ArtifactTree, damage: str) -> None:
    tree.installation_id()
    (artifacts_root(tree) / "installation.json").write_text(damage)

    with pytest.raises(AppError, match=r"copy installation_id from the manifest\.json of any run") as caught:
        again(tree).installation_id()

    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT
    assert (artifacts_root(tree) / "installation.json").read_text() == damage


def test_a_record_is_kept_with_the_name_of_the_installation(tree: ArtifactTree) -> None:
    assert list(tree.kept_records()) == []

    kept = record(epoch=2, seq=7)
    tree.keep_record(kept)

    (found,) = tree.kept_records()
    assert (found.run_id, found.record, found.problem) == (ITEM, kept, None)
    assert found.installation_id == tree.installation_id()
    assert [path.name for path in (runs_root(tree) / ITEM).iterdir()] == ["record.json"]


@pytest.mark.parametrize(
    ("late", "stays"),
    [((1, 9), (2, 7)), ((2, 6), (2, 7)), ((2, 7), (2, 7)), ((2, 8), (2, 8)), ((3, 1), (3, 1))],
)
def test_a_record_that_comes_late_does_not_replace_a_newer_one(
    tree: ArtifactTree, late: tuple[int, int], stays: tuple[int, int]
) -> None:
    tree.keep_record(record(epoch=2, seq=7))

    tree.keep_record(record(epoch=late[0], seq=late[1], message="late"))

    (found,) = tree.kept_records()
    assert found.record is not None
    assert (found.record.epoch, found.record.last_event_seq) == stays
    assert found.record.message == ("late" if late >= (2, 7) else "")


@pytest.mark.parametrize(("updated_at_ms", "stays"), [(1, ""), (2, "late"), (3, "late")])
def test_of_two_records_with_the_same_events_the_later_one_stays(
    tree: ArtifactTree, updated_at_ms: int, stays: str
) -> None:
    tree.keep_record(record(epoch=2, seq=7))

    late: dict[str, object] = {"updated_at_ms": updated_at_ms}
    tree.keep_record(record(epoch=2, seq=7, message="late").model_copy(update=late))

    (found,) = tree.kept_records()
    assert found.record is not None
    assert found.record.message == stays


def test_a_damaged_record_is_replaced(tree: ArtifactTree) -> None:
    tree.keep_record(record(epoch=2, seq=7))
    (runs_root(tree) / ITEM / "record.json").write_text("{")

    tree.keep_record(record(epoch=1, seq=1))

    (found,) = tree.kept_records()
    assert found.record == record(epoch=1, seq=1)


def test_records_that_cannot_be_read_come_with_the_reason_and_the_others_too(tree: ArtifactTree) -> None:
    ids = [f"01JD8Z3M6Q4T7V9XW2Y5A1B3C{n}" for n in range(6)]
    for run_id in reversed(ids):
        tree.keep_record(record(epoch=1, seq=1, run_id=run_id))
    files = [runs_root(tree) / run_id / "record.json" for run_id in ids]
    future = json.loads(files[1].read_text()) | {"schema_version": 2}
    files[1].write_text(json.dumps(future))
    files[2].write_bytes(files[2].read_bytes()[:-40])
    files[3].unlink()
    files[4].write_bytes(files[5].read_bytes())
    (runs_root(tree) / ".locks").mkdir()
    (runs_root(tree) / "notes.txt").write_text("not a run")

    found = list(tree.kept_records())

    assert [each.run_id for each in found] == ids
    whole = [each.record is not None and each.problem is None for each in found]
    assert whole == [True, False, False, False, False, True]
    problems = [each.problem or "" for each in found]
    assert "/schema_version" in problems[1]
    assert "does not fit" in problems[2]
    assert os.strerror(errno.ENOENT) in problems[3]
    assert ids[5] in problems[4]


def test_a_record_of_no_run_never_touches_the_disk(tree: ArtifactTree) -> None:
    with pytest.raises(AppError, match="ULID"):
        tree.keep_record(record(epoch=1, seq=1, run_id="../x"))


def record(*, epoch: int, seq: int, message: str = "", run_id: str = ITEM) -> RunRecord:
    return RunRecord(
        run_id=run_id,
        kind=RunKind.TRAIN,
        queue="training",
        family="gpt2",
        spec={"seed": 1},
        user_id=None,
        metadata={},
        parent_run_id=None,
        request_id="r-1",
        status=RunStatus.RUNNING,
        phase=Phase.TRAINING,
        message=message,
        reason=None,
        failure_class=None,
        problem=None,
        epoch=epoch,
        owner="worker-1",
        lease_until_ms=5,
        attempt=1,
        attempts=(),
        cancel_requested=False,
        created_at_ms=1,
        updated_at_ms=2,
        started_at_ms=2,
        finished_at_ms=None,
        heartbeat_at_ms=2,
        progress=Progress(),
        metrics={"loss": 0.1},
        result={},
        last_event_seq=seq,
    )


def again(tree: ArtifactTree) -> ArtifactTree:
    """The same folders, as another process opens them."""
    return LocalArtifactTree(artifacts_root(tree), runs_root(tree))


def artifacts_root(tree: ArtifactTree) -> Path:
    return tree.cache_folder().parent


def pointer(status: str) -> RunPointer:
    return RunPointer(
        run_id=ITEM,
        kind="models",
        status=status,
        artifact_path=f"models/{ITEM}",
        manifest_sha256=None,
        user_id=None,
        family="gpt2",
        created_at="2026-01-01T00:00:00Z",
        finished_at=None,
    )


def runs_root(tree: ArtifactTree) -> Path:
    return tree.cache_folder().parent.parent / "runs"
