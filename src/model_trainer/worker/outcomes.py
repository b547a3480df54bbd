"""What an exception means for a run: its problem, its reason, and whether to try again."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

from model_trainer.core.contracts.run import Problem, ProblemFault
from model_trainer.core.errors import AppError, ErrorCode, FailureClass
from model_trainer.core.files import is_disk_full

MOST_BACKOFF_SECONDS = 3600.0


def as_app_error(error: Exception, *, fallback: ErrorCode) -> AppError:
    """`error` as one of ours; what nobody foresaw gets the job's own code and no details for strangers."""
    if isinstance(error, AppError):
        return error
    if isinstance(error, MemoryError) or _is_torch_out_of_memory(error):
        message = "The machine ran out of memory. Use a smaller batch_size, max_seq_len or model."
        return AppError(ErrorCode.OUT_OF_MEMORY, message)
    if type(error).__name__ == "JobTimeoutException":  # RQ's, raised by its alarm; RQ is not known here
        message = (
            "The job ran longer than RQ__JOB_TIMEOUT_SECONDS allows. Allow more, or ask for fewer steps."
        )
        return AppError(ErrorCode.JOB_TIMEOUT, message)
    if is_disk_full(error):
        return AppError(ErrorCode.DISK_FULL, "The disk is full. Free some space.")
    return AppError(fallback, "Something failed that should not have. The log of the run has the details.")


@contextmanager
def faults_at(pointer: str) -> Iterator[None]:
    """What fails inside the with-block names the field of the request that it comes from."""
    try:
        yield
    except AppError as error:
        if error.failure_class is FailureClass.TRANSIENT:  # a full disk or a lost lease is no field's fault
            raise
        raise error.at(pointer) from error


def problem_of(error: AppError, cause: Exception) -> Problem:
    """The problem a record, a manifest and the API show."""
    inner: BaseException | None = cause
    while isinstance(inner, AppError):
        inner = inner.__cause__
    return Problem(
        code=error.code,
        message=_writable(error.message),
        faults=tuple(
            ProblemFault(pointer=_writable(fault.pointer), message=_writable(fault.message))
            for fault in error.faults
        ),
        exception=_writable(f"{type(inner).__name__}: {inner}"[:2000]) if inner is not None else None,
    )


def backoff_seconds(attempt: int, *, base: float, source: random.Random) -> float:
    """Wait before the next try: doubles each time up to an hour or so, with up to 20 % of jitter either way."""
    doublings = min(max(0, attempt - 1), 60)  # more would not fit a float, sooner or later
    return min(MOST_BACKOFF_SECONDS, base * 2.0**doublings) * source.uniform(0.8, 1.2)


def _writable(text: str) -> str:
    """Without lone surrogates (of file names that are not UTF-8, or damaged JSON), which no JSON can be written with."""
    return text.encode("utf-8", "replace").decode()


_OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "could not create a primitive",
    "can't start new thread",
)
"""What torch's CPU allocator says; oneDNN when it gets no memory for a kernel or its scratchpad; Python when there is none for
a thread's stack."""


def _is_torch_out_of_memory(error: Exception) -> bool:
    """torch raises its own type on CUDA and a RuntimeError elsewhere."""
    return type(error).__name__ == "OutOfMemoryError" or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)
    )
