import json

import pytest

from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.run import Phase, Progress, RunKind, RunRecord, RunStatus
from model_trainer.core.contracts.training import TrainSpec
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
