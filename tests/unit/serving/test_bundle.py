import json
from collections.abc import Callable
from pathlib import Path, PosixPath
from typing import ClassVar

import pytest

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.export.bundle import exchange, refresh_bundle, swap_in, write_bundle
from model_trainer.serving.bundle import PARTS, is_still, open_bundle
from tests.unit.engine.export.toys import PLAN, READING, WORDS, calibration, config, write_tokenizer
from tests.unit.serving.networks import write_network


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """A run's folder with a bundle in it."""
    write_tokenizer(tmp_path)
    write_network(tmp_path / "model.onnx", range(len(WORDS)))
    write_bundle(
        tmp_path, tmp_path / "model.onnx", config=config(), calibration=calibration(), quantized=True
    )
    return tmp_path


def test_a_bundle_has_every_part_and_says_how_texts_are_read(artifact: Path) -> None:
    bundle = open_bundle(artifact / "runtime_bundle")
    files = {
        path.relative_to(bundle.folder).as_posix() for path in bundle.folder.rglob("*") if path.is_file()
    }
    assert files == {*PARTS, "manifest.json"}
    assert bundle.windows == PLAN
    assert bundle.reading == READING
    assert bundle.calibration == calibration()
    assert bundle.manifest.quantized
    assert bundle.manifest.run_id == config().run_id
    assert bundle.manifest.created_by.startswith("model-trainer 0")
    thresholds = json.loads((bundle.folder / "thresholds.json").read_text())
    assert thresholds == json.loads(calibration().thresholds.model_dump_json())


def test_nothing_temporary_stays_beside_a_bundle(artifact: Path) -> None:
    assert sorted(path.name for path in artifact.iterdir()) == ["model", "model.onnx", "runtime_bundle"]


@pytest.mark.parametrize("part", [*PARTS, "manifest.json"])
def test_a_missing_part_is_refused_by_name(artifact: Path, part: str) -> None:
    (artifact / "runtime_bundle" / part).unlink()
    with pytest.raises(AppError, match=f"lacks {part}. Nothing stands in for it") as raised:
        open_bundle(artifact / "runtime_bundle")
    assert raised.value.code is ErrorCode.ARTIFACT_NOT_FOUND
    assert raised.value.facts == {"part": part}


@pytest.mark.parametrize("part", PARTS)
def test_a_changed_part_is_refused_by_name(artifact: Path, part: str) -> None:
    path = artifact / "runtime_bundle" / part
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(AppError, match=f"because of {part}: it is not the file that was exported") as raised:
        open_bundle(artifact / "runtime_bundle")
    assert raised.value.code is ErrorCode.ARTIFACT_CORRUPT


def test_a_manifest_that_leaves_a_part_out_is_refused(artifact: Path) -> None:
    path = artifact / "runtime_bundle" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = [file for file in manifest["files"] if file["path"] != "calibration.json"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(AppError, match=r"calibration\.json: the manifest does not list it"):
        open_bundle(artifact / "runtime_bundle")


def test_a_manifest_of_another_version_is_refused(artifact: Path) -> None:
    (artifact / "runtime_bundle" / "manifest.json").write_text('{"schema_version": 2}')
    with pytest.raises(AppError, match=r"manifest\.json: it does not fit this version") as raised:
        open_bundle(artifact / "runtime_bundle")
    assert raised.value.code is ErrorCode.ARTIFACT_CORRUPT


def test_no_bundle_is_refused_with_the_way_to_one(tmp_path: Path) -> None:
    with pytest.raises(AppError, match="export-onnx") as raised:
        open_bundle(tmp_path / "runtime_bundle")
    assert raised.value.code is ErrorCode.ARTIFACT_NOT_FOUND


def test_another_calibration_replaces_the_bundle_and_leaves_the_network(artifact: Path) -> None:
    before = open_bundle(artifact / "runtime_bundle")
    refresh_bundle(artifact, calibration(threshold=0.25))
    after = open_bundle(artifact / "runtime_bundle")
    assert after.calibration == calibration(threshold=0.25)
    changed = set(after.manifest.files) ^ set(before.manifest.files)
    assert {file.path for file in changed} == {"calibration.json", "thresholds.json"}
    assert not after.manifest.quantized, "int8 goes through its gate again"
    assert not is_still(before)
    assert is_still(after)


def test_a_bundle_that_cannot_be_finished_leaves_the_one_before(artifact: Path) -> None:
    before = open_bundle(artifact / "runtime_bundle")
    (artifact / "model" / "tokenizer_config.json").unlink()
    with pytest.raises(FileNotFoundError):
        write_bundle(
            artifact, artifact / "model.onnx", config=config(), calibration=calibration(), quantized=False
        )
    assert open_bundle(artifact / "runtime_bundle") == before
    assert sorted(path.name for path in artifact.iterdir()) == ["model", "model.onnx", "runtime_bundle"]


class MeanwhilePath(PosixPath):
    """Something happens after the first file was read."""

    happens: ClassVar[list[Callable[[], object]]] = []

    def read_bytes(self) -> bytes:
        found = super().read_bytes()
        for happen in self.happens:
            self.happens.clear()
            happen()
        return found


def test_a_bundle_that_is_replaced_while_it_is_opened_is_the_new_one(artifact: Path) -> None:
    MeanwhilePath.happens.append(lambda: refresh_bundle(artifact, calibration(threshold=0.25)))
    bundle = open_bundle(MeanwhilePath(artifact / "runtime_bundle"))
    assert bundle.calibration == calibration(threshold=0.25)
    assert is_still(bundle)


def _two_folders(folder: Path) -> tuple[Path, Path]:
    for name in ("new", "old"):
        (folder / name).mkdir()
        (folder / name / name).touch()
    return folder / "new", folder / "old"


def _all_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_two_folders_change_their_names_at_once(tmp_path: Path) -> None:
    new, old = _two_folders(tmp_path)
    assert exchange(new, old)
    assert _all_in(tmp_path) == ["new", "new/old", "old", "old/new"]


@pytest.mark.parametrize(("name", "platform"), [("nowhere", "linux"), ("old", "darwin")])
def test_what_cannot_be_exchanged_stays_where_it_is(tmp_path: Path, name: str, platform: str) -> None:
    new, _ = _two_folders(tmp_path)
    assert not exchange(new, tmp_path / name, platform=platform)
    assert _all_in(tmp_path) == ["new", "new/new", "old", "old/old"]


@pytest.mark.parametrize("exchanged", [exchange, lambda _new, _old: False], ids=["at once", "in two steps"])
def test_a_folder_takes_the_place_of_another_and_that_one_is_gone(
    tmp_path: Path, exchanged: Callable[[Path, Path], bool]
) -> None:
    new, old = _two_folders(tmp_path)
    assert swap_in(new, old, exchange=exchanged) == old
    assert _all_in(tmp_path) == ["old", "old/new"]


def test_a_folder_takes_a_place_where_nothing_was(tmp_path: Path) -> None:
    new, _ = _two_folders(tmp_path)
    assert swap_in(new, tmp_path / "place") == tmp_path / "place"
    assert _all_in(tmp_path) == ["old", "old/old", "place", "place/new"]


def test_whoever_holds_a_file_of_the_old_bundle_sees_no_gap(artifact: Path) -> None:
    """The folder is never away, not even for the moment between two renames."""
    seen: list[bool] = []

    def watched(new: Path, place: Path) -> bool:
        done = exchange(new, place)
        seen.append(place.is_dir() and new.is_dir())
        return done

    making = artifact / "making"
    making.mkdir()
    swap_in(making, artifact / "runtime_bundle", exchange=watched)
    assert seen == [True]
