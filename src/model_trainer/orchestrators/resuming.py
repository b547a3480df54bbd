"""Whether a training may go on where it stood: each refusal says why, and what to do instead."""

from collections.abc import Sequence

from pydantic import ValidationError

from model_trainer.core.artifact_files import MANIFEST
from model_trainer.core.checkpoints import CheckpointFacts
from model_trainer.core.contracts.base import JsonObject, as_json, dump_json
from model_trainer.core.contracts.manifest import Manifest
from model_trainer.core.contracts.run import RunKind, RunRecord, RunStatus
from model_trainer.core.contracts.training import TrainSpec
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.ports.storage import ArtifactTree

NEW_TRAINING = "start a new training with init_from to go on from its weights"
_WAY_OUT = {
    RunStatus.QUEUED: "it goes on by itself when a worker is free",
    RunStatus.RUNNING: "pause or cancel it first",
    RunStatus.CANCELLING: "wait until it is cancelled",
    RunStatus.COMPLETED: NEW_TRAINING,
}


def check_stands_still(record: RunRecord) -> None:
    """Raises CONFLICT for a run that goes on by itself or has nothing left to do."""
    way_out = _WAY_OUT.get(record.status)
    if way_out is not None:
        raise _conflict(record, f"is {record.status.value}: {way_out}.")


def check_training(record: RunRecord) -> None:
    """Raises CONFLICT for a run of another kind: those keep no checkpoints."""
    if record.kind is not RunKind.TRAIN:
        what = f"is of kind {record.kind.value}, which keeps no checkpoints"
        raise _conflict(record, f"{what}: order it again if it did not complete.")


def check_folder(record: RunRecord, artifacts: ArtifactTree) -> None:
    """Raises CONFLICT when another installation wrote the run's folder, or when the spec in it is another one."""
    manifest = _manifest(record, artifacts)
    if manifest is None:
        return
    if manifest.installation_id not in (None, artifacts.installation_id()):
        writer = f"another installation ({manifest.installation_id})"
        raise _conflict(record, f"has a folder that {writer} wrote: resume it there.")
    changed = _differing(manifest.spec, record.spec)
    if changed:
        named = ", ".join(changed)
        raise _conflict(record, f"has a folder that was made with another {named}: {NEW_TRAINING}.")


def check_same_spec(record: RunRecord, spec: TrainSpec) -> None:
    """Raises CONFLICT when `spec` is not the one that the run was ordered with."""
    changed = _differing(as_json(spec), _as_read_now(record.spec, type(spec)))
    if changed:
        faults = [FieldFault(f"/spec/{name}", "not what the run was ordered with") for name in changed]
        message = f"was ordered with another {', '.join(changed)}, which cannot change: {NEW_TRAINING}."
        raise _conflict(record, message, faults)


def check_step(step: int, found: Sequence[CheckpointFacts]) -> None:
    """Raises CONFIG_INVALID when there is no good checkpoint of that step."""
    chosen = next((one for one in found if one.step == step), None)
    if chosen is not None and chosen.problem is None:
        return
    good = ", ".join(str(one.step) for one in found if one.problem is None)
    choose = f"Choose one of these: {good}." if good else "There is no good one: leave the step out."
    why = "There is none" if chosen is None else f"It does not fit ({chosen.problem})"
    message = f"The run cannot go on from a checkpoint of step {step}. {why}. {choose}"
    raise AppError(ErrorCode.CONFIG_INVALID, message, faults=[FieldFault("/step", f"{why}.")])


def _manifest(record: RunRecord, artifacts: ArtifactTree) -> Manifest | None:
    """What the run's folder says of itself; None while there is nothing."""
    try:
        return Manifest.model_validate_json(artifacts.file("models", record.run_id, MANIFEST).read_bytes())
    except AppError:  # there is none
        return None
    except ValidationError as error:
        raise _conflict(record, f"has a damaged {MANIFEST}: {NEW_TRAINING}.") from error


def _as_read_now(stored: JsonObject, model: type[TrainSpec]) -> JsonObject:
    """A stored spec with the fields that this version has added since; as it is when it is of another family."""
    try:
        return as_json(model.model_validate_json(dump_json(stored)))
    except ValidationError:
        return stored


def _differing(one: JsonObject, other: JsonObject) -> list[str]:
    """Names of the fields that are not alike; one that is missing is like null."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _conflict(record: RunRecord, why: str, faults: Sequence[FieldFault] = ()) -> AppError:
    message = f"Run {record.run_id} cannot be resumed: it {why}"
    return AppError(ErrorCode.CONFLICT, message, facts={"run_id": record.run_id}, faults=faults)
