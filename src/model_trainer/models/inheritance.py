"""Whether a training can begin with the weights of an earlier one, and which sizes it takes over: asked by the API when it
can, by the worker always. Torch-free."""

from collections.abc import Collection, Iterator

from model_trainer.core.contracts.base import JsonObject, as_json, dump_json
from model_trainer.core.contracts.run import RunKind, RunRecord, RunStatus
from model_trainer.core.contracts.training import Recipe, TrainSpec
from model_trainer.core.errors import AppError, ErrorCode, FieldFault

PARENT_FIELD = "/init_from/run_id"
STEP_FIELD = "/init_from/step"
OPTIMIZER_FIELD = "/init_from/keep_optimizer"
_FREE = frozenset({"dropout", "gradient_checkpointing", "min_params"})
"""What a recipe calls its shape and no weight has."""


def check_parent(
    spec: TrainSpec,
    parent: RunRecord,
    *,
    steps: Collection[int],
    tokenizer_sha256: str | None = None,
    parent_tokenizer_sha256: str | None = None,
) -> None:
    """Raises when `parent` is no start for this training: CONFIG_INVALID, or CONFLICT while it may become one.

    Args:
        spec: with init_from; without it there is nothing to check.
        parent: the record of init_from.run_id.
        steps: the parent's checkpoints.
        tokenizer_sha256: of the tokenizer asked for, if one was; where it is the parent's too, the tokenizers are the same.
        parent_tokenizer_sha256: of the parent's tokenizer.
    """
    asked = spec.init_from
    if asked is None:
        return
    if parent.kind is not RunKind.TRAIN or parent.family != spec.model_family:
        raise _refused(PARENT_FIELD, f"must be a training of {spec.model_family}; {parent.run_id} is none.")
    is_same_text = tokenizer_sha256 is not None and tokenizer_sha256 == parent_tokenizer_sha256
    named, theirs = spec.known_tokenizer_id, parent.spec.get("tokenizer_id")
    # Who names no tokenizer takes the parent's over, as with any size.
    if named is not None and not is_same_text and named != theirs:
        message = f"must be the tokenizer of run {parent.run_id}, {theirs or 'its own (leave it out)'}: its weights know no other."
        raise _refused("/tokenizer_id", message)
    if asked.step is None:
        if asked.keep_optimizer:
            raise _refused(
                OPTIMIZER_FIELD, "needs init_from.step: only checkpoints hold the optimizer's state."
            )
        if parent.status is not RunStatus.COMPLETED:
            goes_on = parent.status in (RunStatus.QUEUED, RunStatus.RUNNING)
            otherwise = "wait until it is completed" if goes_on else "let it go on first (resume)"
            message = f"Run {parent.run_id} is {parent.status.value}: name the step of a checkpoint, or {otherwise}."
            raise _refused(PARENT_FIELD, message, code=ErrorCode.CONFLICT)
    elif asked.step not in steps:
        known = ", ".join(str(step) for step in sorted(steps)) or "none"
        raise _refused(STEP_FIELD, f"must be a checkpoint of run {parent.run_id}; there are: {known}.")


def inherit_sizes(spec: TrainSpec, parent: Recipe) -> TrainSpec:
    """`spec` with the sizes that it leaves out as the parent has them; raises CONFIG_INVALID for those that differ."""
    fields = as_json(spec)
    faults = list(_take_over(fields, parent))
    if faults:
        names = ", ".join(fault.pointer.removeprefix("/") for fault in faults)
        message = f"The weights of init_from have other sizes: see {names}."
        raise AppError(ErrorCode.CONFIG_INVALID, message, faults=faults)
    return type(spec).model_validate_json(dump_json(fields))


def check_inherited(spec: TrainSpec, recipe: Recipe, parent: Recipe) -> None:
    """Raises CONFIG_INVALID when the resolved recipe cannot take the parent's weights, or its optimizer's state."""
    if _sizes(recipe) != _sizes(parent):
        message = "has weights of other sizes or names than this training: it cannot begin with them."
        raise _refused(PARENT_FIELD, message)
    keeps_optimizer = spec.init_from is not None and spec.init_from.keep_optimizer
    if keeps_optimizer and recipe.optimizer != parent.optimizer:
        message = (
            f"needs the parent's optimizer, {parent.optimizer}; this training asks for {recipe.optimizer}."
        )
        raise _refused(OPTIMIZER_FIELD, message)


def _take_over(fields: JsonObject, parent: Recipe) -> Iterator[FieldFault]:
    for name, theirs in {**parent.shape, "max_seq_len": parent.max_seq_len}.items():
        if name in fields and fields[name] is None:
            fields[name] = theirs
        elif name in fields and fields[name] != theirs and name not in _FREE:
            # A switch that is left out is off, not as the parent's.
            way_out = "" if isinstance(theirs, bool) else "; leave it out"
            yield FieldFault(
                f"/{name}", f"must be {dump_json(theirs)}, as in the run it begins from{way_out}"
            )


def _sizes(recipe: Recipe) -> tuple[str, int, int, dict[str, int | float | str | bool]]:
    shape = {name: size for name, size in recipe.shape.items() if name not in _FREE}
    return recipe.model_family, recipe.vocab_size, recipe.max_seq_len, shape


def _refused(pointer: str, message: str, *, code: ErrorCode = ErrorCode.CONFIG_INVALID) -> AppError:
    field = pointer.removeprefix("/").replace("/", ".")
    text = message if message.startswith("Run ") else f"{field} {message}"
    return AppError(code, text, faults=[FieldFault(pointer, message)])
