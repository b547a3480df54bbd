"""Can this training work at all? Tokenizer, run to compare with, run to begin from, sizes, device and memory."""

from model_trainer.api.schemas.tokenizer import trained_vocab_size
from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.detector import DetectorSpec
from model_trainer.core.contracts.ids import TokenizerId
from model_trainer.core.contracts.run import RunKind, RunRecord, RunStatus, Worker
from model_trainer.core.contracts.training import Recipe, TrainSpec
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.ports.runs import RunStore
from model_trainer.core.ports.storage import ArtifactTree
from model_trainer.models.family import Family
from model_trainer.models.inheritance import PARENT_FIELD, check_inherited, check_parent, inherit_sizes
from model_trainer.models.recipe_file import read_recipe
from model_trainer.models.requirements import check_fits, check_memory
from model_trainer.orchestrators.tokenizers import TokenizerOrchestrator
from model_trainer.orchestrators.training import TrainingOrchestrator

ANY_MACHINE = Machine(cpu_count=1 << 10, memory_bytes=0, native_bf16=True, cuda_memory_bytes=1 << 62)
"""Lacks nothing: what is refused for it is wrong on every machine."""


def check_tokenizer(tokenizer_id: str, family: Family, tokenizers: TokenizerOrchestrator) -> int:
    """The vocabulary of the tokenizer that was asked for; raises TOKENIZER_NOT_FOUND, CONFLICT while it is in the
    making, TOKENIZER_MISMATCH."""
    record = _found(tokenizer_id, tokenizers)
    vocab_size = trained_vocab_size(record)
    if record.status is not RunStatus.COMPLETED or vocab_size is None:
        message = f"Tokenizer {record.run_id} is {record.status.value}; wait until it is completed, or name another."
        raise _at("/tokenizer_id", ErrorCode.CONFLICT, message)
    check_fits(family, record.family)
    return vocab_size


def check_comparison(run_id: str | None, runs: RunStore) -> None:
    """Raises CONFIG_INVALID when the run to compare with is not a completed training."""
    if run_id is None:
        return
    try:
        record = runs.get(run_id)
        fits = record.kind is RunKind.TRAIN and record.status is RunStatus.COMPLETED
    except AppError as error:
        if error.code is not ErrorCode.RUN_NOT_FOUND:
            raise
        fits = False
    if not fits:
        message = f"There is no completed training {run_id} to compare with; leave the field out to take the previous one."
        raise _at("/compare_to_run_id", ErrorCode.CONFIG_INVALID, message)


def check_origin(spec: TrainSpec, training: TrainingOrchestrator, artifacts: ArtifactTree) -> Recipe | None:
    """The recipe of the training that this one begins from; None when it begins anew.

    Raises, naming the field: CONFIG_INVALID for one that is not there or does not fit, CONFLICT for one that has not
    come so far yet.
    """
    if spec.init_from is None:
        return None
    run_id = spec.init_from.run_id
    try:
        parent = training.find(run_id)
        known = training.checkpoints(run_id) if parent.kind is RunKind.TRAIN else ()
        check_parent(spec, parent, steps=[one.step for one in known if one.problem is None])
        return read_recipe(artifacts.folder("models", run_id))
    except AppError as error:
        if error.code not in (
            ErrorCode.RUN_NOT_FOUND,
            ErrorCode.ARTIFACT_NOT_FOUND,
            ErrorCode.ARTIFACT_CORRUPT,
        ):
            raise
        # 422: the path of this request exists, a field of its body is wrong.
        raise _at(PARENT_FIELD, ErrorCode.CONFIG_INVALID, error.message) from error


def check_capacity(
    spec: TrainSpec,
    family: Family,
    *,
    vocab_size: int,
    workers: tuple[Worker, ...],
    origin: Recipe | None = None,
) -> Recipe:
    """The recipe of a live worker that can carry it out; raises what the best of them would: DEVICE_UNAVAILABLE,
    MODEL_TOO_LARGE, CONFIG_INVALID.

    With no worker alive, device and memory stay open until one takes the job (phase validating); what no machine could
    do is refused all the same. With `origin` sizes left out are those of the training it begins from, and others are
    refused.
    """
    complete = spec if origin is None else inherit_sizes(spec, origin)
    # Which sizes an encoder of the hub has, the worker finds out.
    compared = None if isinstance(spec, DetectorSpec) and not spec.from_scratch else origin
    refusals: list[AppError] = []
    for machine in [_machine_of(worker) for worker in workers] or [ANY_MACHINE]:
        try:
            recipe = family.resolve(complete, machine, vocab_size=vocab_size)
            if compared is not None:
                check_inherited(spec, recipe, compared)
            check_memory(family.estimate(recipe), recipe, machine)
        except AppError as error:
            refusals.append(error)
        else:
            return recipe
    raise _most_telling(refusals)


def _found(tokenizer_id: str, tokenizers: TokenizerOrchestrator) -> RunRecord:
    try:
        return tokenizers.find(TokenizerId(tokenizer_id))
    except AppError as error:
        if error.code is not ErrorCode.TOKENIZER_NOT_FOUND:
            raise
        # 422, not 404: the path of this request exists, a field of its body is wrong.
        raise _at("/tokenizer_id", ErrorCode.CONFIG_INVALID, error.message) from error


def _machine_of(worker: Worker) -> Machine:
    return Machine(
        cpu_count=worker.cpu_count,
        memory_bytes=worker.memory_bytes,
        native_bf16=worker.native_bf16,
        cuda_memory_bytes=worker.cuda_memory_bytes,
    )


def _most_telling(refusals: list[AppError]) -> AppError:
    """Of several workers' refusals the one that came closest: too large for the largest, before no such device."""
    too_large = [error for error in refusals if error.code is ErrorCode.MODEL_TOO_LARGE]
    if too_large:
        return max(too_large, key=_available)
    return refusals[0]


def _available(error: AppError) -> int:
    available = error.facts["available_bytes"]
    return available if isinstance(available, int) else 0


def _at(pointer: str, code: ErrorCode, message: str) -> AppError:
    return AppError(code, message, faults=[FieldFault(pointer=pointer, message=message)])
