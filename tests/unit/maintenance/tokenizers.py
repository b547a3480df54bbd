"""Tokenizers that nothing was made with."""

from model_trainer.container import Container
from model_trainer.core.contracts.run import Outcome, RunKind, RunRecord, RunStatus
from tests.contract.run_stores import new_run


def completed_tokenizer(container: Container) -> RunRecord:
    """One that was trained a moment ago."""
    run = new_run(kind=RunKind.TOKENIZER, family="char", spec={}, user_id=None)
    container.runs.submit(run, idempotency=None)
    lease = container.runs.claim(run.run_id, epoch=0, owner="w", host="h", lease_seconds=3600)
    assert lease is not None
    return container.runs.finish(lease, Outcome(status=RunStatus.COMPLETED, message="Done."))
