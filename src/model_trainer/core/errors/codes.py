"""Every error code, and whose fault it is. HTTP statuses are known to the API alone."""

from enum import StrEnum
from typing import assert_never


class ErrorCode(StrEnum):
    """Stable, greppable names; they never change meaning."""

    UNAUTHORIZED = "UNAUTHORIZED"
    NOT_FOUND = "NOT_FOUND"
    RUN_NOT_FOUND = "RUN_NOT_FOUND"
    TOKENIZER_NOT_FOUND = "TOKENIZER_NOT_FOUND"
    ARTIFACT_NOT_FOUND = "ARTIFACT_NOT_FOUND"
    FILE_NOT_FOUND = "FILE_NOT_FOUND"
    REQUEST_NOT_FOUND = "REQUEST_NOT_FOUND"
    DIGEST_MISMATCH = "DIGEST_MISMATCH"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    CONFIG_INVALID = "CONFIG_INVALID"
    REQUEST_TOO_LARGE = "REQUEST_TOO_LARGE"
    RANGE_NOT_SATISFIABLE = "RANGE_NOT_SATISFIABLE"
    FAMILY_UNKNOWN = "FAMILY_UNKNOWN"
    TOKENIZER_UNKNOWN = "TOKENIZER_UNKNOWN"
    TOKENIZER_UNAVAILABLE = "TOKENIZER_UNAVAILABLE"
    TOKENIZER_MISMATCH = "TOKENIZER_MISMATCH"
    DEVICE_UNAVAILABLE = "DEVICE_UNAVAILABLE"
    MODEL_TOO_LARGE = "MODEL_TOO_LARGE"
    DATA_NOT_FOUND = "DATA_NOT_FOUND"
    DATA_PATH_FORBIDDEN = "DATA_PATH_FORBIDDEN"
    DATA_EMPTY = "DATA_EMPTY"
    DATA_TOO_SMALL = "DATA_TOO_SMALL"
    DATA_FORMAT_UNSUPPORTED = "DATA_FORMAT_UNSUPPORTED"
    DATA_ENCODING_INVALID = "DATA_ENCODING_INVALID"
    DATA_CHANGED = "DATA_CHANGED"
    VOCAB_TOO_LARGE = "VOCAB_TOO_LARGE"
    CONFLICT = "CONFLICT"
    IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"
    DIVERGED = "DIVERGED"
    TOKENIZER_TRAIN_FAILED = "TOKENIZER_TRAIN_FAILED"
    MODEL_TRAIN_FAILED = "MODEL_TRAIN_FAILED"
    EVALUATION_FAILED = "EVALUATION_FAILED"
    ARTIFACT_CORRUPT = "ARTIFACT_CORRUPT"
    CHECKPOINT_INVALID = "CHECKPOINT_INVALID"
    CHECKPOINT_NOT_WRITTEN = "CHECKPOINT_NOT_WRITTEN"
    STORAGE_READ_ONLY = "STORAGE_READ_ONLY"
    LEASE_LOST = "LEASE_LOST"
    WORKER_LOST = "WORKER_LOST"
    JOB_TIMEOUT = "JOB_TIMEOUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    DISK_FULL = "DISK_FULL"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    STACK_FAILED = "STACK_FAILED"
    INTERNAL = "INTERNAL"


class FailureClass(StrEnum):
    """Who can mend it: the caller, time, or we."""

    USER_INPUT = "USER_INPUT"
    TRANSIENT = "TRANSIENT"
    FATAL = "FATAL"


class Reason(StrEnum):
    """Why a run ended badly or stands still: a closed list."""

    INVALID_DATA = "invalid_data"
    INVALID_CONFIG = "invalid_config"
    USER_CANCELLED = "user_cancelled"
    NAN_LOSS = "nan_loss"
    OUT_OF_MEMORY = "out_of_memory"
    WORKER_LOST = "worker_lost"
    DISK_FULL = "disk_full"
    TIMEOUT = "timeout"
    STORE_UNAVAILABLE = "store_unavailable"
    INTERNAL_ERROR = "internal_error"


def failure_class_of(code: ErrorCode) -> FailureClass:
    """The class a failure with this code belongs to; retries look at nothing else."""
    match code:
        case (
            ErrorCode.UNAUTHORIZED
            | ErrorCode.NOT_FOUND
            | ErrorCode.RUN_NOT_FOUND
            | ErrorCode.TOKENIZER_NOT_FOUND
            | ErrorCode.ARTIFACT_NOT_FOUND
            | ErrorCode.FILE_NOT_FOUND
            | ErrorCode.REQUEST_NOT_FOUND
            | ErrorCode.DIGEST_MISMATCH
            | ErrorCode.METHOD_NOT_ALLOWED
            | ErrorCode.CONFIG_INVALID
            | ErrorCode.REQUEST_TOO_LARGE
            | ErrorCode.RANGE_NOT_SATISFIABLE
            | ErrorCode.FAMILY_UNKNOWN
            | ErrorCode.TOKENIZER_UNKNOWN
            | ErrorCode.TOKENIZER_UNAVAILABLE
            | ErrorCode.TOKENIZER_MISMATCH
            | ErrorCode.DEVICE_UNAVAILABLE
            | ErrorCode.MODEL_TOO_LARGE
            | ErrorCode.DATA_NOT_FOUND
            | ErrorCode.DATA_PATH_FORBIDDEN
            | ErrorCode.DATA_EMPTY
            | ErrorCode.DATA_TOO_SMALL
            | ErrorCode.DATA_FORMAT_UNSUPPORTED
            | ErrorCode.DATA_ENCODING_INVALID
            | ErrorCode.DATA_CHANGED
            | ErrorCode.VOCAB_TOO_LARGE
            | ErrorCode.CONFLICT
            | ErrorCode.IDEMPOTENCY_KEY_REUSED
            | ErrorCode.DIVERGED
        ):
            return FailureClass.USER_INPUT
        case (
            ErrorCode.WORKER_LOST
            | ErrorCode.LEASE_LOST
            | ErrorCode.OUT_OF_MEMORY
            | ErrorCode.DISK_FULL
            | ErrorCode.CHECKPOINT_NOT_WRITTEN
            | ErrorCode.STORE_UNAVAILABLE
            | ErrorCode.SERVICE_UNAVAILABLE
        ):
            return FailureClass.TRANSIENT
        case (
            ErrorCode.TOKENIZER_TRAIN_FAILED
            | ErrorCode.MODEL_TRAIN_FAILED
            | ErrorCode.EVALUATION_FAILED
            | ErrorCode.ARTIFACT_CORRUPT
            | ErrorCode.CHECKPOINT_INVALID
            | ErrorCode.STORAGE_READ_ONLY
            | ErrorCode.STACK_FAILED
            | ErrorCode.JOB_TIMEOUT
            | ErrorCode.INTERNAL
        ):
            return FailureClass.FATAL
        case _:
            assert_never(code)


def reason_of(code: ErrorCode) -> Reason:
    """The closed reason that a run ending with this code shows."""
    match code:
        case ErrorCode.DIVERGED:
            return Reason.NAN_LOSS
        case ErrorCode.JOB_TIMEOUT:
            return Reason.TIMEOUT
        case ErrorCode.OUT_OF_MEMORY:
            return Reason.OUT_OF_MEMORY
        case ErrorCode.WORKER_LOST | ErrorCode.LEASE_LOST:
            return Reason.WORKER_LOST
        case ErrorCode.DISK_FULL:
            return Reason.DISK_FULL
        case ErrorCode.STORE_UNAVAILABLE | ErrorCode.SERVICE_UNAVAILABLE:
            return Reason.STORE_UNAVAILABLE
        case _ if code.value.startswith(("DATA_", "VOCAB_")):
            return Reason.INVALID_DATA
        case _ if failure_class_of(code) is FailureClass.USER_INPUT:
            return Reason.INVALID_CONFIG
        case _:
            return Reason.INTERNAL_ERROR
