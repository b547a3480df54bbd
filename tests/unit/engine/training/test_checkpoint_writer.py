import errno
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model_trainer.core.contracts.training import CheckpointSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.failpoints import Failpoint
from model_trainer.core.files import TEMPORARY_PREFIX
from model_trainer.engine.protocols import StopReason
from model_trainer.engine.tensor_files import write_tensors
from model_trainer.engine.training.checkpoint import CheckpointFolder
from model_trainer.engine.training.checkpoint_writer import CheckpointWriter, Retention
from tests.unit.engine.training.snapshots import snapshot
from tests.unit.engine.training.toys import ToyTask, Witness, toy_recipe, train

PATIENCE = 20.0
KEEP = Retention(keep_last=2, best=None, passed_over=())


class Gate:
    """Holds the writer's thread at one moment until it is opened."""

    def __init__(self, point: Failpoint = Failpoint.CHECKPOINT_MODEL_WRITTEN) -> None:
        self.point = point
        self.opened = threading.Event()
        self.entered = threading.Event()
        self.threads: set[str] = set()

    def __call__(self, point: Failpoint) -> None:
        self.threads.add(threading.current_thread().name)
        if point is self.point:
            self.entered.set()
            assert self.opened.wait(PATIENCE)


class OpensWhenLeft(ThreadPoolExecutor):
    """The gate opens when nobody waits for the checkpoint any more."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(1, thread_name_prefix="checkpoints")
        self._gate = gate

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._gate.opened.set()
        super().shutdown(wait=wait, cancel_futures=cancel_futures)


def write_and_fail(folder: CheckpointFolder, witness: Witness, gate: Gate | None = None) -> None:
    """A checkpoint is under way when training fails."""
    thread = None if gate is None else OpensWhenLeft(gate)
    with CheckpointWriter(folder, observer=witness, thread=thread) as writer:
        writer.begin(snapshot(3), KEEP)
        if gate is not None:
            assert gate.entered.wait(PATIENCE)
        raise ZeroDivisionError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def writers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("checkpoints")]


def test_training_goes_on_while_a_thread_writes_and_hears_of_it_at_a_boundary(tmp_path: Path) -> None:
    gate, witness = Gate(), Witness()
    with CheckpointWriter(CheckpointFolder(tmp_path, reached=gate), observer=witness) as writer:
        assert writers() == [], "no thread before there is something to write: a fork may come first"
        writer.begin(snapshot(3), KEEP)
        assert gate.entered.wait(PATIENCE)
        writer.poll()
        assert (writer.is_busy, witness.saved) == (True, [])
        gate.opened.set()
        assert writer.wait() is None
        assert (writer.is_busy, witness.saved) == (False, [3])
    assert writers() == []
    assert threading.current_thread().name not in gate.threads


def test_rows_are_forced_to_disk_before_the_checkpoint_is_visible(tmp_path: Path) -> None:
    class Looks(Witness):
        seen: list[str]
        thread = ""

        def rows_must_last(self) -> None:
            self.seen = names(tmp_path)
            self.thread = threading.current_thread().name

    witness = Looks()
    with CheckpointWriter(CheckpointFolder(tmp_path), observer=witness) as writer:
        writer.begin(snapshot(3), KEEP)
        writer.wait()
    assert len(witness.seen) == 1
    assert witness.seen[0].startswith(TEMPORARY_PREFIX)
    assert witness.thread.startswith("checkpoints")
    assert names(tmp_path) == ["step-0000000003"]


@pytest.mark.parametrize(
    "point",
    [Failpoint.CHECKPOINT_MODEL_WRITTEN, Failpoint.CHECKPOINT_TRAINING_WRITTEN, Failpoint.CHECKPOINT_HASHED],
)
def test_what_is_abandoned_stops_between_files_and_leaves_nothing(tmp_path: Path, point: Failpoint) -> None:
    gate, witness = Gate(point), Witness(stop_after=0, reason=StopReason.LEASE_LOST)
    folder = CheckpointFolder(tmp_path, reached=gate)
    with CheckpointWriter(folder, observer=witness, thread=OpensWhenLeft(gate)) as writer:
        writer.begin(snapshot(3), KEEP)
        assert gate.entered.wait(PATIENCE)
        assert writer.wait() is StopReason.LEASE_LOST
    assert names(tmp_path) == []
    assert (witness.saved, writers()) == ([], [])


def test_one_abandoned_after_it_was_committed_removes_no_older_one(tmp_path: Path) -> None:
    for step in (1, 2):
        CheckpointFolder(tmp_path).save(snapshot(step))
    gate, witness = Gate(Failpoint.CHECKPOINT_PARENT_SYNCED), Witness()
    folder = CheckpointFolder(tmp_path, reached=gate)
    with CheckpointWriter(folder, observer=witness, thread=OpensWhenLeft(gate)) as writer:
        writer.begin(snapshot(3), Retention(keep_last=1, best=None, passed_over=()))
        assert gate.entered.wait(PATIENCE)
    assert CheckpointFolder(tmp_path).steps() == [1, 2, 3]
    assert witness.saved == [3], "it can be seen, so it is told"


@pytest.mark.parametrize("reason", [StopReason.PAUSE, StopReason.HAND_OVER])
def test_a_stop_that_keeps_the_work_waits_for_the_disk(tmp_path: Path, reason: StopReason) -> None:
    witness = Witness(stop_after=0, reason=reason)
    with CheckpointWriter(CheckpointFolder(tmp_path), observer=witness) as writer:
        writer.begin(snapshot(3), KEEP)
        assert writer.wait() is None
    assert witness.saved == [3]


def test_waiting_gives_signs_of_life(tmp_path: Path) -> None:
    class Opens(Witness):
        asked = 0

        def stop_requested(self) -> StopReason | None:
            self.asked += 1
            if self.asked == 3:
                gate.opened.set()
            return None

    gate, witness = Gate(), Opens()
    with CheckpointWriter(CheckpointFolder(tmp_path, reached=gate), observer=witness) as writer:
        writer.begin(snapshot(3), KEEP)
        writer.wait()
    assert witness.asked >= 3


def test_a_fault_of_training_lets_the_checkpoint_under_way_be_finished(tmp_path: Path) -> None:
    witness = Witness()
    with pytest.raises(ZeroDivisionError):
        write_and_fail(CheckpointFolder(tmp_path), witness)
    assert CheckpointFolder(tmp_path).load(3).state.step == 3
    assert (witness.saved, writers()) == ([3], [])


@pytest.mark.parametrize("second", [OSError(errno.ENOSPC, "No space left on device"), MemoryError()])
def test_a_fault_of_training_is_told_even_if_the_disk_fails_as_well(
    tmp_path: Path, second: Exception
) -> None:
    def fails(tensors: dict[str, Tensor], path: Path) -> None:
        raise second

    folder = CheckpointFolder(tmp_path, write_tensors=fails)
    with pytest.raises(ZeroDivisionError):
        write_and_fail(folder, Witness())
    assert writers() == []


@pytest.mark.parametrize("reason", [StopReason.CANCEL, StopReason.LEASE_LOST])
def test_a_write_that_fails_while_the_run_ends_anyway_changes_nothing(
    tmp_path: Path, reason: StopReason
) -> None:
    gate, witness = Gate(), Witness(stop_after=0, reason=reason)

    def fails(point: Failpoint) -> None:
        gate(point)
        if point is gate.point:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    folder = CheckpointFolder(tmp_path, reached=fails)
    with CheckpointWriter(folder, observer=witness, thread=OpensWhenLeft(gate)) as writer:
        writer.begin(snapshot(3), KEEP)
        assert gate.entered.wait(PATIENCE)
        assert writer.wait() is reason
    assert (names(tmp_path), witness.saved, writers()) == ([], [], [])


def test_a_fault_after_the_lease_is_lost_leaves_no_checkpoint(tmp_path: Path) -> None:
    gate, witness = Gate(), Witness(stop_after=0, reason=StopReason.LEASE_LOST)
    with pytest.raises(ZeroDivisionError):
        write_and_fail(CheckpointFolder(tmp_path, reached=gate), witness, gate)
    assert names(tmp_path) == []


def test_a_save_that_comes_due_while_one_is_under_way_waits_for_the_first_free_step(tmp_path: Path) -> None:
    gate = Gate()
    witness = Witness()

    class Opens(ToyTask):
        def loss(self, model: nn.Module, *, step: int, micro_step: int) -> Tensor:
            if step == 6:
                gate.opened.set()
                while not (tmp_path / "step-0000000002").exists():
                    time.sleep(0.001)  # so that the other thread gets its turn
            return super().loss(model, step=step, micro_step=micro_step)

    recipe = toy_recipe(eval_every_steps=100, checkpoint=CheckpointSpec(every_steps=2, keep_last=100))
    folder = CheckpointFolder(tmp_path, reached=gate)
    train(folder, recipe, observer=witness, task=Opens(), thread=None)
    assert folder.steps()[0] == 2
    assert not {4, 6} & set(folder.steps()), "both came due while the disk was busy"
    assert folder.steps()[1] > 6
    assert folder.steps()[-1] == 12
    assert witness.saved == folder.steps()


def test_a_checkpoint_under_way_shares_no_memory_with_what_is_trained(tmp_path: Path) -> None:
    """The writer is held from step 5 until the end: had it the live tensors, it would write those of step 12."""
    gate = Gate(Failpoint.CHECKPOINT_BEGUN)
    plain = toy_recipe(checkpoint=CheckpointSpec(every_steps=5, keep_last=100, keep_best=False))

    class Opens(Witness):
        def logged(self, *, step: int, metrics: dict[str, float], timings: dict[str, float]) -> None:
            super().logged(step=step, metrics=metrics, timings=timings)
            if step == 12:
                gate.opened.set()

    train(tmp_path / "a", plain)
    train(CheckpointFolder(tmp_path / "b", reached=gate), plain, observer=Opens(), thread=None)
    ours, theirs = (CheckpointFolder(tmp_path / name).load(5) for name in ("a", "b"))
    assert ours.state == theirs.state
    for left, right in ((ours.model, theirs.model), (ours.training, theirs.training)):
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left)


def test_a_write_that_failed_ends_the_run_at_the_next_boundary(tmp_path: Path) -> None:
    def broken(tensors: dict[str, Tensor], path: Path) -> None:
        if (tmp_path / "step-0000000005").exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        write_tensors(tensors, path)

    folder = CheckpointFolder(tmp_path, write_tensors=broken)
    recipe = toy_recipe(eval_every_steps=100, checkpoint=CheckpointSpec(every_steps=5, keep_last=1))
    with pytest.raises(AppError, match="Input/output error") as caught:
        train(folder, recipe)
    assert caught.value.code is ErrorCode.CHECKPOINT_NOT_WRITTEN
    assert names(tmp_path) == ["step-0000000005"]
    result, _ = train(tmp_path, recipe)
    assert result.steps == 12


def test_the_writers_thread_computes_nothing_in_parallel(tmp_path: Path) -> None:
    """A second thread that does gets a team of OpenMP threads of its own; from then on, with more of them than processors,
    libgomp makes the step loop sleep at every parallel operation."""
    program = (
        "import os, sys, torch\n"
        "from pathlib import Path\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from model_trainer.engine.training.checkpoint import CheckpointFolder, Snapshot\n"
        "from tests.unit.engine.training.snapshots import snapshot\n"
        "torch.set_num_threads(2)\n"
        "large = {f'weights.{n}': torch.ones(1_000_000) * n for n in range(3)}\n"
        "taken = Snapshot(state=snapshot(3).state, model=large, training=large)\n"
        "num_threads = lambda: len(os.listdir('/proc/self/task'))\n"
        "seen = []\n"
        "folder = CheckpointFolder(Path(sys.argv[1]), reached=lambda _: seen.append(num_threads()))\n"
        "with ThreadPoolExecutor(1) as writer:\n"
        "    writer.submit(folder.save, taken).result()\n"
        "    writer.submit(lambda: torch.ones(1_000_000) * 2).result()\n"
        "    print(len(set(seen)), num_threads() - seen[0])\n"
    )
    root = Path(__file__).parents[4]
    answer = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=root, check=True, capture_output=True, text=True
    )
    assert answer.stdout.split() == ["1", "1"], "none while it writes, and one that would have been seen"
