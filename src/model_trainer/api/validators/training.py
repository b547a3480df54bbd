"""Can this training work at all? Tokenizer, run to compare with, device and memory."""

from model_trainer.api.schemas.tokenizer import trained_vocab_size
from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.ids import TokenizerId
from model_trainer.core.contracts.run import RunKind, RunRecord, RunStatus, Worker
from model_trainer.core.contracts.training import TrainSpec
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.ports.runs import RunStore
from model_trainer.models.family import Family
from model_trainer.orchestrators.tokenizers import TokenizerOrchestrator

GIB = 1 << 30


def check_tokenizer(spec: TrainSpec, family: Family, tokenizers: TokenizerOrchestrator) -> int:
    """The vocabulary of the tokenizer that was asked for; raises TOKENIZER_NOT_FOUND, CONFLICT while it is in the
    making, TOKENIZER_MISMATCH."""
    record = _found(spec, tokenizers)
    vocab_size = trained_vocab_size(record)
    if record.status is not RunStatus.COMPLETED or vocab_size is None:
        message = f"Tokenizer {record.run_id} is {record.status.value}; wait until it is completed, or name another."
        raise _at("/tokenizer_id", ErrorCode.CONFLICT, message)
    supported = family.supported_tokenizers()
    if record.family not in supported:
        message = f"{family.name} does not take a tokenizer of method {record.family}; it takes {', '.join(supported)}."
        raise _at("/tokenizer_id", ErrorCode.TOKENIZER_MISMATCH, message)
    return vocab_size


def check_comparison(run_id: str | None, runs: RunStore) -> None:
    """Raises CONFIG_INVALID when the run to compare with is not a training that is known here."""
    if run_id is None:
        return
    try:
        known = runs.get(run_id).kind is RunKind.TRAIN
    except AppError as error:
        if error.code is not ErrorCode.RUN_NOT_FOUND:
            raise
        known = False
    if not known:
        message = f"There is no training {run_id} to compare with; leave the field out to compare with the previous one."
        raise _at("/compare_to_run_id", ErrorCode.CONFIG_INVALID, message)


def check_capacity(spec: TrainSpec, family: Family, *, vocab_size: int, workers: tuple[Worker, ...]) -> None:
    """Raises what the best of the live workers would: DEVICE_UNAVAILABLE, MODEL_TOO_LARGE, CONFIG_INVALID.

    With no worker alive the question stays open until one takes the job (phase validating).
    """
    refusals: list[AppError] = []
    for worker in workers:
        try:
            _check_worker(spec, family, vocab_size=vocab_size, worker=worker)
        except AppError as error:
            refusals.append(error)
        else:
            return
    if refusals:
        raise _most_telling(refusals)


def _found(spec: TrainSpec, tokenizers: TokenizerOrchestrator) -> RunRecord:
    try:
        return tokenizers.find(TokenizerId(spec.tokenizer_id))
    except AppError as error:
        if error.code is not ErrorCode.TOKENIZER_NOT_FOUND:
            raise
        # 422, not 404: the path of this request exists, a field of its body is wrong.
        raise _at("/tokenizer_id", ErrorCode.CONFIG_INVALID, error.message) from error


def _check_worker(spec: TrainSpec, family: Family, *, vocab_size: int, worker: Worker) -> None:
    machine = Machine(
        cpu_count=worker.cpu_count,
        memory_bytes=worker.memory_bytes,
        native_bf16=worker.native_bf16,
        cuda_memory_bytes=worker.cuda_memory_bytes,
    )
    recipe = family.resolve(spec, machine, vocab_size=vocab_size)
    estimate = family.estimate(recipe)
    available = machine.cuda_memory_bytes if recipe.device == "cuda" else machine.memory_bytes
    if 0 < available < estimate.total():
        message = (
            f"{estimate.num_parameters:,} parameters need at least {estimate.total() / GIB:.1f} GiB to train and the "
            f"largest worker has {available / GIB:.1f} GiB: choose a smaller size, max_seq_len or batch_size."
        )
        facts = {"needed_bytes": estimate.total(), "available_bytes": available}
        raise AppError(ErrorCode.MODEL_TOO_LARGE, message, facts=facts, faults=_size_faults())


def _most_telling(refusals: list[AppError]) -> AppError:
    """Of several workers' refusals the one that came closest: too large for the largest, before no such device."""
    too_large = [error for error in refusals if error.code is ErrorCode.MODEL_TOO_LARGE]
    if too_large:
        return max(too_large, key=_available)
    return refusals[0]


def _available(error: AppError) -> int:
    available = error.facts["available_bytes"]
    return available if isinstance(available, int) else 0


def _size_faults() -> list[FieldFault]:
    return [
        FieldFault(pointer=pointer, message="smaller values need less memory")
        for pointer in ("/batch_size", "/max_seq_len")
    ]


def _at(pointer: str, code: ErrorCode, message: str) -> AppError:
    return AppError(code, message, faults=[FieldFault(pointer=pointer, message=message)])
