"""Damage to a checkpoint, down to one bit, is found out and named, and nothing of it is loaded."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.training.checkpoint import CheckpointFolder, Snapshot
from tests.unit.engine.training.snapshots import flip, snapshot


def truncate(path: Path) -> None:
    data = (path / "training.safetensors").read_bytes()
    (path / "training.safetensors").write_bytes(data[:-5])


def lose_a_file(path: Path) -> None:
    (path / "state.json").unlink()


def empty_the_manifest(path: Path) -> None:
    (path / "manifest.json").write_bytes(b"")


def come_from_the_future(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"schema_version": 2}))


def be_of_another_step(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"step": 4}))


def list_a_file_outside(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["../other"] = manifest["files"]["state.json"]
    (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (flip, "does not match its digest"),
        (truncate, "bytes, not"),
        (lose_a_file, "cannot be read"),
        (empty_the_manifest, "does not fit this version"),
        (come_from_the_future, "does not fit this version"),
        (be_of_another_step, "of another checkpoint"),
        (list_a_file_outside, "of another checkpoint"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_not_loaded(
    tmp_path: Path, damage: Callable[[Path], None], why: str
) -> None:
    folder = CheckpointFolder(tmp_path)
    damage(folder.save(snapshot()).path)
    with pytest.raises(AppError, match=why) as caught:
        folder.load(3)
    assert caught.value.code is ErrorCode.CHECKPOINT_INVALID


def small(step: int = 3) -> Snapshot:
    whole = snapshot(step)
    return Snapshot(state=whole.state, model=whole.model, training={"rng/cpu": torch.arange(8)})


def is_found_out(folder: CheckpointFolder, step: int) -> bool:
    try:
        folder.load(step)
    except AppError as error:
        return error.code is ErrorCode.CHECKPOINT_INVALID
    return False


@pytest.mark.parametrize("name", ["manifest.json", "state.json", "model.safetensors", "training.safetensors"])
def test_every_flipped_bit_is_found_out(tmp_path: Path, name: str) -> None:
    folder = CheckpointFolder(tmp_path)
    path = folder.save(small()).path / name
    data = path.read_bytes()
    stride = 1 if name == "manifest.json" else 5  # a digest treats all bits alike; a parser may not
    for bit in range(0, len(data) * 8, stride):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        assert is_found_out(folder, 3), f"bit {bit} of {name}"
    path.write_bytes(data)
    assert folder.load(3).state.step == 3


@pytest.mark.parametrize("name", ["manifest.json", "state.json", "model.safetensors", "training.safetensors"])
def test_every_truncation_and_every_extra_byte_is_found_out(tmp_path: Path, name: str) -> None:
    folder = CheckpointFolder(tmp_path)
    path = folder.save(small()).path / name
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        assert is_found_out(folder, 3), f"{size} bytes of {name}"
    path.write_bytes(data + b"x")
    assert is_found_out(folder, 3)


def test_a_state_of_a_future_version_is_named_even_if_its_digest_fits(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    path = folder.save(snapshot()).path
    state = json.loads((path / "state.json").read_text()) | {"schema_version": 2}
    (path / "state.json").write_text(json.dumps(state))
    manifest = json.loads((path / "manifest.json").read_text())
    data = (path / "state.json").read_bytes()
    manifest["files"]["state.json"] = {"sha256": hashlib.sha256(data).hexdigest(), "num_bytes": len(data)}
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(AppError, match="TrainingState does not fit this version"):
        folder.load(3)


def test_tensors_that_their_library_cannot_read_are_named_even_if_their_digest_fits(tmp_path: Path) -> None:
    def garbage(tensors: dict[str, Tensor], path: Path) -> None:
        path.write_bytes(b"garbage")

    folder = CheckpointFolder(tmp_path, write_tensors=garbage)
    folder.save(snapshot())
    with pytest.raises(AppError, match="cannot be read"):
        folder.load(3)
