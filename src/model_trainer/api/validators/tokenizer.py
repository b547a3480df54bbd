"""Can this tokenizer be trained here?"""

from model_trainer.core.contracts.run import Worker
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.tokenizers.kind import TokenizerKind

EVERY_WORKERS_EXTRA = "worker"


def check_library(kind: TokenizerKind, *, workers: tuple[Worker, ...]) -> None:
    """Raises TOKENIZER_UNAVAILABLE when workers are alive and none has the library that the method needs.

    With no worker alive the question stays open until one takes the job.
    """
    if not workers or any(has_library(worker, kind) for worker in workers):
        return
    message = (
        f"Tokenizers of method {kind.name} need a library that no worker has: "
        f'pip install "model-trainer[{kind.extra}]" where the workers run, or choose another method.'
    )
    fault = FieldFault(pointer="/method", message=message)
    raise AppError(ErrorCode.TOKENIZER_UNAVAILABLE, message, faults=[fault])


def has_library(worker: Worker, kind: TokenizerKind) -> bool:
    """Whether a worker can train this kind of tokenizer."""
    return kind.extra in ("", EVERY_WORKERS_EXTRA, *worker.extras)
