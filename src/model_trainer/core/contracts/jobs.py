"""Orders that go through the queue. JSON in, typed out; the record holds everything else."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.ids import UlidText
from model_trainer.core.errors import AppError, ErrorCode


class TrainModel(Contract):
    """Train the model that the record's spec describes."""

    job: Literal["train_model"] = "train_model"
    run_id: UlidText
    epoch: int


class TrainTokenizer(Contract):
    """Train the tokenizer that the record's spec describes."""

    job: Literal["train_tokenizer"] = "train_tokenizer"
    run_id: UlidText
    epoch: int


class EvaluateModel(Contract):
    """Evaluate a trained model as the record's spec describes."""

    job: Literal["evaluate_model"] = "evaluate_model"
    run_id: UlidText
    epoch: int


class CalibrateModel(Contract):
    """Calibrate a trained detector as the record's spec describes."""

    job: Literal["calibrate_model"] = "calibrate_model"
    run_id: UlidText
    epoch: int


class ExportModel(Contract):
    """Export a trained detector as the record's spec describes."""

    job: Literal["export_model"] = "export_model"
    run_id: UlidText
    epoch: int


AnyJob = TrainModel | TrainTokenizer | EvaluateModel | CalibrateModel | ExportModel
Job = Annotated[AnyJob, Field(discriminator="job")]

_jobs: TypeAdapter[AnyJob] = TypeAdapter(Job)


def decode_job(payload: str) -> AnyJob:
    """The order in a queue payload; raises CONFIG_INVALID for anything else."""
    try:
        return _jobs.validate_json(payload)
    except ValidationError as error:
        raise AppError(ErrorCode.CONFIG_INVALID, "The queue held something that is not a job.") from error
