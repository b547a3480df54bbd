import hashlib
import json
import os
from pathlib import Path

import pytest

from model_trainer.core.checkpoints import CheckpointFacts, list_checkpoints, name_of
from model_trainer.core.contracts.checkpoint import (
    BestState,
    CheckpointManifest,
    FileDigest,
    LossScaleState,
    TrainingState,
    WindowState,
)


def checkpoint(folder: Path, step: int, *, best: int | None = None) -> Path:
    state = TrainingState(
        schema_version=1,
        recipe_sha256="00",
        data_sha256="5a",
        torch_version="2",
        step=step,
        total_steps=10,
        batch_size=2,
        gradient_accumulation_steps=1,
        window=WindowState(),
        best=BestState(step=best),
        loss_scale=LossScaleState(),
        metrics={"loss": 1.0 / step},
    )
    path = folder / name_of(step)
    path.mkdir(parents=True)
    contents = {
        "model.safetensors": b"m" * 40,
        "training.safetensors": b"t" * 2,
        "state.json": state.model_dump_json().encode(),
    }
    for name, data in contents.items():
        (path / name).write_bytes(data)
    files = {
        name: FileDigest(sha256=hashlib.sha256(data).hexdigest(), num_bytes=len(data))
        for name, data in contents.items()
    }
    manifest = CheckpointManifest(schema_version=1, step=step, files=files)
    (path / "manifest.json").write_text(manifest.model_dump_json())
    os.utime(path / "manifest.json", (1000.5, 1000.5))
    return path


def test_checkpoints_are_listed_by_step_with_size_time_and_metrics(tmp_path: Path) -> None:
    checkpoint(tmp_path, 20, best=10)
    path = checkpoint(tmp_path, 10, best=5)
    (tmp_path / ".tmp-half").mkdir()
    (tmp_path / "step-7").mkdir()
    first, second = list_checkpoints(tmp_path)
    num_bytes = sum(file.stat().st_size for file in path.iterdir() if file.name != "manifest.json")
    assert first == CheckpointFacts(
        step=10,
        path="step-0000000010",
        num_bytes=num_bytes,
        saved_at_ms=1_000_500,
        metrics={"loss": 0.1},
        is_best=True,
        problem=None,
    )
    assert (second.step, second.is_best) == (20, False)


def test_a_run_that_never_saved_has_none(tmp_path: Path) -> None:
    assert list_checkpoints(tmp_path / "nothing") == ()
    assert list_checkpoints(tmp_path) == ()


def lose_the_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()


def lose_the_weights(path: Path) -> None:
    (path / "model.safetensors").unlink()


def truncate(path: Path) -> None:
    (path / "model.safetensors").write_bytes(b"m" * 39)


def come_from_the_future(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"schema_version": 2}))


def be_of_another_step(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"step": 3}))


def hold_another_state(path: Path) -> None:
    size = (path / "state.json").stat().st_size
    (path / "state.json").write_text("{}".ljust(size))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lose_the_manifest, "it cannot be read: No such file or directory"),
        (lose_the_weights, "it cannot be read: No such file or directory"),
        (truncate, "model.safetensors has 39 bytes, not 40"),
        (come_from_the_future, "CheckpointManifest does not fit this version"),
        (be_of_another_step, "its manifest is of another checkpoint"),
        (hold_another_state, "TrainingState does not fit this version"),
    ],
)
def test_one_that_cannot_be_used_says_why_and_the_others_stay(
    tmp_path: Path, damage: object, problem: str
) -> None:
    checkpoint(tmp_path, 10, best=10)
    path = checkpoint(tmp_path, 20, best=20)
    assert callable(damage)
    damage(path)
    good, bad = list_checkpoints(tmp_path)
    assert (good.problem, good.is_best) == (None, True)
    assert (bad.step, bad.problem, bad.metrics, bad.is_best) == (20, problem, {}, False)


def test_listing_needs_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, model_trainer.core.checkpoints; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
