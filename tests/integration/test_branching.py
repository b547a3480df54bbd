"""A training that begins with the weights of an earlier one: branched off, continued on other text, or for more steps."""

import errno
import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from model_trainer.core.contracts.run import RunRecord, RunStatus
from model_trainer.core.errors import ErrorCode
from model_trainer.core.failpoints import Failpoint
from model_trainer.models.recipe_file import read_recipe
from tests.integration.interruptions import AtForward, Fails, raise_defect
from tests.integration.workshop import FILES, LABELLED, TINY, Workshop

NEW = "a small bird looked at the mat and sat on it.\n" * 800
NEW_LABELLED = LABELLED.replace(" a ", " one ")
SIZES = (
    "n_layer",
    "n_head",
    "n_embd",
    "num_layers",
    "hidden_size",
    "embedding_size",
    "max_seq_len",
    "architecture",
    "parts",
    "layers",
    "attention_heads",
    "ffn_size",
)


class Bench:
    """A workshop, a family, a completed training with all its checkpoints."""

    def __init__(self, family: str) -> None:
        self.family = family
        self.workshop = Workshop({**FILES, "new.txt": NEW, "new.jsonl": NEW_LABELLED})
        self.tokenizer_id = self.workshop.tokenizer().run_id
        self.is_detector = "data_paths" in TINY[family]
        self.weights = "model/model.safetensors" if self.is_detector else "model.safetensors"
        self.new_data = {"data_paths": ["new.jsonl"]} if self.is_detector else {"corpus_path": "new.txt"}
        # What a detector is measured by comes after its weights, and takes longer than they do.
        self.to_weights = {"finish": False} if self.is_detector else {}
        self.to_the_end = {"finish": True} if self.is_detector else {}
        self.parent = self.train(checkpoint={"every_steps": 2, "keep_last": 20})
        self.folder = self.workshop.folder(self.parent)

    def train(self, **fields: object) -> RunRecord:
        body = {"tokenizer_id": self.tokenizer_id, **self.to_weights, **fields}
        return self.workshop.train(TINY[self.family], **body)

    def branch(self, *, step: int | None = None, keep_optimizer: bool = False, **fields: object) -> str:
        """A queued child that leaves its sizes to its parent."""
        base = {name: value for name, value in TINY[self.family].items() if name not in SIZES}
        asked = {"run_id": self.parent.run_id, "step": step, "keep_optimizer": keep_optimizer}
        body = {"tokenizer_id": self.tokenizer_id, **self.to_weights, "init_from": asked, **fields}
        return self.workshop.submit(base, **body)

    def done(self, run_id: str) -> RunRecord:
        self.workshop.work("training")
        record = self.workshop.record(run_id)
        assert record.status is RunStatus.COMPLETED, record.problem
        return record

    def refusal(self, run_id: str) -> tuple[ErrorCode, list[str]]:
        self.workshop.work("training")
        problem = self.workshop.record(run_id).problem
        assert problem is not None
        return problem.code, [fault.pointer for fault in problem.faults]


@pytest.fixture(scope="module", params=sorted(TINY))
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(str(request.param))


def _first_checkpoint(folder: Path) -> Path:
    return min((folder / "checkpoints").glob("step-*"))


def test_a_child_continues_its_completed_parent_on_new_text_and_is_compared_with_it(bench: Bench) -> None:
    child = bench.done(bench.branch(max_steps=12, **bench.new_data, **bench.to_the_end))
    assert child.parent_run_id == bench.parent.run_id
    recipe, parents = read_recipe(bench.workshop.folder(child)), read_recipe(bench.folder)
    assert (recipe.shape, recipe.max_seq_len) == (parents.shape, parents.max_seq_len)
    evaluation = child.result["evaluation"]
    assert isinstance(evaluation, dict)
    assert isinstance(evaluation["comparison"], dict)
    assert evaluation["comparison"]["run_id"] == bench.parent.run_id


def test_a_child_begins_with_the_very_weights_of_its_parent(bench: Bench) -> None:
    frozen: dict[str, object] = {
        "optimizer": {"name": "sgd", "learning_rate": 1e-30, "weight_decay": 0.0},
        "max_steps": 1,
        "eval_every_steps": 1,
    }
    for step, origin in ((None, bench.folder), (2, bench.folder / "checkpoints" / "step-0000000002")):
        child = bench.done(bench.branch(step=step, keep_optimizer=False, **frozen))
        own = load_file(
            bench.workshop.folder(child) / "checkpoints" / "step-0000000001" / "model.safetensors"
        )
        if step is None:
            theirs, own = (
                load_file(folder / bench.weights) for folder in (origin, bench.workshop.folder(child))
            )
        else:
            theirs = load_file(origin / "model.safetensors")
        assert own.keys() == theirs.keys()
        assert all(bool((own[name] == theirs[name]).all()) for name in own)


def test_a_crash_before_the_childs_first_checkpoint_begins_again_with_the_same_weights(bench: Bench) -> None:
    straight = bench.done(bench.branch(step=2, keep_optimizer=True, max_steps=4, eval_every_steps=4))
    run_id = bench.branch(step=2, keep_optimizer=True, max_steps=4, eval_every_steps=4)
    bench.workshop.work("training", before_forward=AtForward(1, raise_defect))
    assert bench.workshop.record(run_id).status is RunStatus.FAILED
    bench.workshop.container.training.resume(run_id)
    again = bench.done(run_id)
    for name in (bench.weights, "metrics.jsonl"):
        first, second = ((bench.workshop.folder(record) / name).read_bytes() for record in (straight, again))
        assert first == second, name


def test_the_optimizer_comes_along_only_when_it_is_asked_for(bench: Bench) -> None:
    ends = [
        (bench.workshop.folder(bench.done(bench.branch(step=2, keep_optimizer=keep, max_steps=2))))
        for keep in (True, False)
    ]
    kept, fresh = ((folder / bench.weights).read_bytes() for folder in ends)
    assert kept != fresh


def test_a_child_that_has_a_checkpoint_does_without_its_parent(bench: Bench) -> None:
    run_id = bench.branch(max_steps=4)
    bench.workshop.work("training", reached=Fails(Failpoint.FINISH_WEIGHTS_SAVED, OSError(errno.EIO, "x")))
    weights = bench.folder / bench.weights
    moved = weights.rename(weights.with_name("elsewhere"))
    try:
        bench.workshop.container.training.resume(run_id)
        bench.done(run_id)
    finally:
        moved.rename(weights)


def test_a_child_whose_checkpoints_are_all_damaged_needs_its_parent(bench: Bench) -> None:
    run_id = bench.branch(max_steps=4)
    bench.workshop.work("training", reached=Fails(Failpoint.FINISH_WEIGHTS_SAVED, OSError(errno.EIO, "x")))
    for state in bench.workshop.folder(bench.workshop.record(run_id)).glob("checkpoints/*/state.json"):
        state.write_bytes(b"")
    weights = bench.folder / bench.weights
    moved = weights.rename(weights.with_name("elsewhere"))
    try:
        bench.workshop.container.training.resume(run_id)
        assert bench.refusal(run_id) == (ErrorCode.ARTIFACT_CORRUPT, ["/init_from/run_id"])
    finally:
        moved.rename(weights)


def test_a_child_without_a_checkpoint_fails_without_its_parent(bench: Bench) -> None:
    weights = bench.folder / bench.weights
    moved = weights.rename(weights.with_name("elsewhere"))
    try:
        assert bench.refusal(bench.branch()) == (ErrorCode.ARTIFACT_CORRUPT, ["/init_from/run_id"])
    finally:
        moved.rename(weights)


def test_a_damaged_checkpoint_is_no_start(bench: Bench) -> None:
    path = bench.folder / "checkpoints" / "step-0000000002" / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"\x01")
    try:
        assert bench.refusal(bench.branch(step=2)) == (ErrorCode.CHECKPOINT_INVALID, ["/init_from/step"])
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("fields", "code", "pointer"),
    [
        ({"step": 5000}, ErrorCode.CONFIG_INVALID, "/init_from/step"),
        ({"keep_optimizer": True}, ErrorCode.CONFIG_INVALID, "/init_from/keep_optimizer"),
        ({"max_seq_len": 8}, ErrorCode.CONFIG_INVALID, "/max_seq_len"),
        (
            {"step": 2, "keep_optimizer": True, "optimizer": {"name": "sgd"}},
            ErrorCode.CONFIG_INVALID,
            "/init_from/keep_optimizer",
        ),
        (
            {"init_from": {"run_id": "01JCB0A8N7Q4T2V5W6X9Y0Z1AB"}},
            ErrorCode.ARTIFACT_NOT_FOUND,
            "/init_from/run_id",
        ),
    ],
    ids=["step", "optimizer without step", "size", "other optimizer", "unknown"],
)
def test_what_cannot_be_begun_from_is_named_by_its_field(
    bench: Bench, fields: dict[str, object], code: ErrorCode, pointer: str
) -> None:
    step, keep = fields.get("step"), bool(fields.get("keep_optimizer"))
    others = {name: value for name, value in fields.items() if name not in ("step", "keep_optimizer")}
    run_id = bench.branch(step=step if isinstance(step, int) else None, keep_optimizer=keep, **others)
    assert bench.refusal(run_id) == (code, [pointer])


def test_weights_of_other_names_are_refused_before_training(bench: Bench) -> None:
    path = bench.folder / "recipe.json"
    recipe = path.read_bytes()
    run_id = bench.branch()
    path.write_text(json.dumps(json.loads(recipe) | {"vocab_size": 9}))
    try:
        assert bench.refusal(run_id) == (ErrorCode.CONFIG_INVALID, ["/init_from/run_id"])
    finally:
        path.write_bytes(recipe)
