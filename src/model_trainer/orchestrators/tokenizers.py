"""Sets tokenizer trainings going. A tokenizer is a run whose run_id is the tokenizer_id."""

from model_trainer.core.contracts.base import as_json
from model_trainer.core.contracts.ids import TokenizerId, new_ulid
from model_trainer.core.contracts.run import (
    IdempotencyKey,
    NewRun,
    RunKind,
    RunPage,
    RunQuery,
    RunRecord,
    Submission,
)
from model_trainer.core.contracts.tokenizer import TokenizerSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.failpoints import Reached, pass_by
from model_trainer.core.ports.runs import RunStore
from model_trainer.core.ports.storage import ArtifactTree
from model_trainer.orchestrators.needs import Needs
from model_trainer.orchestrators.records import Records


class TokenizerOrchestrator:
    """Tokenizers, from the order to the finished one."""

    def __init__(
        self,
        *,
        runs: RunStore,
        artifacts: ArtifactTree,
        needs: Needs,
        queue_name: str,
        reached: Reached = pass_by,
    ) -> None:
        self._runs = runs
        self._records = Records(runs=runs, artifacts=artifacts, needs=needs, reached=reached)
        self._queue_name = queue_name

    def start(
        self, spec: TokenizerSpec, *, request_id: str, idempotency: IdempotencyKey | None
    ) -> Submission:
        """Records the tokenizer and puts its training in the short queue, once per idempotency key."""
        run = NewRun(
            run_id=new_ulid(),
            kind=RunKind.TOKENIZER,
            queue=self._queue_name,
            family=spec.method,
            spec=as_json(spec),
            user_id=spec.user_id,
            metadata=spec.metadata,
            parent_run_id=None,
            request_id=request_id,
        )
        return self._records.submit(run, idempotency=idempotency)

    def find(self, tokenizer_id: TokenizerId) -> RunRecord:
        """The record of a tokenizer; raises TOKENIZER_NOT_FOUND."""
        try:
            record = self._runs.get(tokenizer_id)
        except AppError as error:
            if error.code is not ErrorCode.RUN_NOT_FOUND:
                raise
            raise _not_found(tokenizer_id) from error
        if record.kind is not RunKind.TOKENIZER:
            raise _not_found(tokenizer_id)
        return record

    def list_tokenizers(self, query: RunQuery) -> RunPage:
        """One page of tokenizers, newest first."""
        return self._runs.list_runs(query)


def _not_found(tokenizer_id: str) -> AppError:
    message = (
        f"There is no tokenizer {tokenizer_id}. GET /tokenizers lists them; POST /tokenizers/train makes one."
    )
    return AppError(ErrorCode.TOKENIZER_NOT_FOUND, message, facts={"tokenizer_id": tokenizer_id})
