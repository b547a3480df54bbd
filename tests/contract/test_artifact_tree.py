"""Every artifact tree answers this way."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.manifest import RunPointer
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.storage import ArtifactTree
from model_trainer.infra.storage.artifact_tree import LocalArtifactTree
from model_trainer.infra.storage.memory import MemoryArtifactTree

ITEM = "01JD8Z3M6Q4T7V9XW2Y5A1B3C4"


@pytest.fixture(params=["local", "memory"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactTree:
    made: dict[str, Callable[[], ArtifactTree]] = {
        "local": lambda: LocalArtifactTree(tmp_path / "artifacts", tmp_path / "runs"),
        "memory": MemoryArtifactTree,
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


def runs_root(tree: ArtifactTree) -> Path:
    return tree.cache_folder().parent.parent / "runs"
