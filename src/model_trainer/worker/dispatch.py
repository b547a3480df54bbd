"""From an order to the job that carries it out. A fixed table: a writer to the queue cannot name code."""

from typing import assert_never

from model_trainer.core.contracts.jobs import (
    AnyJob,
    CalibrateModel,
    EvaluateModel,
    ExportModel,
    TrainModel,
    TrainTokenizer,
    decode_job,
)
from model_trainer.worker.parts import WorkerParts
from model_trainer.worker.supervise import Job, supervise


def dispatch(payload: str, parts: WorkerParts) -> None:
    """Carries out the order in `payload`; raises CONFIG_INVALID when it is none of ours."""
    order = decode_job(payload)
    supervise(parts, run_id=order.run_id, epoch=order.epoch, job=job_for(order, parts))


def job_for(order: AnyJob, parts: WorkerParts) -> Job:
    """The job of an order. Imports what it needs here, so that a tokenizer job never waits for torch."""
    match order:
        case TrainModel():
            from model_trainer.worker.train_model import train_model_job

            return train_model_job(parts)
        case TrainTokenizer():
            from model_trainer.worker.train_tokenizer import train_tokenizer_job

            return train_tokenizer_job(parts)
        case EvaluateModel():
            from model_trainer.worker.evaluate_model import evaluate_model_job

            return evaluate_model_job(parts)
        case CalibrateModel():
            from model_trainer.worker.calibrate_model import calibrate_model_job

            return calibrate_model_job(parts)
        case ExportModel():
            from model_trainer.worker.export_model import export_model_job

            return export_model_job(parts)
        case _:
            assert_never(order)
