"""Weights are whole or absent, and no more secret than the files beside them."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model_trainer.core.files import TEMPORARY_PREFIX
from model_trainer.engine.tensor_files import write_tensors

TENSORS = {"a": torch.arange(100.0)}


def test_what_is_written_is_read_again_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    write_tensors(TENSORS, path)
    assert torch.equal(load_file(path)["a"], TENSORS["a"])
    assert [each.name for each in tmp_path.iterdir()] == ["model.safetensors"]


def test_weights_may_be_read_by_whom_other_new_files_may(tmp_path: Path) -> None:
    write_tensors(TENSORS, tmp_path / "model.safetensors")
    (tmp_path / "plain").touch()
    modes = {path.name: path.stat().st_mode for path in tmp_path.iterdir()}
    assert modes["model.safetensors"] == modes["plain"]


def test_a_writer_that_fails_keeps_the_old_weights_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    shared = torch.zeros(4)
    with pytest.raises(RuntimeError, match="share memory"):
        write_tensors({"a": shared, "b": shared}, path)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("model.safetensors", b"old")]


def test_a_writer_that_is_killed_leaves_only_what_the_clean_up_knows(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, torch\n"
        "from model_trainer.engine.tensor_files import write_tensors\n"
        "write_tensors({'a': torch.zeros(20_000_000)}, pathlib.Path(sys.argv[1]) / 'model.safetensors')\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)]) as process:
        while process.poll() is None and not any(tmp_path.iterdir()):
            pass
        process.kill()
    left = [path.name for path in tmp_path.iterdir()]
    assert left
    assert all(name == "model.safetensors" or name.startswith(TEMPORARY_PREFIX) for name in left)
