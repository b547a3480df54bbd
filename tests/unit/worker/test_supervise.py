import errno
import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.events import JobResumed
from model_trainer.core.contracts.run import HandBack, RunKind, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode, FailureClass, Reason
from model_trainer.core.files import sha256_of
from model_trainer.core.logging import configure_logging
from model_trainer.core.stored_artifact import stored_things
from model_trainer.infra.persistence.memory_references import MemoryReferences
from model_trainer.worker.account import ArtifactAccount
from model_trainer.worker.lease import Cancelled, HeldRun
from model_trainer.worker.manifests import read_manifest
from model_trainer.worker.supervise import Job, JobResult, supervise
from tests.unit.worker.bench import Life, Work, wait_until


def _succeed(held: HeldRun, record: RunRecord) -> JobResult:
    return JobResult(message="Fine.", metrics={"loss": 1.0}, result={"steps": 3})


def _raise(error: Exception) -> Work:
    def work(held: HeldRun, record: RunRecord) -> JobResult:
        raise error

    return work


def test_a_job_that_returns_completes_its_run(life: Life) -> None:
    record = life.of(_succeed)
    assert record.status is RunStatus.COMPLETED
    assert (record.message, record.metrics, record.result) == ("Fine.", {"loss": 1.0}, {"steps": 3})
    assert life.ended == [record]
    assert life.bench.event_types(record.run_id)[-1] == "trainer.job.completed.v1"


def test_log_and_events_lie_in_the_jobs_folder(life: Life) -> None:
    record = life.of(_succeed)
    assert (life.folder / "logs.jsonl").exists()
    mirrored = (life.folder / "events.jsonl").read_text().splitlines()
    assert len(mirrored) == len(life.bench.event_types(record.run_id))


def test_the_successor_of_a_lost_worker_writes_into_the_log_how_its_attempt_ended(life: Life) -> None:
    configure_logging(service="model-trainer-test", level="INFO", readable=False, stream=io.StringIO())
    lease = life.bench.claimed()
    life.bench.now += 20
    assert life.bench.store.reap() == (lease.run_id,)

    life.again(lease.run_id, _succeed)

    told = [line for line in life.lines() if line["event"] in ("attempt_lost", "job_started")]
    assert [line["event"] for line in told] == ["attempt_lost", "job_started"]
    assert (told[0]["attempt"], told[0]["error_code"]) == (1, "WORKER_LOST")


def test_an_attempt_that_told_its_own_end_is_not_told_of_again(life: Life) -> None:
    configure_logging(service="model-trainer-test", level="INFO", readable=False, stream=io.StringIO())
    lease = life.bench.claimed()
    life.bench.store.release(lease, HandBack(message="Stopped."), ())
    life.again(lease.run_id, _succeed)
    assert "attempt_lost" not in [line["event"] for line in life.lines()]


def test_a_second_delivery_does_nothing(life: Life) -> None:
    record = life.of(_succeed)
    life.again(record.run_id, _raise(AssertionError("must not be called")))
    assert life.bench.store.get(record.run_id) == record
    assert len(life.ended) == 1


def test_a_cancelled_job_ends_cancelled(life: Life) -> None:
    def work(held: HeldRun, record: RunRecord) -> JobResult:
        held.set_metrics({"loss": 3.0})
        life.bench.store.request_cancel(held.run_id)
        wait_until(lambda: held.is_cancelled)
        raise Cancelled

    record = life.of(work)
    assert record.status is RunStatus.CANCELLED
    assert record.reason is Reason.USER_CANCELLED
    assert record.metrics == {"loss": 3.0}
    assert life.bench.event_types(record.run_id)[-1] == "trainer.job.cancelled.v1"


def test_wrong_input_fails_the_run_with_its_problem_and_is_not_tried_again(life: Life) -> None:
    record = life.of(_raise(AppError(ErrorCode.DATA_EMPTY, "No text there.")))
    assert record.status is RunStatus.FAILED
    assert (record.reason, record.failure_class) == (Reason.INVALID_DATA, FailureClass.USER_INPUT)
    assert record.problem is not None
    assert record.problem.message == "No text there."
    assert life.bench.event_types(record.run_id)[-1] == "trainer.job.failed.v1"


def test_an_unforeseen_error_fails_the_run_under_the_jobs_own_code(life: Life) -> None:
    record = life.of(_raise(ValueError("boom")))
    assert record.status is RunStatus.FAILED
    assert record.problem is not None
    assert record.problem.code is ErrorCode.MODEL_TRAIN_FAILED
    assert record.problem.exception == "ValueError: boom"


def test_a_passing_fault_is_tried_again_until_the_retries_are_used_up(life: Life) -> None:
    away = _raise(AppError(ErrorCode.STORE_UNAVAILABLE, "Away."))
    record = life.of(away)
    assert record.status is RunStatus.QUEUED
    retries = life.bench.parts.settings.rq.retry_max
    for _ in range(retries):
        life.bench.now += 3600.0
        life.again(record.run_id, away)
    record = life.bench.store.get(record.run_id)
    assert record.status is RunStatus.FAILED
    assert record.attempt == retries + 1
    assert record.failure_class is FailureClass.TRANSIENT


def test_a_worker_that_lost_its_lease_leaves_the_run_alone(life: Life) -> None:
    def work(held: HeldRun, record: RunRecord) -> JobResult:
        life.bench.store.release(held.lease, HandBack(message="taken away"))
        wait_until(lambda: held.is_lost)
        held.check()
        raise AssertionError("check() must have raised")

    record = life.of(work)
    assert record.status is RunStatus.QUEUED


def test_an_end_that_cannot_be_recorded_is_left_to_the_reaper(life: Life) -> None:
    def work(held: HeldRun, record: RunRecord) -> JobResult:
        life.bench.store.release(held.lease, HandBack(message="taken away"))
        return _succeed(held, record)

    record = life.of(work)
    assert record.status is RunStatus.QUEUED
    assert record.result == {}


def test_a_completed_run_keeps_the_metrics_it_came_by_on_the_way(life: Life) -> None:
    def work(held: HeldRun, record: RunRecord) -> JobResult:
        held.set_metrics({"loss": 3.0, "gradient_norm": 0.5})
        return _succeed(held, record)

    assert life.of(work).metrics == {"loss": 1.0, "gradient_norm": 0.5}


@pytest.mark.parametrize(
    ("work", "last"),
    [
        (_succeed, "job_completed"),
        (_raise(Cancelled()), "job_cancelled"),
        (_raise(ValueError("boom")), "job_failed"),
    ],
    ids=["completed", "cancelled", "failed"],
)
def test_the_logs_last_line_is_there_before_the_run_has_ended(life: Life, work: Work, last: str) -> None:
    configure_logging(service="model-trainer-test", level="INFO", readable=False, stream=io.StringIO())
    seen: list[JsonObject] = []
    life.bench.store.before_end = lambda: seen.append(life.lines()[-1])
    life.of(work)
    assert [line["event"] for line in seen] == [last]
    assert life.lines()[-1] == seen[0]


@pytest.mark.parametrize("kind", [RunKind.TRAIN, RunKind.TOKENIZER])
def test_a_jobs_lines_are_found_by_its_request_and_its_tokenizer(life: Life, kind: RunKind) -> None:
    configure_logging(service="model-trainer-test", level="INFO", readable=False, stream=io.StringIO())
    record = life.of(_raise(ValueError("boom")), kind=kind)
    lines = life.lines()
    assert [line["event"] for line in lines] == ["job_started", "job_failed"]
    for line in lines:
        assert (line["run_id"], line["request_id"]) == (record.run_id, record.request_id)
        assert line.get("tokenizer_id") == (record.run_id if kind is RunKind.TOKENIZER else None)


def test_an_end_is_told_again_when_the_store_was_away_for_a_moment(life: Life) -> None:
    tries: list[int] = []

    def away_once() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")

    life.bench.store.before_end = away_once
    assert life.of(_succeed).status is RunStatus.COMPLETED
    assert len(tries) == 2


def test_a_store_that_stays_away_is_given_up_when_the_lease_is_over(life: Life) -> None:
    def away() -> None:
        raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")

    life.bench.let_leases_last(0.6)
    life.bench.store.before_end = away
    assert life.of(_succeed).status is RunStatus.RUNNING
    assert life.ended == []


def test_a_job_that_has_not_ended_here_writes_no_account(life: Life) -> None:
    life.of(_raise(AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")))
    life.of(_raise(AppError(ErrorCode.LEASE_LOST, "Taken.")))
    assert life.ended == []


def test_news_and_the_problem_survive_a_retry(life: Life) -> None:
    def work(held: HeldRun, record: RunRecord) -> JobResult:
        held.emit(JobResumed(job_id=held.run_id, user_id="ada", step=7))
        raise AppError(ErrorCode.OUT_OF_MEMORY, "Too large.")

    record = life.of(work)
    assert record.status is RunStatus.QUEUED
    assert "trainer.job.resumed.v1" in life.bench.event_types(record.run_id)
    (attempt,) = record.attempts
    assert attempt.problem is not None
    assert attempt.problem.code is ErrorCode.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AppError(ErrorCode.ARTIFACT_NOT_FOUND, "Gone."), RunStatus.FAILED),
        (OSError(errno.ENOSPC, "No space left on device"), RunStatus.PAUSED),
    ],
)
def test_a_job_without_a_folder_ends_or_waits_for_better_times(
    life: Life, error: Exception, status: RunStatus
) -> None:
    def no_folder(_: RunRecord) -> AbstractContextManager[Path]:
        raise error

    run_id = life.bench.submitted()
    job = Job(work=_succeed, folder=no_folder, ended=life.ended.append, fallback=ErrorCode.MODEL_TRAIN_FAILED)
    supervise(life.bench.parts, run_id=run_id, epoch=0, job=job)
    assert life.bench.store.get(run_id).status is status
    assert life.ended == []


class Unreleased(MemoryReferences):
    """Cannot be told that something is needed no more."""

    def release(self, run_id: str, things: Sequence[str]) -> None:
        raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")


@pytest.mark.parametrize("references", [MemoryReferences(), Unreleased()])
def test_what_a_lost_worker_was_handing_in_is_needed_no_more(
    life: Life, references: MemoryReferences
) -> None:
    life.bench.parts = replace(life.bench.parts, references=references)
    lease = life.bench.claimed()
    record = life.bench.store.get(lease.run_id)
    life.folder = life.bench.parts.artifacts.create("models", lease.run_id)
    (life.folder / "config.json").write_bytes(b"{}")
    account = ArtifactAccount(kind="models", record=record, seed=1, folder=life.folder)
    account.seal_done(record, life.bench.parts.artifacts)
    things = stored_things(read_manifest(life.folder), file_id=sha256_of(life.folder / "manifest.json"))
    references.refer(lease.run_id, things)
    life.bench.now += 20
    life.bench.store.reap()
    life.again(lease.run_id, _succeed)
    assert life.bench.store.get(lease.run_id).status is RunStatus.COMPLETED
    is_needed = [references.referred_by(thing, limit=1) != () for thing in things]
    assert is_needed == [isinstance(references, Unreleased)] * 2


def test_each_time_the_disk_is_full_again_the_run_waits_longer(life: Life) -> None:
    full = _raise(AppError(ErrorCode.DISK_FULL, "Full."))
    run_id, store = life.of(full).run_id, life.bench.store
    waits = []
    for _ in range(5):
        began = life.bench.now
        while not store.resume_when_due(run_id):
            life.bench.now += 1.0
        waits.append(life.bench.now - began)
        life.again(run_id, full)
    assert waits == sorted(waits)
    assert waits[-1] > 8 * waits[0]
