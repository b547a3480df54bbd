"""Every artifact tree answers this way."""

import os

import pytest

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.manifest import RunPointer
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.storage import ArtifactTree
from tests.contract.artifact_trees import ITEM, again, runs_root


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
