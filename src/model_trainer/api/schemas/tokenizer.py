"""A tokenizer as the API shows it."""

from datetime import datetime

from model_trainer.api.schemas.page import Page, first_and_last
from model_trainer.api.schemas.problem import RunProblem
from model_trainer.api.schemas.run import at, at_or_none, heartbeat_age, problem_of
from model_trainer.core.contracts.base import Contract, JsonObject
from model_trainer.core.contracts.run import Phase, Progress, RunPage, RunRecord, RunStatus
from model_trainer.core.errors import FailureClass, Reason


class TokenizerView(Contract):
    """One tokenizer, trained or in the making."""

    tokenizer_id: str
    method: str
    status: RunStatus
    phase: Phase
    message: str
    """What is happening, for a person."""
    progress: Progress
    heartbeat_age_seconds: float | None
    vocab_size: int | None
    """Entries it really has; null until it is trained."""
    stats: JsonObject | None
    """Measured on the holdout; null until it is trained."""
    result: JsonObject
    reason: Reason | None
    failure_class: FailureClass | None
    problem: RunProblem | None
    user_id: str | None
    metadata: dict[str, str]
    request_id: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    spec: JsonObject
    artifact_file_id: str | None
    """Where its artifact is stored; None: on one machine only."""
    links: dict[str, str]


def view_tokenizer(record: RunRecord) -> TokenizerView:
    """The record, as it is shown."""
    stats = record.result.get("stats")
    return TokenizerView(
        tokenizer_id=record.run_id,
        method=record.family,
        status=record.status,
        phase=record.phase,
        message=record.message,
        progress=record.progress,
        heartbeat_age_seconds=heartbeat_age(record),
        vocab_size=trained_vocab_size(record),
        stats=stats if isinstance(stats, dict) else None,
        result=record.result,
        reason=record.reason,
        failure_class=record.failure_class,
        problem=problem_of(record),
        user_id=record.user_id,
        metadata=record.metadata,
        request_id=record.request_id,
        created_at=at(record.created_at_ms),
        started_at=at_or_none(record.started_at_ms),
        finished_at=at_or_none(record.finished_at_ms),
        spec=record.spec,
        artifact_file_id=record.artifact_file_id,
        links=_links(record),
    )


def view_tokenizers(page: RunPage) -> Page[TokenizerView]:
    """A page of tokenizers."""
    first, last = first_and_last([record.run_id for record in page.records])
    data = tuple(map(view_tokenizer, page.records))
    return Page[TokenizerView](data=data, has_more=page.has_more, first_id=first, last_id=last)


def trained_vocab_size(record: RunRecord) -> int | None:
    """The vocabulary of a finished tokenizer, as its job reported it."""
    info = record.result.get("info")
    size = info.get("vocab_size") if isinstance(info, dict) else None
    return size if isinstance(size, int) else None


def _links(record: RunRecord) -> dict[str, str]:
    run = f"/runs/{record.run_id}"
    links = {
        "self": f"/tokenizers/{record.run_id}",
        "run": run,
        "events": f"{run}/events",
        "logs": f"{run}/logs",
        "artifact": f"/artifacts/tokenizers/{record.run_id}",
    }
    return links if record.status.is_terminal else {**links, "cancel": f"{run}/cancel"}
