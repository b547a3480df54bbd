"""A run's events, made short for tests."""

from model_trainer.core.contracts.events import (
    CheckpointRejected,
    CheckpointSaved,
    Event,
    JobCancelled,
    JobCompleted,
    JobEvaluated,
    JobFailed,
    JobPaused,
    JobProgress,
    JobQueued,
    JobResumed,
    JobStarted,
    MetricsCompleted,
    MetricsConfig,
    MetricsProgress,
    StoredEvent,
)
from model_trainer.core.contracts.run import Phase, Progress
from model_trainer.core.errors import ErrorCode, FailureClass, Reason
from model_trainer.discord_bot.cards.run_story import RunStory, hear

RUN = "01JCB4Y1Q5W9D2ZK7N3M8XV6HT"
NOW_MS = 1_700_000_000_000
OWNER = "80351110224678912"


def told(*events: Event, story: RunStory | None = None) -> RunStory:
    """What a story is after these events, a second apart."""
    heard = story or RunStory(run_id=RUN)
    for event in events:
        at_ms = NOW_MS + 1000 * heard.seq
        heard = hear(heard, StoredEvent(seq=heard.seq + 1, at_ms=at_ms, event=event))
    return heard


def queued(kind: str = "train", family: str = "gpt2") -> JobQueued:
    return JobQueued(job_id=RUN, user_id=OWNER, kind=kind, family=family, queue="cpu")


def started(attempt: int = 1, worker: str = "worker") -> JobStarted:
    return JobStarted(job_id=RUN, user_id=OWNER, epoch=attempt, attempt=attempt, worker=worker)


def progressed(
    progress: Progress | None = None, *, phase: Phase = Phase.TRAINING, message: str = ""
) -> JobProgress:
    halfway = Progress(step=600, total_steps=1200, fraction=0.5, tokens_per_second=21500.0, eta_seconds=90.0)
    return JobProgress(job_id=RUN, user_id=OWNER, phase=phase, message=message, progress=progress or halfway)


def saved(step: int = 600, path: str = "checkpoints/600") -> CheckpointSaved:
    return CheckpointSaved(
        job_id=RUN, user_id=OWNER, step=step, path=path, num_bytes=5, metrics={"loss": 9.0}
    )


def rejected(path: str = "checkpoints/600", why: str = "torn") -> CheckpointRejected:
    return CheckpointRejected(job_id=RUN, user_id=OWNER, path=path, why=why)


def evaluated(
    metrics: dict[str, float] | None = None, *, split: str = "validation", regression: bool | None = None
) -> JobEvaluated:
    figures = {"loss": 1.5, "bits_per_byte": 0.72} if metrics is None else metrics
    return JobEvaluated(
        job_id=RUN, user_id=OWNER, evaluation_id=RUN, split=split, metrics=figures, regression=regression
    )


def paused(reason: Reason | None = None) -> JobPaused:
    return JobPaused(job_id=RUN, user_id=OWNER, reason=reason)


def resumed(step: int = 400) -> JobResumed:
    return JobResumed(job_id=RUN, user_id=OWNER, step=step)


def cancelled(step: int = 700) -> JobCancelled:
    return JobCancelled(job_id=RUN, user_id=OWNER, step=step)


def completed(metrics: dict[str, float] | None = None, *, message: str = "") -> JobCompleted:
    return JobCompleted(job_id=RUN, user_id=OWNER, message=message, metrics=metrics or {})


def failed(
    code: ErrorCode = ErrorCode.DIVERGED,
    reason: Reason = Reason.NAN_LOSS,
    failure_class: FailureClass = FailureClass.USER_INPUT,
    *,
    message: str = "",
) -> JobFailed:
    return JobFailed(
        job_id=RUN,
        user_id=OWNER,
        error_code=code,
        message=message,
        reason=reason,
        failure_class=failure_class,
    )


def configured(device: str = "cpu", precision: str = "fp32") -> MetricsConfig:
    return MetricsConfig(
        job_id=RUN,
        user_id=OWNER,
        total_steps=1200,
        num_parameters=3_400_000,
        tokens_per_step=64,
        device=device,
        precision=precision,
        train_tokens=1,
        validation_tokens=1,
    )


def measured(**metrics: float) -> MetricsProgress:
    return MetricsProgress(job_id=RUN, user_id=OWNER, step=600, metrics=metrics, timings={})


def series_ended(
    best_step: int | None = 500, *, early_stopped: bool = False, **metrics: float
) -> MetricsCompleted:
    return MetricsCompleted(
        job_id=RUN,
        user_id=OWNER,
        step=1200,
        metrics=metrics,
        early_stopped=early_stopped,
        best_step=best_step,
    )
