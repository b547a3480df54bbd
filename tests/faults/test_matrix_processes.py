"""Processes that die, hang, or end without having done their work; orders that come twice; two who want one run."""

import os
import signal
import threading

import pytest

from model_trainer.container import live
from model_trainer.core.contracts.run import Lease, RunStatus
from model_trainer.core.contracts.training import Recipe
from model_trainer.core.errors import ErrorCode, FailureClass, Reason, failure_class_of
from tests.faults.attempts import orders_of, take_order
from tests.faults.conftest import Expect
from tests.faults.installation import (
    LONG,
    SHORT,
    TRAINING,
    Installation,
    eventually,
    faults_of,
    steps_resumed_at,
)

CLAIMS = 200
LOCKS = 10
FULL_BATCH = 16_384
DELIVERIES = 50


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "exit_code"),
    [("crash", -signal.SIGSEGV), ("abort", -signal.SIGABRT), ("leave", 0), ("raise SystemExit", 0)],
)
def test_a_process_that_ends_without_an_end_of_its_run_was_lost_whatever_its_exit_code(
    installation: Installation, expected: Expect, fault: str, exit_code: int
) -> None:
    expectation = expected(LONG)
    run_id = installation.submit(LONG, key=fault)
    lost = installation.work_elsewhere(run_id, before=fault)
    lost.join()
    assert lost.exitcode == exit_code
    assert not installation.get(run_id).status.is_terminal
    installation.maintain()
    record = installation.get(run_id)
    assert record.status is RunStatus.QUEUED
    assert record.attempts[-1].problem is not None
    assert record.attempts[-1].problem.code is ErrorCode.WORKER_LOST
    installation.finish(run_id)
    assert faults_of(installation, fault, expected=expectation) == []


@pytest.mark.slow
def test_a_run_that_kills_its_workers_is_given_up_after_the_third(installation: Installation) -> None:
    run_id = installation.submit(SHORT, key="poison")
    for _ in range(3):
        installation.work_elsewhere(run_id, failpoint="claim.folder_made:kill").join()
        installation.maintain()
    record = installation.get(run_id)
    assert (record.status, record.reason, record.attempt) == (RunStatus.FAILED, Reason.WORKER_LOST, 3)
    assert orders_of(installation.client, TRAINING, run_id=run_id) == []


@pytest.mark.slow
def test_a_training_short_of_memory_goes_on_with_smaller_pieces_of_the_same_batch(
    installation: Installation,
) -> None:
    run_id = installation.submit(
        {**SHORT, "batch_size": FULL_BATCH, "max_steps": 2, "eval_every_steps": 2},
        key="little memory",
    )
    work = installation.work_elsewhere(run_id, before="little memory")
    work.join()
    assert work.exitcode in (0, -signal.SIGABRT)  # C++ that is refused memory in a thread of its own aborts
    assert "out_of_memory" in installation.log_of(run_id).read_text()
    record = installation.finish(run_id)
    assert record.status is RunStatus.COMPLETED, record.problem
    recipe = Recipe.model_validate_json((installation.model_folder(run_id) / "recipe.json").read_text())
    assert recipe.batch_size < FULL_BATCH
    assert recipe.batch_size * recipe.gradient_accumulation_steps == FULL_BATCH


@pytest.mark.slow
def test_a_worker_that_was_frozen_past_its_lease_is_replaced_and_does_no_harm(
    installation: Installation, expected: Expect
) -> None:
    expectation = expected(LONG)
    brief = Installation(installation.folder, installation.url, lease_seconds=0.5)
    try:
        run_id = installation.submit(LONG, key="frozen")
        frozen = brief.work_elsewhere(run_id)
        brief.wait_for_step(run_id, 250)
        assert frozen.pid is not None
        os.kill(frozen.pid, signal.SIGSTOP)
        eventually(lambda: run_id in brief.container.runs.reap())
        assert brief.get(run_id).epoch == 2
        follower = brief.work_elsewhere(run_id)
        follower.join()
        os.kill(frozen.pid, signal.SIGCONT) if frozen.is_alive() else None
        frozen.join()
        assert follower.exitcode == 0
        assert faults_of(installation, "frozen", expected=expectation) == []
        assert steps_resumed_at(installation, run_id) == [200]
    finally:
        brief.close()


@pytest.mark.slow
def test_a_cancel_and_a_crash_at_once_end_as_cancelled_and_nobody_tries_again(
    installation: Installation,
) -> None:
    run_id = installation.submit(LONG, key="cancel and crash")
    work = installation.work_elsewhere(run_id)
    installation.wait_for_step(run_id, 50)
    work.kill()
    work.join()
    installation.container.training.cancel(run_id)
    installation.maintain()
    assert installation.get(run_id).status is RunStatus.CANCELLED
    assert installation.container.training.cancel(run_id).status is RunStatus.CANCELLED
    assert orders_of(installation.client, TRAINING, run_id=run_id) == []
    assert installation.event_types(run_id)[-1] == "trainer.job.cancelled.v1"


@pytest.mark.slow
def test_a_cancelled_run_goes_on_when_somebody_resumes_it(
    installation: Installation, expected: Expect
) -> None:
    expectation = expected(LONG)
    run_id = installation.submit(LONG, key="cancelled and resumed")
    work = installation.work_elsewhere(run_id)
    installation.wait_for_step(run_id, 250)
    installation.container.training.cancel(run_id)
    work.join()
    assert installation.get(run_id).status is RunStatus.CANCELLED
    installation.container.runs.resume(run_id)
    installation.finish(run_id)
    wrong = faults_of(installation, "cancelled and resumed", expected=expectation)
    assert [fault for fault in wrong if not fault.startswith("ends:")] == []
    assert steps_resumed_at(installation, run_id) == [200]


@pytest.mark.slow
def test_a_corpus_that_changes_between_two_attempts_ends_the_run_instead_of_mixing_two_texts(
    installation: Installation,
) -> None:
    own = Installation(installation.folder / "other", installation.url)
    try:
        run_id = own.submit(SHORT, key="changed corpus")
        own.work_elsewhere(run_id, failpoint="checkpoint.parent_synced:kill").join()
        own.put_corpus("quite another text, about something else.\n" * 2000)
        record = own.finish(run_id)
        assert record.status is RunStatus.FAILED
        assert record.problem is not None
        assert record.problem.code is ErrorCode.DATA_CHANGED
        assert failure_class_of(record.problem.code) is FailureClass.USER_INPUT
        assert record.attempt == 2
    finally:
        own.close()


@pytest.mark.slow
def test_an_order_delivered_fifty_times_is_carried_out_once(
    installation: Installation, expected: Expect
) -> None:
    expectation = expected(SHORT)
    run_id = installation.submit(SHORT, key="fifty")
    for _ in range(DELIVERIES - 1):
        installation.client.call("RPUSH", f"rq:queue:{TRAINING}", f"{run_id}-0")
    for _ in range(DELIVERIES):
        installation.work_here(run_id)
    assert installation.get(run_id).attempt == 1
    assert faults_of(installation, "fifty", expected=expectation) == []


def test_of_two_who_want_one_run_one_gets_it_two_hundred_times(installation: Installation) -> None:
    containers = [live(installation.settings) for _ in range(2)]
    leases: list[list[Lease]] = []
    runs = [installation.submit(SHORT, key=f"race-{number}") for number in range(CLAIMS)]
    gate = threading.Barrier(2)

    def race(place: int) -> None:
        container = containers[place]
        for number, run_id in enumerate(runs):
            gate.wait()
            lease = container.runs.claim(run_id, epoch=0, owner=f"w-{place}", host="here", lease_seconds=60.0)
            if lease is not None:
                leases[number].append(lease)

    leases += [[] for _ in runs]
    threads = [threading.Thread(target=race, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(one) for one in leases] == [1] * CLAIMS
    assert {installation.get(run_id).epoch for run_id in runs} == {1}
    for run_id in runs:
        take_order(installation.client, TRAINING, run_id=run_id)


def test_of_two_who_want_the_lock_of_one_run_one_gets_it(installation: Installation) -> None:
    first, second = (live(installation.settings).locks for _ in range(2))
    for number in range(LOCKS):
        run_id = f"01J{number:023d}"
        held = first.take(run_id, epoch=1)
        assert held is not None
        assert second.take(run_id, epoch=1) is None
        assert not second.is_free(run_id)
        held.release()
        assert second.is_free(run_id)


def test_a_lease_is_counted_by_the_clock_of_redis_whatever_the_clocks_of_its_holders_say(
    installation: Installation,
) -> None:
    run_id = installation.submit(SHORT, key="clock")
    run_record = installation.get(run_id)
    lease = installation.container.runs.claim(
        run_id, epoch=run_record.epoch, owner="w", host="here", lease_seconds=60.0
    )
    assert lease is not None
    seconds, microseconds = installation.client.connection.time()
    now_ms = seconds * 1000 + microseconds // 1000
    left_ms = installation.get(run_id).lease_until_ms - now_ms
    assert 30_000 < left_ms <= 60_000
    take_order(installation.client, TRAINING, run_id=run_id)
