"""Puts questions to trained models in line for the processes that answer them. Knows no HTTP and no torch."""

import hashlib

from model_trainer.core.contracts.base import JsonObject, as_json, dump_json
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.inference import (
    INFERENCE_QUEUE,
    ChatSpec,
    Conversation,
    GenerateSpec,
    InferenceKind,
    InferenceRecord,
    InferenceRequest,
    InferenceSubmission,
    ScoreSpec,
)
from model_trainer.core.contracts.prediction import PredictSpec
from model_trainer.core.contracts.run import IdempotencyKey, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.inference import InferenceStore
from model_trainer.core.ports.runs import WorkerRegistry
from model_trainer.orchestrators.detectors import check_trained_detector, is_detector

AskSpec = GenerateSpec | ScoreSpec | ChatSpec | PredictSpec
OF_ONE_REQUEST = frozenset(
    {
        *("prompt_text", "prompt_path", "num_return_sequences", "seed", "stream"),
        *("text", "path"),
        *("message", "conversation_id", "system", "history"),
        *("texts", "decision"),
    }
)
"""Fields that requests which are answered together need not have in common."""


class InferenceOrchestrator:
    """Questions, how they stand, and conversations."""

    def __init__(self, *, inference: InferenceStore, workers: WorkerRegistry) -> None:
        self._inference = inference
        self._workers = workers

    def ask(
        self,
        spec: AskSpec,
        *,
        kind: InferenceKind,
        run: RunRecord,
        request_id: str,
        idempotency: IdempotencyKey | None,
    ) -> InferenceSubmission:
        """Puts a question to the model of `run` in line, once per idempotency key.

        Raises CONFLICT for a run that has no such model, SERVICE_UNAVAILABLE when nobody is there to answer, and what
        InferenceStore.submit does.
        """
        check_can_be_asked(run, kind=kind)
        self._check_attended()
        request = InferenceRequest(
            request_id=new_ulid(),
            kind=kind,
            run_id=run.run_id,
            spec=as_json(spec),
            batch_key=batch_key(kind, run.run_id, spec),
            conversation_id=spec.conversation_id or new_ulid() if isinstance(spec, ChatSpec) else None,
            http_request_id=request_id,
        )
        return self._inference.submit(request, idempotency=idempotency)

    def find_submission(self, idempotency: IdempotencyKey) -> InferenceSubmission | None:
        """What an earlier request asked with this key and body; None when the key is new."""
        return self._inference.find_submission(idempotency)

    def find(self, kind: InferenceKind, run_id: str, request_id: str) -> InferenceRecord:
        """A question, and its answer when there is one; raises REQUEST_NOT_FOUND."""
        return self._inference.get(kind, run_id, request_id)

    def conversation(self, run_id: str, conversation_id: str) -> Conversation:
        """What was said so far; raises REQUEST_NOT_FOUND."""
        return self._inference.conversation(run_id, conversation_id)

    def _check_attended(self) -> None:
        if not any(worker.queue == INFERENCE_QUEUE for worker in self._workers.alive()):
            message = (
                "No process is alive that answers questions: start `model-trainer inference` "
                "(`model-trainer up` does), then ask again."
            )
            raise AppError(ErrorCode.SERVICE_UNAVAILABLE, message)


def check_can_be_asked(run: RunRecord, *, kind: InferenceKind) -> None:
    """Raises CONFLICT, with the reason, when the run has no model that answers questions of this kind.

    Args:
        run: of a training.
        kind: of the question.
    """
    if kind is InferenceKind.PREDICT:
        check_trained_detector(run, wanted="judge texts")
        return
    if is_detector(run):
        message = f"Run {run.run_id} trains a {run.family}; only a language model can {kind.value}. Ask it to predict."
    elif run.status is not RunStatus.COMPLETED:
        message = f"Run {run.run_id} is {run.status.value}; only a completed language model can {kind.value}."
    else:
        return
    raise AppError(ErrorCode.CONFLICT, message, facts={"run_id": run.run_id})


def batch_key(kind: InferenceKind, run_id: str, spec: AskSpec) -> str:
    """The same for questions that may be answered together: of one kind, to one model, with the same settings."""
    settings: JsonObject = {
        name: value for name, value in as_json(spec).items() if name not in OF_ONE_REQUEST
    }
    return hashlib.sha256(dump_json([kind.value, run_id, settings]).encode()).hexdigest()
