""""""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from model_trainer.core.contracts.training import CheckpointSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.failpoints import Failpoint, OneFailpoint, Reached
from model_trainer.core.files import TEMPORARY_PREFIX
from model_trainer.engine.training.checkpoint import CheckpointFolder
from model_trainer.engine.training.same_run import recipe_digest
from tests.unit.engine.training.snapshots import flip, snapshot
from tests.unit.engine.training.toys import toy_recipe


def test_what_is_loaded_is_bitwise_what_was_saved(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints")
    saved = folder.save(snapshot())
    loaded = folder.load(3)
    assert loaded.state == snapshot().state
    assert torch.equal(loaded.model["weight"], snapshot().model["weight"])
    assert torch.equal(loaded.training["rng/cpu"], torch.get_rng_state())
    files = sorted(path.name for path in saved.path.iterdir())
    assert files == ["manifest.json", "model.safetensors", "state.json", "training.safetensors"]
    assert saved.num_bytes == sum(
        path.stat().st_size for path in saved.path.iterdir() if "manifest" not in path.name
    )
    assert folder.steps() == [3]


def test_a_folder_that_is_not_there_has_no_checkpoints(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "nothing")
    folder.sweep()
    assert folder.steps() == []


@pytest.mark.parametrize(
    "fault",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        SafetensorError("Error while serializing: I/O error: Disk quota exceeded (os error 122)"),
    ],
)
def test_a_full_disk_says_so_and_leaves_the_earlier_checkpoint_alone(
    tmp_path: Path, fault: Exception
) -> None:
    CheckpointFolder(tmp_path).save(snapshot(2))

    def no_space(tensors: dict[str, Tensor], path: Path) -> None:
        path.write_bytes(b"half")
        raise fault

    with pytest.raises(AppError) as caught:
        CheckpointFolder(tmp_path, write_tensors=no_space).save(snapshot(3))
    assert caught.value.code is ErrorCode.DISK_FULL
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000000002"]


def test_another_fault_of_the_writer_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    def broken(tensors: dict[str, Tensor], path: Path) -> None:
        raise SafetensorError("invalid dtype")

    with pytest.raises(SafetensorError):
        CheckpointFolder(tmp_path, write_tensors=broken).save(snapshot())
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_dies_at_any_file_leaves_no_checkpoint_behind(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    for deadly in ("model.safetensors", "training.safetensors"):

        def dies(tensors: dict[str, Tensor], path: Path, deadly: str = deadly) -> None:
            if path.name == deadly:
                raise Killed
            save_file(tensors, path)

        with pytest.raises(Killed):
            CheckpointFolder(tmp_path, write_tensors=dies).save(snapshot())
        assert CheckpointFolder(tmp_path).steps() == []


def test_what_a_killed_writer_left_is_swept_away(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(snapshot())
    (tmp_path / ".tmp-half").mkdir()
    (tmp_path / ".tmp-half" / "model.safetensors").write_bytes(b"half")
    (tmp_path / ".tmp-file").write_bytes(b"of rewound.json")
    folder.sweep()
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000000003"]


def test_a_checkpoint_that_did_not_verify_is_replaced_by_the_next_of_its_step(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    flip(folder.save(snapshot()).path)
    folder.save(snapshot())
    assert folder.load(3).state.step == 3


def test_the_last_ones_and_the_best_are_kept(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    for step in (1, 2, 3, 4, 5):
        folder.save(snapshot(step))
    folder.retain(newest=5, keep_last=2, best=2)
    assert folder.steps() == [2, 4, 5]


def test_a_corrupt_later_checkpoint_never_pushes_out_the_only_good_one(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    flip(folder.save(snapshot(9)).path)
    folder.save(snapshot(4))  # after resuming from an earlier step
    folder.retain(newest=4, keep_last=1, best=None, passed_over=(9,))
    assert folder.steps() == [4]


def test_one_that_was_passed_over_takes_no_place_among_the_last_ones(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    for step in (3, 5, 7):
        folder.save(snapshot(step))
    flip(folder.path_of(5))
    folder.retain(newest=7, keep_last=2, best=None, passed_over=(5,))
    assert folder.steps() == [3, 7]


def test_what_a_later_owner_wrote_is_not_for_the_earlier_one_to_remove(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    for step in (3, 4, 9):
        folder.save(snapshot(step))
    folder.retain(newest=4, keep_last=1, best=None)
    assert folder.steps() == [4, 9]


def test_each_file_written_or_read_is_a_sign_of_life(tmp_path: Path) -> None:
    signs: list[str] = []
    folder = CheckpointFolder(tmp_path, sign=lambda: signs.append("alive"))
    folder.save(snapshot())
    written = len(signs)
    folder.load(3)
    assert written >= 4
    assert len(signs) - written >= 3


def test_a_recipe_is_the_same_however_its_batch_is_cut_and_another_in_all_else() -> None:
    recipe = recipe_digest(toy_recipe(batch_size=4, gradient_accumulation_steps=1))
    assert recipe_digest(toy_recipe(batch_size=2, gradient_accumulation_steps=2, cpu_threads=9)) == recipe
    assert recipe_digest(toy_recipe(batch_size=2, gradient_accumulation_steps=1)) != recipe
    assert recipe_digest(toy_recipe(batch_size=4, seed=8)) != recipe


def test_another_interval_leaves_the_checkpoints_valid_but_other_weights_to_end_with_do_not() -> None:
    plain = recipe_digest(toy_recipe(checkpoint=CheckpointSpec()))
    assert recipe_digest(toy_recipe(checkpoint=CheckpointSpec(every_seconds=3, keep_last=9))) == plain
    assert recipe_digest(toy_recipe(checkpoint=CheckpointSpec(keep_best=False))) != plain


POINTS = [point for point in Failpoint if point.value.startswith("checkpoint.")]


def save_and_retain(folder: CheckpointFolder, step: int) -> None:
    folder.save(snapshot(step))
    folder.retain(newest=step, keep_last=1, best=None)


def test_every_step_of_a_save_can_be_made_to_fail_in_this_order(tmp_path: Path) -> None:
    reached: list[Failpoint] = []
    save_and_retain(CheckpointFolder(tmp_path), 2)
    save_and_retain(CheckpointFolder(tmp_path, reached=reached.append), 3)
    assert reached == POINTS


@pytest.mark.parametrize("point", POINTS)
def test_dying_at_any_step_of_a_save_leaves_a_checkpoint_that_verifies(
    tmp_path: Path, point: Failpoint
) -> None:
    class Killed(BaseException):
        pass

    def kill() -> None:
        left.extend(path.name for path in tmp_path.iterdir())
        raise Killed

    left: list[str] = []
    save_and_retain(CheckpointFolder(tmp_path), 2)
    with pytest.raises(Killed):
        save_and_retain(CheckpointFolder(tmp_path, reached=OneFailpoint(f"{point}:kill", kill=kill)), 3)
    steps = sorted(int(name.removeprefix("step-")) for name in left if not name.startswith(TEMPORARY_PREFIX))
    renamed = POINTS.index(point) >= POINTS.index(Failpoint.CHECKPOINT_RENAMED)
    hidden = POINTS.index(point) >= POINTS.index(Failpoint.CHECKPOINT_OLD_HIDDEN)
    assert steps == ([3] if hidden else [2, 3] if renamed else [2])
    folder = CheckpointFolder(tmp_path)
    folder.sweep()
    assert folder.load(folder.steps()[-1]).state.step == steps[-1]
    assert all(path.name.startswith("step-") for path in tmp_path.iterdir())


def test_written_in_place_a_checkpoint_is_found_half_done(tmp_path: Path) -> None:
    """The control: what the commit protects from does happen without it."""

    def in_place(target: Path, fill: Callable[[Path], None], *, reached: Reached) -> None:
        target.mkdir()
        fill(target)

    failing = OneFailpoint("checkpoint.training_written:error")
    folder = CheckpointFolder(tmp_path, commit=in_place, reached=failing)
    with pytest.raises(AppError):
        folder.save(snapshot(3))
    assert folder.steps() == [3]
    with pytest.raises(AppError, match="cannot be read"):
        folder.load(3)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), ErrorCode.STORAGE_READ_ONLY),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES)), ErrorCode.STORAGE_READ_ONLY),
        (OSError(errno.EIO, os.strerror(errno.EIO)), ErrorCode.CHECKPOINT_NOT_WRITTEN),
        (OSError("no number"), ErrorCode.CHECKPOINT_NOT_WRITTEN),
        (SafetensorError("I/O error: Input/output error (os error 5)"), ErrorCode.CHECKPOINT_NOT_WRITTEN),
        (SafetensorError("I/O error: Read-only file system (os error 30)"), ErrorCode.STORAGE_READ_ONLY),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), ErrorCode.DISK_FULL),
    ],
)
def test_a_fault_of_the_disk_has_a_code_and_leaves_nothing(
    tmp_path: Path, fault: Exception, code: ErrorCode
) -> None:
    def fails(tensors: dict[str, Tensor], path: Path) -> None:
        raise fault

    with pytest.raises(AppError) as caught:
        CheckpointFolder(tmp_path, write_tensors=fails).save(snapshot())
    assert caught.value.code is code
    assert list(tmp_path.iterdir()) == []


def test_after_a_failed_fsync_the_files_are_written_anew(tmp_path: Path) -> None:
    inodes: list[int] = []

    def write(tensors: dict[str, Tensor], path: Path) -> None:
        save_file(tensors, path)
        inodes.append(path.stat().st_ino)
        path.with_suffix(".kept").hardlink_to(path)  # so that the number is not used again

    kept = tmp_path / "kept"
    kept.mkdir()

    def fail_once(point: Failpoint) -> None:
        if point is Failpoint.CHECKPOINT_MANIFEST_WRITTEN:
            for file in next(tmp_path.glob(f"c/{TEMPORARY_PREFIX}*")).glob("*.kept"):
                file.rename(kept / f"{file.stat().st_ino}")
        failing(point)

    failing = OneFailpoint("checkpoint.manifest_written:error")
    folder = CheckpointFolder(tmp_path / "c", write_tensors=write, reached=fail_once)
    with pytest.raises(AppError):
        folder.save(snapshot())
    folder.save(snapshot())
    assert len(set(inodes)) == 4
    assert folder.load(3).state.step == 3


def test_what_comes_after_a_chosen_step_is_forgotten_newest_first(tmp_path: Path) -> None:
    for step in (3, 4, 9):
        CheckpointFolder(tmp_path).save(snapshot(step))
    hidden: list[list[int]] = []
    folder = CheckpointFolder(tmp_path)

    def look(point: Failpoint) -> None:
        if point is Failpoint.CHECKPOINT_OLD_HIDDEN:
            hidden.append(folder.steps())

    CheckpointFolder(tmp_path, reached=look).forget_after(3)
    assert hidden == [[3, 4], [3]]
