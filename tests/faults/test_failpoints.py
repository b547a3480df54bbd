"""Every named failpoint, one after the other, in a real run of a real process: reached, and survived.

A member of Failpoint that no run comes to fails here by its name.
"""

import signal

import pytest

from model_trainer.core.contracts.run import RunStatus
from model_trainer.core.failpoints import Failpoint
from tests.faults.conftest import Expect
from tests.faults.installation import LONG, SHORT, Installation, eventually, faults_of, steps_resumed_at

IN_SUBMIT = [point for point in Failpoint if point.value.startswith("submit.")]
IN_CHECKPOINT = [point for point in Failpoint if point.value.startswith("checkpoint.")]
IN_FINISH = [point for point in Failpoint if point.value.startswith("finish.")]
IN_RELEASE = [point for point in Failpoint if point.value.startswith("release.")]
IN_WORK = [point for point in Failpoint if point not in IN_SUBMIT + IN_RELEASE]

pytestmark = pytest.mark.slow


def when(point: Failpoint) -> str:
    """At the second checkpoint, so that there is one to go on from; only then is there an old one to remove."""
    is_first_there = point in (Failpoint.CHECKPOINT_OLD_HIDDEN, Failpoint.CHECKPOINT_OLD_REMOVED)
    return "@2" if point in IN_CHECKPOINT and not is_first_there else ""


@pytest.mark.parametrize("point", IN_SUBMIT)
def test_a_submission_killed_anywhere_and_sent_again_makes_one_run(
    installation: Installation, expected: Expect, point: Failpoint
) -> None:
    expectation = expected(SHORT)
    killed = installation.submit_elsewhere(SHORT, key=point.value, failpoint=f"{point.value}:kill")
    killed.join()
    assert killed.exitcode == -signal.SIGKILL, f"{point} was not reached"
    installation.maintain()
    run_id = installation.submit(SHORT, key=point.value)
    installation.finish(run_id)
    assert faults_of(installation, point.value, expected=expectation) == []


@pytest.mark.parametrize("point", IN_WORK)
def test_a_worker_killed_anywhere_is_followed_by_one_that_ends_the_run_as_if_nothing_had_been(
    installation: Installation, expected: Expect, point: Failpoint
) -> None:
    expectation = expected(SHORT)
    run_id = installation.submit(SHORT, key=point.value)
    killed = installation.work_elsewhere(run_id, failpoint=f"{point.value}:kill{when(point)}")
    killed.join()
    assert killed.exitcode == -signal.SIGKILL, f"{point} was not reached"
    installation.finish(run_id)
    assert faults_of(installation, point.value, expected=expectation) == []
    if point in IN_FINISH:
        assert steps_resumed_at(installation, run_id) in ([], [6]), "no step was trained again"


@pytest.mark.parametrize("point", IN_RELEASE)
def test_a_worker_killed_while_it_hands_its_run_back_loses_no_step(
    installation: Installation, expected: Expect, point: Failpoint
) -> None:
    expectation = expected(LONG)
    run_id = installation.submit(LONG, key=point.value)
    killed = installation.work_elsewhere(run_id, failpoint=f"{point.value}:kill", before="stop")
    killed.join()
    assert killed.exitcode == -signal.SIGKILL, f"{point} was not reached"
    stopped_at = installation.last_checkpoint(run_id)
    installation.finish(run_id)
    assert faults_of(installation, point.value, expected=expectation) == []
    assert steps_resumed_at(installation, run_id) == [stopped_at]


@pytest.mark.parametrize("point", IN_CHECKPOINT)
def test_an_error_of_the_disk_at_a_checkpoint_is_tried_again_and_leaves_no_trace(
    installation: Installation, expected: Expect, point: Failpoint
) -> None:
    expectation = expected(SHORT)
    key = f"{point.value}-error"
    run_id = installation.submit(SHORT, key=key)
    failed = installation.work_elsewhere(run_id, failpoint=f"{point.value}:error{when(point)}")
    failed.join()
    assert f"{point.value}:error" in installation.log_of(run_id).read_text(), f"{point} was not reached"
    assert failed.exitcode == 0, "an error is told, it ends no process"
    assert installation.get(run_id).status in (RunStatus.QUEUED, RunStatus.COMPLETED)
    installation.finish(run_id)
    assert faults_of(installation, key, expected=expectation) == []


def test_steps_go_on_while_a_slow_disk_takes_its_time_for_a_checkpoint(
    installation: Installation, expected: Expect
) -> None:
    expectation = expected(LONG)
    run_id = installation.submit(LONG, key="slow disk")
    point = Failpoint.CHECKPOINT_MODEL_WRITTEN
    slow = installation.work_elsewhere(run_id, failpoint=f"{point.value}:wait")
    first = installation.model_folder(run_id) / "checkpoints" / "step-0000000200"
    eventually(lambda: installation.get(run_id).progress.step >= 300)
    assert not first.exists(), "a hundred steps later the checkpoint is still being written"
    slow.join()
    assert faults_of(installation, "slow disk", expected=expectation) == []
