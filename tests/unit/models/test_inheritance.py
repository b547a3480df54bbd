import json

import pytest

from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.detector import DetectorSpec
from model_trainer.core.contracts.run import Phase, Progress, RunKind, RunRecord, RunStatus
from model_trainer.core.contracts.training import Recipe, TrainSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.models.inheritance import check_inherited, check_parent, inherit_sizes
from model_trainer.registry import Registry

RUN, MINE, OTHER = (f"01JCB0A8N7Q4T2V5W6X9Y0Z1A{end}" for end in "BCD")


def parent(**changes: object) -> RunRecord:
    record = RunRecord(
        run_id=RUN, kind=RunKind.TRAIN, queue="q", family="gpt2", spec={"tokenizer_id": MINE}, user_id=None,
        metadata={}, parent_run_id=None, request_id="r", status=RunStatus.COMPLETED, phase=Phase.DONE, message="",
        reason=None, failure_class=None, problem=None, epoch=1, owner=None, lease_until_ms=0, attempt=1, attempts=(),
        cancel_requested=False, created_at_ms=1, updated_at_ms=1, started_at_ms=1, finished_at_ms=1,
        heartbeat_at_ms=1, progress=Progress(), metrics={}, result={}, last_event_seq=1,
    )  # fmt: skip
    return record.model_copy(update=changes)


def check(
    record: RunRecord, *, tokenizer_id: str = MINE, theirs: str | None = None, begins: bool = True
) -> None:
    body = {"model_family": "gpt2", "corpus_path": "c", "tokenizer_id": tokenizer_id}
    spec = Registry.discover().parse_train_spec(
        json.dumps(body | ({"init_from": {"run_id": RUN}} if begins else {}))
    )
    check_parent(spec, record, steps=(), tokenizer_sha256="a", parent_tokenizer_sha256=theirs)


@pytest.mark.parametrize(
    ("changes", "tokenizer_id", "code", "pointer"),
    [
        ({"kind": RunKind.EVALUATE}, MINE, ErrorCode.CONFIG_INVALID, "/init_from/run_id"),
        ({"family": "char_lstm"}, MINE, ErrorCode.CONFIG_INVALID, "/init_from/run_id"),
        ({"status": RunStatus.RUNNING}, MINE, ErrorCode.CONFLICT, "/init_from/run_id"),
        ({}, OTHER, ErrorCode.CONFIG_INVALID, "/tokenizer_id"),
    ],
)
def test_a_run_that_is_no_start_is_refused(
    changes: dict[str, object], tokenizer_id: str, code: ErrorCode, pointer: str
) -> None:
    with pytest.raises(AppError) as caught:
        check(parent(**changes), tokenizer_id=tokenizer_id)
    assert (caught.value.code, [fault.pointer for fault in caught.value.faults]) == (code, [pointer])


@pytest.mark.parametrize(
    ("status", "way_out"),
    [
        (RunStatus.QUEUED, "wait until it is completed"),
        (RunStatus.RUNNING, "wait until it is completed"),
        (RunStatus.PAUSED, "resume"),
        (RunStatus.FAILED, "resume"),
        (RunStatus.CANCELLED, "resume"),
    ],
)
def test_a_parent_that_is_not_completed_is_refused_with_a_way_out_that_there_is(
    status: RunStatus, way_out: str
) -> None:
    with pytest.raises(AppError, match=way_out):
        check(parent(status=status))


def test_an_equal_tokenizer_of_another_id_is_the_same() -> None:
    check(parent(), tokenizer_id=OTHER, theirs="a")


def test_without_a_parent_there_is_nothing_to_check() -> None:
    check(parent(kind=RunKind.EVALUATE), begins=False)


def test_sizes_are_taken_over_and_dropout_is_free() -> None:
    registry = Registry.discover()
    family = registry.family("gpt2")
    machine = Machine(cpu_count=1, memory_bytes=2**33, native_bf16=False, cuda_memory_bytes=0)

    def spec(**asked: object) -> TrainSpec:
        body = {"model_family": "gpt2", "corpus_path": "c", "tokenizer_id": MINE, **asked}
        return registry.parse_train_spec(json.dumps(body))

    theirs = family.resolve(spec(n_layer=1, n_head=2, n_embd=16, dropout=0.1), machine, vocab_size=9)
    asked = spec(dropout=0.3, init_from={"run_id": RUN})
    complete = inherit_sizes(asked, theirs)
    recipe = family.resolve(complete, machine, vocab_size=9)
    check_inherited(asked, recipe, theirs)
    assert recipe.shape == {**theirs.shape, "dropout": 0.3}


DETECTOR = "text_detector"


def detector_spec(**asked: object) -> TrainSpec:
    body = {"model_family": DETECTOR, "data_paths": ["a.csv"], "init_from": {"run_id": RUN}, **asked}
    return Registry.discover().parse_train_spec(json.dumps(body))


@pytest.mark.parametrize("theirs", [MINE, None])
def test_who_names_no_tokenizer_takes_the_parents_over(theirs: str | None) -> None:
    record = parent(family=DETECTOR, spec={"tokenizer_id": theirs})

    check_parent(detector_spec(from_scratch=True), record, steps=())


@pytest.mark.parametrize(("theirs", "named"), [(OTHER, OTHER), (None, "its own \\(leave it out\\)")])
def test_a_tokenizer_that_the_parent_does_not_know_is_refused(theirs: str | None, named: str) -> None:
    record = parent(family=DETECTOR, spec={"tokenizer_id": theirs})

    with pytest.raises(AppError, match=f"must be the tokenizer of run {RUN}, {named}: its weights") as caught:
        check_parent(detector_spec(from_scratch=True, tokenizer_id=MINE), record, steps=())

    assert [fault.pointer for fault in caught.value.faults] == ["/tokenizer_id"]


def shaped(**shape: int | float | str | bool) -> Recipe:
    family = Registry.discover().family("gpt2")
    machine = Machine(cpu_count=1, memory_bytes=2**33, native_bf16=False, cuda_memory_bytes=0)
    body = json.dumps({"model_family": "gpt2", "corpus_path": "c", "tokenizer_id": MINE})
    recipe = family.resolve(Registry.discover().parse_train_spec(body), machine, vocab_size=9)
    return recipe.model_copy(update={"model_family": DETECTOR, "shape": shape, "max_seq_len": 64})


def test_a_detector_takes_over_the_sizes_of_its_parent() -> None:
    theirs = shaped(layers=3, hidden_size=32, from_scratch=True, dropout=0.0, gradient_checkpointing=True)

    complete = inherit_sizes(detector_spec(from_scratch=True), theirs)

    assert isinstance(complete, DetectorSpec)
    assert (complete.layers, complete.hidden_size, complete.max_seq_len, complete.dropout) == (3, 32, 64, 0.0)
    assert not complete.gradient_checkpointing


def test_a_detector_on_the_hubs_encoder_takes_over_its_name_and_leaves_the_sizes_to_it() -> None:
    theirs = shaped(hub_layers=3, model_name="some/encoder", from_scratch=False, dropout=0.2)

    complete = inherit_sizes(detector_spec(), theirs)

    assert isinstance(complete, DetectorSpec)
    assert (complete.layers, complete.model_name, complete.max_seq_len, complete.dropout) == (
        None,
        "some/encoder",
        64,
        0.2,
    )


def test_a_switch_that_differs_is_not_mended_by_leaving_it_out() -> None:
    with pytest.raises(AppError) as caught:
        inherit_sizes(detector_spec(max_seq_len=9), shaped(from_scratch=True, gradient_checkpointing=True))

    assert [(fault.pointer, fault.message) for fault in caught.value.faults] == [
        ("/from_scratch", "must be true, as in the run it begins from"),
        ("/max_seq_len", "must be 64, as in the run it begins from; leave it out"),
    ]


def test_what_no_weight_has_may_differ() -> None:
    mine = shaped(layers=3, dropout=0.1, gradient_checkpointing=True)
    theirs = shaped(layers=3, dropout=0.2, gradient_checkpointing=False, min_params=9)

    check_inherited(detector_spec(), mine, theirs)
    inherit_sizes(detector_spec(from_scratch=True, min_params=5), shaped(min_params=9))
    with pytest.raises(AppError, match="other sizes or names"):
        check_inherited(detector_spec(), mine, shaped(layers=4))


def test_the_optimizers_state_needs_the_parents_optimizer() -> None:
    theirs = shaped(layers=3)
    spec = detector_spec(init_from={"run_id": RUN, "step": 3, "keep_optimizer": True})

    check_inherited(spec, theirs, theirs)
    with pytest.raises(AppError, match="needs the parent's optimizer, sgd") as caught:
        check_inherited(spec, theirs, theirs.model_copy(update={"optimizer": "sgd"}))

    assert [fault.pointer for fault in caught.value.faults] == ["/init_from/keep_optimizer"]
