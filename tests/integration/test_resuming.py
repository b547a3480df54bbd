"""A training that was interrupted ends as one that was not, whatever interrupted it; for every family."""

import errno
import json
import os
import signal
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from model_trainer.core.contracts.run import HandBack, LastCheckpoint, Lease, RunStatus
from model_trainer.core.errors import ErrorCode, Reason
from model_trainer.core.failpoints import Failpoint
from model_trainer.registry import Registry
from model_trainer.worker.manifests import read_manifest, verify
from tests.integration.interruptions import AtForward, Fails, raise_defect
from tests.integration.workshop import TINY, Workshop, rows

FAMILIES = tuple(Registry.discover().families())
STEPS = 8
LATER: dict[str, object] = {
    "max_steps": STEPS,
    "checkpoint": {"every_steps": 2, "keep_last": 20},
}
PROMPTS: dict[str, object] = {"sample_prompts": ["the"]}
LEFT = ("model.safetensors", "metrics.jsonl", "eval/samples.jsonl")
LEFT_BY_DETECTORS = (
    "model/model.safetensors",
    "model/tokenizer.json",
    "metrics.jsonl",
    "val_logits.npz",
    "test_logits.npz",
)
"""What two trainings leave alike, if they are the same."""
UP_TO_LOGITS: dict[str, object] = {"parts": "both", "finish": False}
"""What comes after is a function of them."""


@dataclass
class Bench:
    """A workshop with a tokenizer and a training that nothing interrupted."""

    workshop: Workshop
    family: str
    tokenizer_id: str

    def __post_init__(self) -> None:
        self.straight = self.workshop.train(TINY[self.family], **self.asked())

    def submit(self, **fields: object) -> str:
        return self.workshop.submit(TINY[self.family], **{**self.asked(), **fields})

    def asked(self) -> dict[str, object]:
        if self.is_detector:
            return {**UP_TO_LOGITS, **LATER}
        return {"tokenizer_id": self.tokenizer_id, **PROMPTS, **LATER}

    @property
    def is_detector(self) -> bool:
        return "data_paths" in TINY[self.family]

    def assert_same_end(self, run_id: str) -> None:
        record = self.workshop.record(run_id)
        assert record.status is RunStatus.COMPLETED, record.problem
        straight, folder = self.workshop.folder(self.straight), self.workshop.folder(record)
        last = f"checkpoints/step-{STEPS:010d}"
        for name in LEFT_BY_DETECTORS if self.is_detector else LEFT:
            assert (folder / name).read_bytes() == (straight / name).read_bytes(), name
        for name in ("model.safetensors", "training.safetensors"):
            assert (folder / last / name).read_bytes() == (straight / last / name).read_bytes(), name
        assert verify(folder) == []


@pytest.fixture(scope="module", params=FAMILIES)
def bench(request: pytest.FixtureRequest) -> Bench:
    workshop = Workshop()
    family = str(request.param)
    tokenizer_id = workshop.tokenizer().run_id
    return Bench(workshop=workshop, family=family, tokenizer_id=tokenizer_id)


def test_a_paused_training_stands_still_at_its_step_and_goes_on_from_there(bench: Bench) -> None:
    workshop, run_id = bench.workshop, bench.submit()

    def pause(_: nn.Module) -> None:
        workshop.container.training.pause(run_id)
        workshop.wait_until_heeded(run_id)

    workshop.work("training", before_forward=AtForward(5, pause))
    paused = workshop.record(run_id)
    assert paused.status is RunStatus.PAUSED
    assert paused.checkpoint is not None
    assert paused.checkpoint.step == 5
    assert verify(workshop.folder(paused)) == []
    assert read_manifest(workshop.folder(paused)).status == "running"
    workshop.container.training.resume(run_id)
    workshop.work("training")
    assert "trainer.job.resumed.v1" in workshop.event_types(paused)
    bench.assert_same_end(run_id)


def test_a_training_whose_worker_must_go_is_handed_over_at_its_step(bench: Bench) -> None:
    workshop, run_id = bench.workshop, bench.submit()
    workshop.work("training", before_forward=AtForward(5, lambda _: os.kill(os.getpid(), signal.SIGTERM)))
    waiting = workshop.record(run_id)
    assert (waiting.status, waiting.retries) == (RunStatus.QUEUED, 0)
    assert waiting.checkpoint is not None
    assert waiting.checkpoint.step == 5
    assert verify(workshop.folder(waiting)) == []
    workshop.work("training")
    bench.assert_same_end(run_id)


def test_an_evaluation_that_a_pause_left_open_is_told_once_though_its_successor_crashes(bench: Bench) -> None:
    workshop, run_id = bench.workshop, bench.submit()
    asked: list[int] = []

    def pause_in_evaluation(model: nn.Module, _: Tensor) -> None:
        if not model.training and not asked:
            asked.append(1)
            workshop.container.training.pause(run_id)
            workshop.wait_until_heeded(run_id)

    workshop.work("training", before_forward=pause_in_evaluation)
    assert workshop.record(run_id).status is RunStatus.PAUSED
    workshop.container.training.resume(run_id)
    workshop.work("training", before_forward=AtForward(1, raise_defect))
    failed = workshop.record(run_id)
    steps = [row["step"] for row in rows(workshop.folder(failed) / "metrics.jsonl")]
    assert (failed.status, steps) == (RunStatus.FAILED, [1, 2, 3]), "the crash came after the row"
    workshop.container.training.resume(run_id)
    workshop.work("training")
    bench.assert_same_end(run_id)


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "full"), MemoryError(), None],
    ids=["disk full", "out of memory", "nothing"],
)
def test_an_owner_that_has_lost_the_run_leaves_its_folder_alone_whatever_else_happens(
    bench: Bench, error: Exception | None
) -> None:
    workshop, run_id = bench.workshop, bench.submit()
    accounts: list[bytes] = []

    def accounts_now() -> bytes:
        folder = workshop.folder(workshop.record(run_id))
        return b"".join((folder / name).read_bytes() for name in ("manifest.json", "recipe.json"))

    def lose_and_fail(_: nn.Module) -> None:
        runs = workshop.container.runs
        lease = Lease(run_id=run_id, epoch=runs.get(run_id).epoch, owner="worker-1", lease_seconds=15)
        runs.release(lease, HandBack(message="taken away"))
        workshop.wait_until_left(run_id)
        accounts.append(accounts_now())
        if error is not None:
            raise error

    workshop.work("training", before_forward=AtForward(4, lose_and_fail))
    assert accounts == [accounts_now()]
    assert workshop.record(run_id).status is RunStatus.QUEUED
    workshop.work("training")
    bench.assert_same_end(run_id)


def test_a_cancelled_training_can_be_resumed(bench: Bench) -> None:
    workshop, run_id = bench.workshop, bench.submit()

    def cancel(_: nn.Module) -> None:
        workshop.container.training.cancel(run_id)
        workshop.wait_until_heeded(run_id)

    workshop.work("training", before_forward=AtForward(6, cancel))
    assert workshop.record(run_id).status is RunStatus.CANCELLED
    workshop.container.training.resume(run_id)
    workshop.work("training")
    bench.assert_same_end(run_id)


def test_a_failed_training_can_be_resumed(bench: Bench) -> None:
    workshop, run_id = bench.workshop, bench.submit()
    workshop.work("training", before_forward=AtForward(7, raise_defect))
    failed = workshop.record(run_id)
    assert failed.status is RunStatus.FAILED
    assert failed.problem is not None
    assert failed.problem.exception == "ValueError: a defect in the network"
    workshop.container.training.resume(run_id)
    workshop.work("training")
    bench.assert_same_end(run_id)


def test_a_training_goes_on_from_a_chosen_checkpoint_and_forgets_the_later_ones_once(bench: Bench) -> None:
    workshop, run_id = bench.workshop, bench.submit()
    workshop.work("training", reached=Fails(Failpoint.FINISH_WEIGHTS_SAVED, ValueError("defect")))
    folder = workshop.folder(workshop.record(run_id))
    before = sorted(path.name for path in (folder / "checkpoints").glob("step-*"))
    assert before[-1] == f"step-{STEPS:010d}"
    chosen = int(before[1][5:])
    ordered = workshop.container.training.resume(run_id, step=chosen).record
    workshop.work("training", before_forward=AtForward(1, raise_defect))
    assert ordered.resume_order is not None
    named = workshop.record(run_id).checkpoint
    assert named is not None
    assert named == LastCheckpoint(step=chosen, path=f"checkpoints/{before[1]}", num_bytes=named.num_bytes)
    assert sorted(path.name for path in (folder / "checkpoints").glob("step-*")) == before[:2]
    assert json.loads((folder / "checkpoints" / "rewound.json").read_text()) == {
        "epoch": ordered.resume_order.epoch,
        "step": chosen,
    }
    workshop.container.training.resume(run_id)
    workshop.work("training")
    bench.assert_same_end(run_id)


def test_a_crash_after_the_rewinding_does_not_rewind_again(bench: Bench) -> None:
    workshop, run_id = bench.workshop, bench.submit()
    workshop.work("training", before_forward=AtForward(7, raise_defect))
    workshop.container.training.resume(run_id, step=2)
    crash = Fails(Failpoint.FINISH_WEIGHTS_SAVED, OSError(errno.EIO, "crash"))
    workshop.work("training", reached=crash)
    record = workshop.record(run_id)
    taken: list[int] = []
    if record.status is not RunStatus.QUEUED:
        workshop.container.training.resume(run_id)
    workshop.work("training", before_forward=AtForward(1, lambda _: taken.append(1)))
    assert taken == [], "training had ended and was not repeated"
    bench.assert_same_end(run_id)


def test_a_later_attempt_of_the_same_order_keeps_what_was_done_since(bench: Bench) -> None:
    workshop, run_id = bench.workshop, bench.submit()
    workshop.work("training", before_forward=AtForward(7, raise_defect))
    workshop.container.training.resume(run_id, step=2)

    def lose(_: nn.Module) -> None:
        runs = workshop.container.runs
        lease = Lease(run_id=run_id, epoch=runs.get(run_id).epoch, owner="worker-1", lease_seconds=15)
        runs.release(lease, HandBack(message="taken away"))
        workshop.wait_until_left(run_id)

    workshop.work("training", before_forward=AtForward(4, lose))
    folder = workshop.folder(workshop.record(run_id)) / "checkpoints"
    newest = max(path.name for path in folder.glob("step-*"))
    assert int(newest[5:]) > 2
    workshop.work("training", before_forward=AtForward(1, raise_defect))
    assert max(path.name for path in folder.glob("step-*")) == newest


def test_a_chosen_checkpoint_that_is_damaged_is_not_replaced_by_another(bench: Bench) -> None:
    workshop, run_id = bench.workshop, bench.submit()
    workshop.work("training", before_forward=AtForward(7, raise_defect))
    folder = workshop.folder(workshop.record(run_id)) / "checkpoints"
    name = sorted(path.name for path in folder.glob("step-*"))[0]
    workshop.container.training.resume(run_id, step=int(name[5:]))
    weights = folder / name / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    before = sorted(path.name for path in folder.iterdir())
    workshop.work("training")
    failed = workshop.record(run_id)
    assert failed.status is RunStatus.FAILED
    assert failed.problem is not None
    assert failed.problem.code is ErrorCode.CHECKPOINT_INVALID
    assert name in failed.problem.message
    assert "does not match its digest" in failed.problem.message
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_chosen_checkpoint_of_another_recipe_is_refused(bench: Bench) -> None:
    workshop, run_id = bench.workshop, bench.submit()
    workshop.work("training", before_forward=AtForward(7, raise_defect))
    workshop.container.training.resume(run_id, step=2)
    path = workshop.folder(workshop.record(run_id)) / "recipe.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"weight_decay": 0.25}))
    workshop.work("training")
    failed = workshop.record(run_id)
    assert failed.problem is not None
    assert "made by another recipe" in failed.problem.message


def test_a_full_disk_makes_the_run_stand_still_until_there_is_space(bench: Bench) -> None:
    workshop, run_id = bench.workshop, bench.submit()
    full = Fails(Failpoint.CHECKPOINT_TRAINING_WRITTEN, OSError(errno.ENOSPC, "full"))
    workshop.work("training", reached=full)
    waiting = workshop.record(run_id)
    assert (waiting.status, waiting.reason) == (RunStatus.PAUSED, Reason.DISK_FULL)
    assert verify(workshop.folder(waiting)) == []
    while not workshop.container.runs.resume_when_due(run_id):
        pass
    workshop.work("training")
    bench.assert_same_end(run_id)


def test_a_training_that_had_ended_is_evaluated_without_being_repeated(bench: Bench) -> None:
    workshop, run_id = bench.workshop, bench.submit()
    workshop.work("training", reached=Fails(Failpoint.FINISH_WEIGHTS_SAVED, ValueError("defect")))
    assert workshop.record(run_id).status is RunStatus.FAILED
    workshop.container.training.resume(run_id)
    taken: list[int] = []
    workshop.work("training", before_forward=AtForward(1, lambda _: taken.append(1)))
    assert taken == []
    bench.assert_same_end(run_id)


def test_a_training_that_stopped_early_is_not_taken_up_again(bench: Bench) -> None:
    workshop = bench.workshop
    run_id = bench.submit(
        max_steps=60,
        eval_every_steps=1,
        early_stopping={"metric": "loss", "patience": 1, "min_delta": 100.0},
    )
    workshop.work("training", reached=Fails(Failpoint.FINISH_WEIGHTS_SAVED, ValueError("defect")))
    workshop.container.training.resume(run_id)
    taken: list[int] = []
    workshop.work("training", before_forward=AtForward(1, lambda _: taken.append(1)))
    record = workshop.record(run_id)
    assert record.status is RunStatus.COMPLETED, record.problem
    assert taken == []
    assert record.result["early_stopped"] is True
    assert int(str(record.result["steps"])) < 60


def test_a_loss_that_is_no_number_leaves_the_last_good_checkpoint(bench: Bench) -> None:
    workshop, run_id = bench.workshop, bench.submit()

    def poison(model: nn.Module) -> None:
        with torch.no_grad():
            next(iter(model.parameters())).fill_(float("nan"))

    workshop.work("training", before_forward=AtForward(6, poison))
    failed = workshop.record(run_id)
    assert (failed.status, failed.reason) == (RunStatus.FAILED, Reason.NAN_LOSS)
    assert failed.checkpoint is not None
    assert failed.checkpoint.step in (3, 4, 5)
    folder = workshop.folder(failed)
    assert all(row["step"] <= 5 for row in rows(folder / "metrics.jsonl"))
    assert verify(folder) == []
    workshop.container.training.resume(run_id)
    workshop.work("training")
    bench.assert_same_end(run_id)


def test_every_step_of_the_end_is_a_point_at_which_a_run_may_fail(bench: Bench) -> None:
    seen: list[Failpoint] = []
    whole: dict[str, object] = {"parts": "encoder", "finish": True} if bench.is_detector else {}
    run_id = bench.submit(max_steps=1, **whole)
    bench.workshop.work("training", reached=seen.append)
    ends = [
        Failpoint.FINISH_WEIGHTS_SAVED,
        Failpoint.FINISH_EVALUATED,
        Failpoint.FINISH_SEALED,
        Failpoint.FINISH_WRITTEN,
        Failpoint.FINISH_RESEALED,
    ]
    assert [point for point in seen if point in ends] == ends
    assert bench.workshop.record(run_id).status is RunStatus.COMPLETED
