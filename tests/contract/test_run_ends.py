"""How runs end, with their owner or without, and how they are cancelled: what every run store promises."""

import pytest

from model_trainer.core.contracts.events import JobCancelled, JobCompleted, JobQueued
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import (
    HandBack,
    Outcome,
    Phase,
    Problem,
    ProblemFault,
    Progress,
    RunStatus,
    RunUpdate,
)
from model_trainer.core.errors import ErrorCode, FailureClass, Reason
from tests.contract.refusals import expect
from tests.contract.run_stores import COMPLETED, QUEUE, StoreUnderTest, checkpoint, events

# ---------------------------------------------------------------- ends


def test_a_completed_run_has_its_result(store: StoreUnderTest) -> None:
    run_id = store.submit()
    done = JobCompleted(job_id=run_id, user_id="ada", message="Done.", metrics={})
    record = store.runs.finish(store.claim(run_id), COMPLETED, (done,))
    assert record == store.runs.get(run_id)
    assert (record.status, record.phase, record.message) == (RunStatus.COMPLETED, Phase.DONE, "Done.")
    assert (record.result, record.metrics) == (COMPLETED.result, {"loss": 1.5})
    assert (record.reason, record.failure_class, record.problem) == (None, None, None)
    assert (record.owner, record.lease_until_ms) == (None, 0)
    assert record.finished_at_ms is not None
    assert record.attempts[0].ended_at_ms == record.finished_at_ms >= record.created_at_ms
    assert events(store, run_id)[-1] == done


def test_a_failed_run_keeps_its_problem_and_says_whose_fault_it_is(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())
    store.runs.heartbeat(lease, RunUpdate(metrics={"loss": 3.0}))
    problem = Problem(
        code=ErrorCode.DATA_EMPTY,
        message='No "text".',
        faults=(ProblemFault(pointer="/corpus_path", message="put text there"),),
        exception=None,
    )
    outcome = Outcome(status=RunStatus.FAILED, message="No text.", problem=problem)
    record = store.runs.finish(lease, outcome)
    assert (record.problem, record.attempts[0].problem) == (problem, problem)
    assert (record.reason, record.failure_class) == (Reason.INVALID_DATA, FailureClass.USER_INPUT)
    assert record.metrics == {"loss": 3.0}


@pytest.mark.parametrize(
    ("outcome", "reason", "failure_class"),
    [
        (Outcome(status=RunStatus.CANCELLED, message="."), Reason.USER_CANCELLED, None),
        (Outcome(status=RunStatus.FAILED, message="."), Reason.INTERNAL_ERROR, FailureClass.FATAL),
        (
            Outcome(status=RunStatus.FAILED, message=".", reason=Reason.TIMEOUT),
            Reason.TIMEOUT,
            FailureClass.FATAL,
        ),
    ],
)
def test_every_bad_end_has_a_reason(
    store: StoreUnderTest, outcome: Outcome, reason: Reason, failure_class: FailureClass | None
) -> None:
    record = store.runs.finish(store.claim(store.submit()), outcome)
    assert (record.reason, record.failure_class) == (reason, failure_class)


def test_a_released_run_waits_under_a_new_epoch(store: StoreUnderTest) -> None:
    run_id = store.submit()
    lease = store.claim(run_id)
    store.runs.release(lease, HandBack(message="The worker stops.", is_retry=True))
    record = store.runs.get(run_id)
    assert (record.status, record.phase, record.epoch) == (RunStatus.QUEUED, Phase.WAITING, 2)
    assert (record.message, record.lease_until_ms) == ("The worker stops.", 0)
    assert (record.owner, record.host) == (None, None)
    assert store.queue.holds(run_id, epoch=2, queue=QUEUE)
    assert isinstance(events(store, run_id)[-1], JobQueued)
    store.claim(run_id, owner="b")
    record = store.runs.get(run_id)
    assert (record.epoch, record.attempt) == (3, 2)
    assert [(attempt.epoch, attempt.owner) for attempt in record.attempts] == [(1, "a"), (3, "b")]
    assert [attempt.ended_at_ms is None for attempt in record.attempts] == [False, True]


def test_a_run_released_with_a_delay_starts_when_it_is_due(store: StoreUnderTest) -> None:
    run_id = store.submit()
    store.runs.release(store.claim(run_id), HandBack(message="Again later.", delay_seconds=0.1))
    assert not store.queue.holds(run_id, epoch=2, queue=QUEUE)
    assert store.runs.claim(run_id, epoch=2, owner="b", host="host-1", lease_seconds=60.0) is None
    assert store.runs.reap() == ()
    store.pass_time(0.11)
    assert store.runs.reap() == (run_id,)
    assert store.queue.holds(run_id, epoch=2, queue=QUEUE)
    assert store.claim(run_id, owner="b").epoch == 3


def test_a_released_run_keeps_its_last_events_and_why_the_attempt_ended(store: StoreUnderTest) -> None:
    run_id = store.submit()
    problem = Problem(code=ErrorCode.STORE_UNAVAILABLE, message="Away.")
    news = (checkpoint(run_id, 1), checkpoint(run_id, 2))
    store.runs.release(store.claim(run_id), HandBack(message="Again.", problem=problem), news)
    record = store.runs.get(run_id)
    assert (record.attempts[0].problem, record.problem) == (problem, None)
    assert record.attempts[0].ended_at_ms is not None
    *_, first, second, queued = events(store, run_id)
    assert (first, second, type(queued)) == (*news, JobQueued)


def retries_after(store: StoreUnderTest, run_id: str, *steps: int) -> list[int]:
    """How often in a row the run was handed back, after each attempt that came to one of `steps`."""
    found: list[int] = []
    for step in steps:
        lease = store.claim(run_id)
        store.runs.heartbeat(lease, RunUpdate(phase=Phase.TRAINING, progress=Progress(step=step)))
        store.runs.release(lease, HandBack(message="Again.", is_retry=True))
        found.append(store.runs.get(run_id).retries)
    return found


def test_retries_add_up_until_the_run_comes_further(store: StoreUnderTest) -> None:
    run_id = store.submit()
    assert store.runs.get(run_id).retries == 0
    assert retries_after(store, run_id, 5, 5, 3, 5, 6, 5) == [1, 2, 3, 4, 1, 2]
    lease = store.claim(run_id)
    store.runs.heartbeat(lease, RunUpdate(phase=Phase.TRAINING, progress=Progress(step=6)))
    assert store.runs.get(run_id).retries == 2
    store.runs.heartbeat(lease, RunUpdate(progress=Progress(step=7)))
    assert store.runs.get(run_id).retries == 0


def test_rescues_are_not_retries(store: StoreUnderTest) -> None:
    run_id = store.submit()
    for _ in range(2):
        store.lose_worker(run_id)
        store.runs.reap()
    record = store.runs.get(run_id)
    assert (len(record.attempts), record.retries) == (2, 0)


# ---------------------------------------------------------------- ends without the owner


@pytest.mark.parametrize(
    "how", ["cancelled", "cancelled again", "claimed", "reaped", "reaped late", "given up"]
)
def test_an_end_without_the_owner_waits_to_be_accounted_for(store: StoreUnderTest, how: str) -> None:
    run_id = store.submit()
    match how:
        case "cancelled":
            store.runs.request_cancel(run_id)
        case "cancelled again":
            store.runs.release(store.claim(run_id), HandBack(message="Again.", is_retry=True))
            store.runs.request_cancel(run_id)
        case "claimed":
            store.cancel_by_hand(run_id, "1")
            assert store.runs.claim(run_id, epoch=0, owner="a", host="host-1", lease_seconds=60.0) is None
        case "reaped":
            store.cancel_by_hand(run_id, "1")
            store.runs.reap()
        case "reaped late":
            store.lose_worker(run_id)
            store.runs.request_cancel(run_id)
            store.runs.reap()
        case _:
            for _ in range(3):
                store.lose_worker(run_id)
                store.runs.reap()
    assert store.runs.get(run_id).status.is_terminal
    assert store.runs.unaccounted(9) == (run_id,)
    store.runs.accounted(run_id)
    store.runs.accounted(run_id)
    assert store.runs.unaccounted(9) == ()
    if store.runs.get(run_id).status is RunStatus.CANCELLED:
        store.runs.request_cancel(run_id)
    store.runs.reap()
    assert store.runs.unaccounted(9) == ()


def test_a_run_that_was_ended_by_its_owner_waits_to_be_accounted_for_too_and_one_that_lives_does_not(
    store: StoreUnderTest,
) -> None:
    store.submit()
    store.lose_worker(store.submit())
    store.runs.reap()
    asked = store.claim(store.submit())
    store.runs.request_cancel(asked.run_id)
    finished, released = store.claim(store.submit()), store.claim(store.submit())
    store.runs.finish(finished, COMPLETED)
    store.runs.request_cancel(released.run_id)
    store.runs.release(released, HandBack(message="The worker stops.", is_retry=True))
    assert set(store.runs.unaccounted(9)) == {finished.run_id, released.run_id}


def test_no_more_accounts_are_given_out_than_asked_for(store: StoreUnderTest) -> None:
    ended = {store.submit() for _ in range(5)}
    for run_id in ended:
        store.runs.request_cancel(run_id)
    some = store.runs.unaccounted(3)
    assert len(set(some)) == 3
    assert set(some) < ended


# ---------------------------------------------------------------- cancel


def test_cancelling_a_queued_run_ends_it_at_once(store: StoreUnderTest) -> None:
    run_id = store.submit()
    record = store.runs.request_cancel(run_id)
    assert (record.status, record.phase, record.reason) == (
        RunStatus.CANCELLED,
        Phase.DONE,
        Reason.USER_CANCELLED,
    )
    assert record.cancel_requested
    assert record.finished_at_ms is not None
    assert store.queue.depth(QUEUE) == 0
    assert events(store, run_id)[-1] == JobCancelled(job_id=run_id, user_id="ada", step=0)


def test_cancelling_a_claimed_run_asks_its_owner(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())
    for _ in range(2):
        record = store.runs.request_cancel(lease.run_id)
        assert (record.status, record.cancel_requested) == (RunStatus.CANCELLING, True)
    assert store.runs.heartbeat(lease, RunUpdate(phase=Phase.TRAINING)).cancel
    cancelled = Outcome(status=RunStatus.CANCELLED, message="As asked.")
    assert store.runs.finish(lease, cancelled).status is RunStatus.CANCELLED


def test_cancelling_twice_is_fine(store: StoreUnderTest) -> None:
    run_id = store.submit()
    assert store.runs.request_cancel(run_id) == store.runs.request_cancel(run_id)


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED])
def test_a_run_that_ended_otherwise_cannot_be_cancelled(store: StoreUnderTest, status: RunStatus) -> None:
    outcome = COMPLETED if status is RunStatus.COMPLETED else Outcome(status=RunStatus.FAILED, message=".")
    record = store.runs.finish(store.claim(store.submit()), outcome)
    with expect(ErrorCode.CONFLICT):
        store.runs.request_cancel(record.run_id)
    assert store.runs.get(record.run_id) == record


def test_an_unknown_run_cannot_be_cancelled(store: StoreUnderTest) -> None:
    with expect(ErrorCode.RUN_NOT_FOUND):
        store.runs.request_cancel(new_ulid())


def test_an_owner_may_complete_a_run_that_was_asked_to_stop_too_late(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())
    store.runs.request_cancel(lease.run_id)
    assert store.runs.finish(lease, COMPLETED).status is RunStatus.COMPLETED


@pytest.mark.parametrize("value", ["1", "true", "yes please"])
def test_a_flag_set_by_hand_cancels_a_running_run(store: StoreUnderTest, value: str) -> None:
    lease = store.claim(store.submit())
    store.cancel_by_hand(lease.run_id, value)
    assert store.runs.flags(lease).cancel
    assert store.runs.heartbeat(lease, RunUpdate()).cancel
    record = store.runs.get(lease.run_id)
    assert (record.status, record.cancel_requested) == (RunStatus.CANCELLING, True)


@pytest.mark.parametrize("value", ["", "0", "false", "False"])
def test_a_flag_that_says_no_cancels_nothing(store: StoreUnderTest, value: str) -> None:
    lease = store.claim(store.submit())
    store.cancel_by_hand(lease.run_id, value)
    assert not store.runs.flags(lease).cancel
    assert not store.runs.heartbeat(lease, RunUpdate()).cancel


def test_a_queued_run_with_a_flag_set_by_hand_is_never_started(store: StoreUnderTest) -> None:
    run_id = store.submit()
    store.cancel_by_hand(run_id, "1")
    assert store.runs.claim(run_id, epoch=0, owner="a", host="host-1", lease_seconds=60.0) is None
    record = store.runs.get(run_id)
    assert (record.status, record.attempt, record.cancel_requested) == (RunStatus.CANCELLED, 0, True)


def test_the_reaper_ends_a_queued_run_with_a_flag_set_by_hand(store: StoreUnderTest) -> None:
    run_id = store.submit()
    store.cancel_by_hand(run_id, "1")
    assert store.runs.reap() == (run_id,)
    record = store.runs.get(run_id)
    assert (record.status, record.reason) == (RunStatus.CANCELLED, Reason.USER_CANCELLED)
    assert isinstance(events(store, run_id)[-1], JobCancelled)
    assert store.runs.reap() == ()


def test_a_run_handed_back_while_it_is_to_be_cancelled_ends(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())
    store.runs.heartbeat(lease, RunUpdate(progress=Progress(step=4)))
    store.runs.request_cancel(lease.run_id)
    store.runs.release(lease, HandBack(message="The worker stops.", is_retry=True))
    assert store.runs.get(lease.run_id).status is RunStatus.CANCELLED
    assert events(store, lease.run_id)[-1] == JobCancelled(job_id=lease.run_id, user_id="ada", step=4)
    assert store.queue.depth(QUEUE) == 1  # the first order, which nobody took
