"""Which earlier run a model is compared with."""

from model_trainer.core.contracts.evaluation import Evaluation
from model_trainer.core.contracts.run import RunKind, RunQuery, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.engine.evaluation.compare import read_evaluation
from model_trainer.engine.evaluation.evaluate import METRICS_FILE
from model_trainer.worker.parts import WorkerParts

_LOOK_BACK = 100


def find_baseline(parts: WorkerParts, record: RunRecord, *, asked: str | None) -> Evaluation | None:
    """The final evaluation of the run asked for, or of the newest completed run of the same family on the same corpus.

    Raises RUN_NOT_FOUND or CONFLICT when the run asked for has no evaluation; None when nothing was asked for and
    there is no such run.
    """
    if asked is not None:
        found = _evaluation_of(parts, asked)
        if found is None:
            fault = FieldFault("/compare_to_run_id", "must be a completed training with an evaluation")
            raise AppError(
                ErrorCode.CONFLICT, f"Run {asked} has no evaluation to compare with.", faults=[fault]
            )
        return found
    query = RunQuery(
        kind=RunKind.TRAIN, limit=_LOOK_BACK, status=RunStatus.COMPLETED, family=record.family, after=None
    )
    for earlier in parts.runs.list_runs(query).records:
        same_corpus = earlier.spec.get("corpus_path") == record.spec.get("corpus_path")
        if same_corpus and earlier.run_id < record.run_id:
            return _evaluation_of(parts, earlier.run_id)
    return None


def _evaluation_of(parts: WorkerParts, run_id: str) -> Evaluation | None:
    parts.runs.get(run_id)
    if not parts.artifacts.exists("models", run_id):
        return None
    return read_evaluation(parts.artifacts.folder("models", run_id) / "eval" / METRICS_FILE)
