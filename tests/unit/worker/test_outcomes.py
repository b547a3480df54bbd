import errno
import random

import pytest

from model_trainer.core.contracts.run import ProblemFault
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.worker.outcomes import as_app_error, backoff_seconds, faults_at, problem_of


class OutOfMemoryError(Exception):
    """Named like torch's."""


class JobTimeoutException(Exception):
    """Named like RQ's."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AppError(ErrorCode.DATA_EMPTY, "Nothing there."), ErrorCode.DATA_EMPTY),
        (JobTimeoutException("Task exceeded maximum timeout value"), ErrorCode.JOB_TIMEOUT),
        (MemoryError(), ErrorCode.OUT_OF_MEMORY),
        (OutOfMemoryError("CUDA out of memory"), ErrorCode.OUT_OF_MEMORY),
        (RuntimeError("can't start new thread"), ErrorCode.OUT_OF_MEMORY),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 1 bytes"),
            ErrorCode.OUT_OF_MEMORY,
        ),
        (RuntimeError("could not create a primitive"), ErrorCode.OUT_OF_MEMORY),
        (RuntimeError("size mismatch"), ErrorCode.MODEL_TRAIN_FAILED),
        (OSError(errno.ENOSPC, "No space left on device"), ErrorCode.DISK_FULL),
        (OSError(errno.EDQUOT, "Quota exceeded"), ErrorCode.DISK_FULL),
        (Exception("I/O error: No space left on device (os error 28)"), ErrorCode.DISK_FULL),
        (Exception("I/O error: Disk quota exceeded (os error 122)"), ErrorCode.DISK_FULL),
        (Exception("I/O error: Permission denied (os error 13)"), ErrorCode.MODEL_TRAIN_FAILED),
        (OSError(errno.EACCES, "Permission denied"), ErrorCode.MODEL_TRAIN_FAILED),
        (ValueError("whatever"), ErrorCode.MODEL_TRAIN_FAILED),
    ],
)
def test_every_exception_becomes_one_of_our_errors(error: Exception, code: ErrorCode) -> None:
    assert as_app_error(error, fallback=ErrorCode.MODEL_TRAIN_FAILED).code is code


def test_the_message_of_an_unforeseen_error_tells_strangers_nothing() -> None:
    shown = as_app_error(ValueError("secret path /etc/x"), fallback=ErrorCode.INTERNAL)
    assert "secret" not in shown.message


def test_a_problem_carries_faults_and_the_last_foreign_exception() -> None:
    cause = ValueError("bad cell")
    known = AppError(ErrorCode.DATA_EMPTY, "No text.", faults=[FieldFault("/corpus_path", "put text there")])
    problem = problem_of(known, cause)
    assert problem.faults == (ProblemFault(pointer="/corpus_path", message="put text there"),)
    assert problem.exception == "ValueError: bad cell"


def test_a_problem_of_our_own_error_names_what_it_was_raised_from() -> None:
    own = AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")
    assert problem_of(own, own).exception is None
    own.__cause__ = TimeoutError("5 s")
    assert problem_of(own, own).exception == "TimeoutError: 5 s"


def test_what_fails_in_a_place_names_its_field_and_keeps_its_foreign_cause() -> None:
    foreign = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    with pytest.raises(AppError) as caught, faults_at("/corpus_path"):
        raise AppError(ErrorCode.DATA_ENCODING_INVALID, "Not UTF-8.") from foreign
    problem = problem_of(caught.value, caught.value)
    assert [fault.pointer for fault in problem.faults] == ["/corpus_path"]
    assert problem.exception is not None
    assert problem.exception.startswith("UnicodeDecodeError")


def test_a_passing_fault_is_no_fields_fault() -> None:
    full = AppError(ErrorCode.DISK_FULL, "Full.")
    with pytest.raises(AppError) as caught, faults_at("/corpus_path"):
        raise full
    assert caught.value is full
    assert full.faults == ()


def test_backoff_doubles_and_stays_inside_its_jitter() -> None:
    source = random.Random(1)
    waits = [backoff_seconds(attempt, base=5.0, source=source) for attempt in (1, 2, 3)]
    for wait, middle in zip(waits, (5.0, 10.0, 20.0), strict=True):
        assert 0.8 * middle <= wait <= 1.2 * middle
    assert backoff_seconds(5000, base=5.0, source=source) <= 1.2 * 3600
    assert len({backoff_seconds(1, base=5.0, source=source) for _ in range(5)}) > 1


def test_a_problem_can_always_be_written_down() -> None:
    name = "caf\udce9.txt"  # as Python reads a file name that is not UTF-8
    error = AppError(
        ErrorCode.DATA_EMPTY, f"{name} is empty.", faults=[FieldFault(f"/{name}", f"not {name}")]
    )
    error.__cause__ = ValueError(name)
    problem = problem_of(error, error)
    assert "caf?.txt" in problem.model_dump_json()
    assert problem.exception == "ValueError: caf?.txt"
