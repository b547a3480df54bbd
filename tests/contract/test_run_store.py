"""What every run store promises, whichever means it has."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from model_trainer.core.contracts.events import (
    CheckpointSaved,
    Event,
    JobCancelled,
    JobCompleted,
    JobFailed,
    JobQueued,
    JobStarted,
)
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import (
    HandBack,
    IdempotencyKey,
    LastCheckpoint,
    Lease,
    Outcome,
    Phase,
    Problem,
    ProblemFault,
    Progress,
    RunKind,
    RunQuery,
    RunStatus,
    RunUpdate,
)
from model_trainer.core.errors import AppError, ErrorCode, FailureClass, Reason
from tests.contract.run_stores import LEASE_SECONDS, QUEUE, StoreUnderTest, new_run

COMPLETED = Outcome(
    status=RunStatus.COMPLETED, message="Done.", result={"loss": 1.5, "sizes": []}, metrics={"loss": 1.5}
)


def events(store: StoreUnderTest, run_id: str) -> list[Event]:
    return [stored.event for stored in store.runs.events_after(run_id, after=0, limit=1000)]


def checkpoint(run_id: str, step: int) -> CheckpointSaved:
    return CheckpointSaved(
        job_id=run_id, user_id="ada", step=step, path=f"checkpoints/{step}", num_bytes=1, metrics={}
    )


def expect(code: ErrorCode) -> "pytest.RaisesExc[AppError]":
    return pytest.raises(AppError, check=lambda error: error.code is code)


# ---------------------------------------------------------------- submit


def test_a_submitted_run_waits_with_all_that_was_said_of_it(store: StoreUnderTest) -> None:
    run = new_run(metadata={"team": "ä"}, parent_run_id=new_ulid())
    record = store.runs.submit(run, idempotency=None).record
    assert record == store.runs.get(run.run_id)
    assert record.spec == run.spec
    assert record.metadata == {"team": "ä"}
    assert record.parent_run_id == run.parent_run_id
    assert record.request_id == "request-1"
    assert (record.status, record.phase, record.epoch) == (RunStatus.QUEUED, Phase.WAITING, 0)
    assert record.created_at_ms == record.updated_at_ms > 0
    assert (record.owner, record.started_at_ms, record.attempts) == (None, None, ())


def test_a_submitted_run_is_in_its_queue_and_says_so(store: StoreUnderTest) -> None:
    run_id = store.submit()
    assert store.queue.holds(run_id, epoch=0, queue=QUEUE)
    assert store.queue.depth(QUEUE) == 1
    assert events(store, run_id) == [
        JobQueued(job_id=run_id, user_id="ada", kind="train", family="gpt2", queue=QUEUE)
    ]


@pytest.mark.parametrize("kind", list(RunKind))
def test_runs_of_all_kinds_live_the_same_life(store: StoreUnderTest, kind: RunKind) -> None:
    run_id = store.submit(kind=kind)
    record = store.runs.finish(store.claim(run_id), COMPLETED)
    assert (record.kind, record.status) == (kind, RunStatus.COMPLETED)


def test_a_run_without_a_user_has_events_without_one(store: StoreUnderTest) -> None:
    run = new_run(user_id=None)
    store.runs.submit(run, idempotency=None)
    store.claim(run.run_id)
    assert store.runs.get(run.run_id).user_id is None
    assert [event.user_id for event in events(store, run.run_id)] == [None, None]


def test_an_idempotency_key_gives_back_the_first_run(store: StoreUnderTest) -> None:
    key = IdempotencyKey(key="k", body_sha256="b" * 64)
    first = store.runs.submit(new_run(), idempotency=key)
    second = store.runs.submit(new_run(), idempotency=key)
    assert (first.replayed, second.replayed) == (False, True)
    assert second.record == first.record
    assert store.queue.depth(QUEUE) == 1


def test_what_a_key_made_can_be_looked_up(store: StoreUnderTest) -> None:
    key = IdempotencyKey(key="k", body_sha256="1" * 64)
    assert store.runs.find_submission(key) is None
    first = store.runs.submit(new_run(), idempotency=key)
    found = store.runs.find_submission(key)
    assert found is not None
    assert found.replayed
    assert found.record == first.record
    with pytest.raises(AppError) as caught:
        store.runs.find_submission(IdempotencyKey(key="k", body_sha256="2" * 64))
    assert caught.value.code is ErrorCode.IDEMPOTENCY_KEY_REUSED


def test_an_idempotency_key_with_another_body_is_refused_and_leaves_nothing(store: StoreUnderTest) -> None:
    store.runs.submit(new_run(), idempotency=IdempotencyKey(key="k", body_sha256="1" * 64))
    other = new_run()
    with expect(ErrorCode.IDEMPOTENCY_KEY_REUSED):
        store.runs.submit(other, idempotency=IdempotencyKey(key="k", body_sha256="2" * 64))
    with expect(ErrorCode.RUN_NOT_FOUND):
        store.runs.get(other.run_id)
    assert store.queue.depth(QUEUE) == 1


def test_submitting_the_same_run_twice_makes_one(store: StoreUnderTest) -> None:
    run = new_run()
    for _ in range(2):
        assert not store.runs.submit(run, idempotency=None).replayed
    assert len(events(store, run.run_id)) == 1
    assert store.queue.depth(QUEUE) == 1


def test_twenty_submits_at_once_under_one_key_make_one_run(store: StoreUnderTest) -> None:
    key, barrier = IdempotencyKey(key="k", body_sha256="b" * 64), threading.Barrier(20)

    def submit(_: int) -> tuple[str, bool]:
        barrier.wait()
        made = store.runs.submit(new_run(), idempotency=key)
        return made.record.run_id, made.replayed

    with ThreadPoolExecutor(20) as pool:
        made = list(pool.map(submit, range(20)))
    assert len({run_id for run_id, _ in made}) == 1
    assert sorted(replayed for _, replayed in made) == [False] + [True] * 19
    assert store.queue.depth(QUEUE) == 1
    assert store.runs.status_counts()["train", "queued"] == 1


def test_an_unknown_run_is_not_found(store: StoreUnderTest) -> None:
    with expect(ErrorCode.RUN_NOT_FOUND):
        store.runs.get(new_ulid())


# ---------------------------------------------------------------- claim


def test_a_claim_starts_an_attempt_under_a_new_epoch(store: StoreUnderTest) -> None:
    run_id = store.submit()
    lease = store.claim(run_id, owner="worker-1", host="host-7", lease_seconds=30.0)
    record = store.runs.get(run_id)
    assert (lease.epoch, lease.owner, lease.lease_seconds) == (1, "worker-1", 30.0)
    assert (record.status, record.phase, record.epoch) == (RunStatus.RUNNING, Phase.STARTING, 1)
    assert (record.owner, record.host, record.attempt) == ("worker-1", "host-7", 1)
    assert record.started_at_ms == record.heartbeat_at_ms == record.lease_until_ms - 30_000
    assert [attempt.owner for attempt in record.attempts] == ["worker-1"]
    started = JobStarted(job_id=run_id, user_id="ada", epoch=1, attempt=1, worker="worker-1")
    assert events(store, run_id)[1:] == [started]


def test_two_claimers_get_one_lease(store: StoreUnderTest) -> None:
    for _ in range(10):
        run_id, barrier = store.submit(), threading.Barrier(2)

        def claim(owner: str, run_id: str = run_id, barrier: threading.Barrier = barrier) -> Lease | None:
            barrier.wait()
            return store.runs.claim(run_id, epoch=0, owner=owner, host="host-1", lease_seconds=60.0)

        with ThreadPoolExecutor(2) as pool:
            leases = [lease for lease in pool.map(claim, ["a", "b"]) if lease is not None]
        assert [store.runs.get(run_id).owner] == [lease.owner for lease in leases]


@pytest.mark.parametrize("epoch", [-1, 1, 2])
def test_an_order_of_another_epoch_starts_nothing(store: StoreUnderTest, epoch: int) -> None:
    run_id = store.submit()
    assert store.runs.claim(run_id, epoch=epoch, owner="a", host="host-1", lease_seconds=60.0) is None
    assert store.runs.get(run_id).status is RunStatus.QUEUED


def test_a_second_delivery_and_one_of_an_unknown_run_start_nothing(store: StoreUnderTest) -> None:
    run_id = store.submit()
    store.claim(run_id)
    before = store.runs.get(run_id)
    assert store.runs.claim(run_id, epoch=0, owner="b", host="host-1", lease_seconds=60.0) is None
    assert store.runs.claim(run_id, epoch=1, owner="b", host="host-1", lease_seconds=60.0) is None
    assert store.runs.claim(new_ulid(), epoch=0, owner="b", host=None, lease_seconds=60.0) is None
    assert store.runs.get(run_id) == before


# ---------------------------------------------------------------- heartbeat and flags


def test_a_heartbeat_is_dated_back_to_the_last_sign_of_the_work(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())
    store.runs.heartbeat(lease, RunUpdate(quiet_ms=4_000))
    record = store.runs.get(lease.run_id)
    assert record.heartbeat_at_ms == record.updated_at_ms - 4_000
    assert record.lease_until_ms > record.updated_at_ms


def test_a_heartbeat_renews_the_lease_and_writes_what_changed(store: StoreUnderTest) -> None:
    run_id = store.submit()
    lease = store.claim(run_id)
    before = store.runs.get(run_id)
    store.pass_time(0.01)
    progress = Progress(step=7, total_steps=10, fraction=0.7, tokens_per_second=1e5, eta_seconds=0.5)
    update = RunUpdate(phase=Phase.TRAINING, message="Training.", progress=progress, metrics={"loss": 2.0})
    assert not store.runs.heartbeat(lease, update, (checkpoint(run_id, 5), checkpoint(run_id, 7))).cancel
    record = store.runs.get(run_id)
    assert (record.phase, record.message, record.progress) == (Phase.TRAINING, "Training.", progress)
    assert record.metrics == {"loss": 2.0}
    assert record.lease_until_ms > before.lease_until_ms
    assert record.heartbeat_at_ms is not None
    assert record.heartbeat_at_ms == record.updated_at_ms > before.updated_at_ms
    assert events(store, run_id)[2:] == [checkpoint(run_id, 5), checkpoint(run_id, 7)]
    store.runs.heartbeat(lease, RunUpdate())
    again = store.runs.get(run_id)
    assert (again.phase, again.message, again.progress) == (Phase.TRAINING, "Training.", progress)
    assert again.metrics == {"loss": 2.0}


def test_the_flags_say_nothing_until_somebody_asks(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())
    assert not store.runs.flags(lease).cancel
    store.runs.request_cancel(lease.run_id)
    assert store.runs.flags(lease).cancel
    assert store.runs.heartbeat(lease, RunUpdate()).cancel


def test_a_heartbeat_names_the_last_checkpoint(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())
    assert store.runs.get(lease.run_id).checkpoint is None
    saved = LastCheckpoint(step=7, path="checkpoints/step-7", num_bytes=9)
    store.runs.heartbeat(lease, RunUpdate(checkpoint=saved))
    store.runs.heartbeat(lease, RunUpdate(message="On."))
    assert store.runs.get(lease.run_id).checkpoint == saved


def stale(store: StoreUnderTest, *, how: str) -> Lease:
    run_id = store.submit()
    lease = store.lose_worker(run_id)
    store.runs.reap()
    if how == "reclaimed":
        store.claim(run_id, owner="a")
    if how == "completed":
        store.runs.finish(store.claim(run_id, owner="a"), COMPLETED)
    if how == "other owner":
        return store.claim(run_id, owner="b").model_copy(update={"owner": "a"})
    return lease


@pytest.mark.parametrize("how", ["requeued", "reclaimed", "completed", "other owner"])
def test_a_stale_owner_is_refused_and_writes_nothing(store: StoreUnderTest, how: str) -> None:
    lease = stale(store, how=how)
    before = store.runs.get(lease.run_id)
    event = checkpoint(lease.run_id, 1)
    with expect(ErrorCode.LEASE_LOST):
        store.runs.heartbeat(lease, RunUpdate(message="I am still here."), (event,))
    with expect(ErrorCode.LEASE_LOST):
        store.runs.flags(lease)
    with expect(ErrorCode.LEASE_LOST):
        store.runs.finish(lease, COMPLETED, (event,))
    with expect(ErrorCode.LEASE_LOST):
        store.runs.release(lease, HandBack(message="Here you are.", is_retry=True))
    assert store.runs.get(lease.run_id) == before
    assert event not in events(store, lease.run_id)


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


# ---------------------------------------------------------------- reaper


def test_a_living_owner_is_not_reaped(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())
    assert store.runs.reap() == ()
    assert store.runs.get(lease.run_id).epoch == lease.epoch


def test_a_lost_run_is_queued_again_once(store: StoreUnderTest) -> None:
    run_id = store.submit()
    store.lose_worker(run_id)
    assert store.runs.reap() == (run_id,)
    assert store.runs.reap() == ()
    record = store.runs.get(run_id)
    assert (record.status, record.epoch, record.owner) == (RunStatus.QUEUED, 2, None)
    assert record.attempts[0].problem is not None
    assert record.attempts[0].problem.code is ErrorCode.WORKER_LOST
    assert store.queue.holds(run_id, epoch=2, queue=QUEUE)
    assert isinstance(events(store, run_id)[-1], JobQueued)


def test_an_owner_that_comes_back_before_the_reaper_keeps_its_run(store: StoreUnderTest) -> None:
    lease = store.lose_worker(store.submit())
    store.runs.heartbeat(lease.model_copy(update={"lease_seconds": 60.0}), RunUpdate())
    assert store.runs.reap() == ()
    assert not store.runs.flags(lease).cancel


def test_a_lost_run_that_was_to_be_cancelled_ends(store: StoreUnderTest) -> None:
    run_id = store.submit()
    lease = store.claim(run_id, lease_seconds=LEASE_SECONDS)
    store.runs.request_cancel(lease.run_id)
    store.pass_time(LEASE_SECONDS + 0.01)
    assert store.runs.reap() == (run_id,)
    record = store.runs.get(run_id)
    assert (record.status, record.reason) == (RunStatus.CANCELLED, Reason.USER_CANCELLED)
    assert isinstance(events(store, run_id)[-1], JobCancelled)


def test_three_crashes_without_progress_end_a_run(store: StoreUnderTest) -> None:
    run_id = store.submit()
    for crash in range(3):
        assert store.runs.get(run_id).status is RunStatus.QUEUED, crash
        store.lose_worker(run_id)
        store.runs.reap()
    record = store.runs.get(run_id)
    assert (record.status, record.reason, record.failure_class) == (
        RunStatus.FAILED,
        Reason.WORKER_LOST,
        FailureClass.FATAL,
    )
    assert record.problem is not None
    assert record.problem.code is ErrorCode.WORKER_LOST
    assert len(record.attempts) == 3
    last = events(store, run_id)[-1]
    assert isinstance(last, JobFailed)
    assert (last.reason, last.error_code, last.message) == (
        Reason.WORKER_LOST,
        ErrorCode.WORKER_LOST,
        record.message,
    )
    assert store.runs.reap() == ()


def test_crashes_with_progress_between_them_do_not_add_up(store: StoreUnderTest) -> None:
    run_id = store.submit()
    for crash in range(5):
        lease = store.claim(run_id, lease_seconds=LEASE_SECONDS)
        update = RunUpdate(phase=Phase.TRAINING, progress=Progress(step=crash + 1))
        store.runs.heartbeat(lease, update)
        store.pass_time(LEASE_SECONDS + 0.01)
        store.runs.reap()
    assert store.runs.get(run_id).status is RunStatus.QUEUED


def test_a_later_phase_is_progress_and_an_earlier_one_is_not(store: StoreUnderTest) -> None:
    run_id = store.submit()
    for phase, step in [(Phase.TRAINING, 9), (Phase.EVALUATING, 0), (Phase.TRAINING, 9), (Phase.TRAINING, 8)]:
        assert store.runs.get(run_id).status is RunStatus.QUEUED
        lease = store.claim(run_id, lease_seconds=LEASE_SECONDS)
        store.runs.heartbeat(lease, RunUpdate(phase=phase, progress=Progress(step=step)))
        store.pass_time(LEASE_SECONDS + 0.01)
        store.runs.reap()
    assert store.runs.get(run_id).status is RunStatus.FAILED


def test_a_lost_order_is_put_in_again(store: StoreUnderTest) -> None:
    run_id = store.submit()
    store.queue.remove(run_id, epoch=0, queue=QUEUE)
    assert store.runs.reap() == (run_id,)
    assert store.queue.holds(run_id, epoch=0, queue=QUEUE)
    assert store.runs.reap() == ()
    assert len(events(store, run_id)) == 1


# ---------------------------------------------------------------- events


def test_event_numbers_have_no_gaps_and_can_be_read_from_any_place(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())
    for step in range(10):
        store.runs.heartbeat(lease, RunUpdate(), (checkpoint(lease.run_id, step),) * (step % 3))
    stored = store.runs.events_after(lease.run_id, after=0, limit=100)
    assert [event.seq for event in stored] == list(range(1, len(stored) + 1))
    assert store.runs.get(lease.run_id).last_event_seq == len(stored)
    assert store.runs.events_after(lease.run_id, after=3, limit=2) == stored[3:5]
    assert store.runs.events_after(lease.run_id, after=-5, limit=1) == stored[:1]
    assert store.runs.events_after(lease.run_id, after=len(stored), limit=5) == ()
    assert store.runs.events_after(lease.run_id, after=10**30, limit=5) == ()
    assert store.runs.events_after(new_ulid(), after=0, limit=5) == ()


def test_events_of_concurrent_writers_have_no_gaps(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())

    def beat(step: int) -> None:
        store.runs.heartbeat(lease, RunUpdate(), (checkpoint(lease.run_id, step),))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(beat, range(40)))
    stored = store.runs.events_after(lease.run_id, after=0, limit=100)
    assert [event.seq for event in stored] == list(range(1, 43))
    steps = [stored_one.event.step for stored_one in stored if isinstance(stored_one.event, CheckpointSaved)]
    assert sorted(steps) == list(range(40))


# ---------------------------------------------------------------- lists


def test_lists_are_newest_first_and_go_on_after_a_cursor(store: StoreUnderTest) -> None:
    ids = [store.submit() for _ in range(5)]
    newest_first = sorted(ids, reverse=True)
    page = store.runs.list_runs(RunQuery(kind=RunKind.TRAIN, limit=2))
    assert ([record.run_id for record in page.records], page.has_more) == (newest_first[:2], True)
    page = store.runs.list_runs(RunQuery(kind=RunKind.TRAIN, limit=3, after=newest_first[1]))
    assert ([record.run_id for record in page.records], page.has_more) == (newest_first[2:], False)
    assert store.runs.list_runs(RunQuery(kind=RunKind.TOKENIZER, limit=9)).records == ()


def test_lists_can_be_narrowed(store: StoreUnderTest) -> None:
    parent = new_ulid()
    runs = [
        new_run(family="gpt2", user_id="ada", metadata={"team": "a", "note": "x:y"}),
        new_run(family="gpt2", user_id=None, metadata={"team": "b"}),
        new_run(family="char_lstm", user_id="ada", parent_run_id=parent),
    ]
    for run in runs:
        store.runs.submit(run, idempotency=None)
    store.claim(runs[1].run_id)
    first, second, third = (run.run_id for run in runs)

    def found(query: RunQuery) -> set[str]:
        return {record.run_id for record in store.runs.list_runs(query).records}

    assert found(RunQuery(kind=RunKind.TRAIN, limit=9)) == {first, second, third}
    assert found(RunQuery(kind=RunKind.TRAIN, limit=9, family="gpt2")) == {first, second}
    assert found(RunQuery(kind=RunKind.TRAIN, limit=9, user_id="ada")) == {first, third}
    assert found(RunQuery(kind=RunKind.TRAIN, limit=9, status=RunStatus.RUNNING)) == {second}
    assert found(RunQuery(kind=RunKind.TRAIN, limit=9, status=RunStatus.QUEUED)) == {first, third}
    assert found(RunQuery(kind=RunKind.TRAIN, limit=9, parent_run_id=parent)) == {third}
    assert found(RunQuery(kind=RunKind.TRAIN, limit=9, metadata={"team": "a", "note": "x:y"})) == {first}
    assert found(RunQuery(kind=RunKind.TRAIN, limit=9, metadata={"team": "c"})) == set()
    assert found(RunQuery(kind=RunKind.TRAIN, limit=9, family="gpt2", user_id="ada")) == {first}
    assert found(RunQuery(kind=RunKind.EVALUATE, limit=9, family="gpt2")) == set()


def test_the_counts_follow_the_runs(store: StoreUnderTest) -> None:
    store.submit()
    store.submit(kind=RunKind.TOKENIZER)
    store.runs.finish(store.claim(store.submit()), COMPLETED)
    counts = store.runs.status_counts()
    assert len(counts) == len(RunKind) * len(RunStatus)
    assert {name: count for name, count in counts.items() if count} == {
        ("train", "queued"): 1,
        ("tokenizer", "queued"): 1,
        ("train", "completed"): 1,
    }


def test_a_store_that_works_answers(store: StoreUnderTest) -> None:
    store.runs.ping()
