"""Every code belongs to somebody, and errors say where and what."""

from typing import Annotated, Self

import pytest
from pydantic import BaseModel, Field, ValidationError, model_validator

from model_trainer.core.errors import (
    AppError,
    ErrorCode,
    FailureClass,
    FieldFault,
    Reason,
    failure_class_of,
    faults_of,
    reason_of,
    wrong_field,
)


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_code_has_a_class_and_a_reason(code: ErrorCode) -> None:
    assert failure_class_of(code) in FailureClass
    assert reason_of(code) in Reason
    assert code.value == code.name


@pytest.mark.parametrize(
    ("code", "failure_class", "reason"),
    [
        (ErrorCode.DATA_NOT_FOUND, FailureClass.USER_INPUT, Reason.INVALID_DATA),
        (ErrorCode.VOCAB_TOO_LARGE, FailureClass.USER_INPUT, Reason.INVALID_DATA),
        (ErrorCode.CONFIG_INVALID, FailureClass.USER_INPUT, Reason.INVALID_CONFIG),
        (ErrorCode.DIVERGED, FailureClass.USER_INPUT, Reason.NAN_LOSS),
        (ErrorCode.OUT_OF_MEMORY, FailureClass.TRANSIENT, Reason.OUT_OF_MEMORY),
        (ErrorCode.WORKER_LOST, FailureClass.TRANSIENT, Reason.WORKER_LOST),
        (ErrorCode.LEASE_LOST, FailureClass.TRANSIENT, Reason.WORKER_LOST),
        (ErrorCode.DISK_FULL, FailureClass.TRANSIENT, Reason.DISK_FULL),
        (ErrorCode.STORE_UNAVAILABLE, FailureClass.TRANSIENT, Reason.STORE_UNAVAILABLE),
        (ErrorCode.SERVICE_UNAVAILABLE, FailureClass.TRANSIENT, Reason.STORE_UNAVAILABLE),
        (ErrorCode.MODEL_TRAIN_FAILED, FailureClass.FATAL, Reason.INTERNAL_ERROR),
        (ErrorCode.INTERNAL, FailureClass.FATAL, Reason.INTERNAL_ERROR),
    ],
)
def test_a_failure_is_the_callers_or_times_or_ours(
    code: ErrorCode, failure_class: FailureClass, reason: Reason
) -> None:
    assert AppError(code, "Something is wrong.").failure_class is failure_class
    assert reason_of(code) is reason


def test_an_error_carries_its_facts_and_faults() -> None:
    fault = FieldFault(pointer="/seed", message="must not be negative")

    error = AppError(ErrorCode.CONFIG_INVALID, "Mend the seed.", facts={"seed": -1}, faults=[fault])

    assert str(error) == error.message == "Mend the seed."
    assert error.facts == {"seed": -1}
    assert error.faults == (fault,)


def test_an_error_does_not_share_its_facts_with_whoever_made_them() -> None:
    facts = {"step": 1}
    error = AppError(ErrorCode.INTERNAL, "A defect.", facts=facts)

    facts["step"] = 2

    assert error.facts == {"step": 1}
    assert AppError(ErrorCode.INTERNAL, "A defect.").faults == ()


def test_an_error_can_be_told_which_field_it_is_about() -> None:
    error = AppError(ErrorCode.DATA_EMPTY, "No text there.", facts={"num_bytes": 0})

    told = error.at("/corpus_path")

    assert (told.code, told.message, told.facts) == (error.code, error.message, error.facts)
    assert told.faults == (FieldFault(pointer="/corpus_path", message="No text there."),)
    assert told.at("/seed").faults == told.faults, "what names its field already keeps it"
    assert error.faults == ()


class Inner(BaseModel):
    rate: float


class Body(BaseModel):
    seed: Annotated[int, Field(ge=0)]
    parts: list[Inner]
    labels: dict[str, int]


def test_each_wrong_field_has_a_json_pointer() -> None:
    with pytest.raises(ValidationError) as caught:
        Body.model_validate({"seed": -1, "parts": [{"rate": 1}, {"rate": "x"}], "labels": {"a/b~c": "x"}})

    faults = faults_of(caught.value)

    assert [fault.pointer for fault in faults] == ["/seed", "/parts/1/rate", "/labels/a~1b~0c"]
    assert faults[0].message == "Input should be greater than or equal to 0"


def test_a_fault_never_repeats_what_was_sent() -> None:
    with pytest.raises(ValidationError) as caught:
        Body.model_validate({"seed": "hunter2", "parts": [], "labels": {}})

    assert "hunter2" not in "".join(fault.message for fault in faults_of(caught.value))


def test_a_field_that_does_not_go_with_others_is_named_where_it_stands() -> None:
    class Inner(BaseModel):
        low: int
        high: int

        @model_validator(mode="after")
        def _ascending(self) -> Self:
            if self.low > self.high:
                raise wrong_field("high", "{wrong_field} must be above low")
            return self

    class Outer(BaseModel):
        bounds: list[Inner]

    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"bounds": [{"low": 1, "high": 2}, {"low": 2, "high": 1}]})

    assert faults_of(caught.value) == [FieldFault("/bounds/1/high", "{wrong_field} must be above low")]
