import json

import pytest

from model_trainer.core.contracts.run import Phase, Progress, RunKind, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.models.inheritance import check_parent
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


def test_an_equal_tokenizer_of_another_id_is_the_same() -> None:
    check(parent(), tokenizer_id=OTHER, theirs="a")


def test_without_a_parent_there_is_nothing_to_check() -> None:
    check(parent(kind=RunKind.EVALUATE), begins=False)
