"""Can this evaluation be done?"""

from model_trainer.api.validators.corpus import check_corpus
from model_trainer.api.validators.detector import check_labelled
from model_trainer.api.validators.training import check_comparison
from model_trainer.core.contracts.detector import EvaluateDetectorSpec
from model_trainer.core.contracts.evaluation import EvaluateSpec
from model_trainer.core.contracts.run import RunRecord, Worker
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.ports.runs import RunStore
from model_trainer.core.ports.storage import CorpusRoot


def check_evaluation(
    spec: EvaluateSpec | EvaluateDetectorSpec,
    parent: RunRecord,
    *,
    corpora: CorpusRoot,
    runs: RunStore,
    workers: tuple[Worker, ...],
) -> None:
    """Raises what is wrong with the text, the split or the run to compare with."""
    match spec:
        case EvaluateSpec(corpus_path=str(path)):
            check_corpus(corpora, path, encoding_errors=spec.encoding_errors, workers=workers)
        case EvaluateDetectorSpec():
            check_labelled(corpora, spec.data_paths, columns=spec.columns, workers=workers)
        case _:  # a split of the run's own corpus, which the training has read
            pass
    if spec.split == "test" and not parent.spec.get("test_fraction"):
        other = "a corpus_path" if isinstance(spec, EvaluateSpec) else "data_paths"
        message = (
            f"Run {parent.run_id} kept no test split (test_fraction 0); evaluate validation, or {other}."
        )
        fault = FieldFault(pointer="/split", message=message)
        raise AppError(ErrorCode.CONFIG_INVALID, message, faults=[fault])
    check_comparison(spec.compare_to_run_id, runs)
