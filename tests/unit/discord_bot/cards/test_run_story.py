import math

import pytest

from model_trainer.client.views import AttemptView, LastCheckpointView, ProgressView, RunProblemView, RunView
from model_trainer.core.contracts.events import StoredEvent
from model_trainer.core.contracts.run import Phase, Progress, RunStatus
from model_trainer.core.errors import ErrorCode, FailureClass, Reason
from model_trainer.discord_bot.cards.run_story import (
    LONGEST_USER_ID,
    MOST_METRICS,
    RunStory,
    hear,
    is_metric_name,
    story_of_view,
)
from tests.unit.discord_bot.told import (
    NOW_MS,
    OWNER,
    RUN,
    cancelled,
    completed,
    configured,
    evaluated,
    failed,
    measured,
    paused,
    progressed,
    queued,
    rejected,
    resumed,
    saved,
    series_ended,
    started,
    told,
)


def test_an_event_that_was_heard_changes_nothing() -> None:
    story = told(queued(), started(), progressed())

    for seq in (1, 2, 3):
        assert hear(story, StoredEvent(seq=seq, at_ms=NOW_MS + 9, event=cancelled())) is story


def test_a_story_counts_what_it_heard_and_when() -> None:
    story = hear(RunStory(run_id=RUN), StoredEvent(seq=7, at_ms=NOW_MS, event=rejected()))

    assert (story.run_id, story.seq, story.heard_at_ms, story.user_id) == (RUN, 7, NOW_MS, OWNER)


def test_an_ordered_run_waits() -> None:
    story = told(queued())

    assert (story.kind, story.family, story.status, story.phase) == (
        "train",
        "gpt2",
        RunStatus.QUEUED,
        Phase.WAITING,
    )
    assert story.queued_at_ms == NOW_MS


def test_a_started_run_begins_anew() -> None:
    story = told(queued(), progressed(), started(2))

    assert (story.status, story.phase, story.attempt) == (RunStatus.RUNNING, Phase.STARTING, 2)
    assert (story.progress, story.started_at_ms) == (Progress(), NOW_MS + 2000)


def test_order_and_start_are_the_first_ones() -> None:
    story = told(queued(), started(), queued(), started(2))

    assert (story.queued_at_ms, story.started_at_ms) == (NOW_MS, NOW_MS + 1000)


def test_progress_is_the_latest_and_says_when() -> None:
    last = Progress(step=3, total_steps=9, fraction=0.3)
    story = told(progressed(), progressed(last, phase=Phase.EVALUATING))

    assert (story.phase, story.progress, story.progress_at_ms) == (Phase.EVALUATING, last, NOW_MS + 1000)


def test_series_say_sizes_and_the_latest_of_each_measure() -> None:
    story = told(configured(), measured(loss=3.0, validation_loss=4.0), measured(loss=2.0, perplexity=7.4))

    assert (story.total_steps, story.num_parameters) == (1200, 3_400_000)
    assert story.metrics == {"loss": 2.0, "validation_loss": 4.0, "perplexity": 7.4}


def test_the_end_of_the_series_says_why_and_where_it_was_best() -> None:
    story = told(measured(loss=3.0), series_ended(500, early_stopped=True, loss=1.0))

    assert (story.early_stopped, story.best_step, story.metrics) == (True, 500, {"loss": 1.0})


def test_checkpoints_are_counted_by_the_newest_and_by_those_passed_over() -> None:
    story = told(saved(100), saved(200), rejected(), rejected())

    assert (story.checkpoint_step, story.rejected_checkpoints) == (200, 2)


def test_an_evaluation_is_kept_beside_the_series() -> None:
    story = told(measured(loss=3.0), evaluated({"loss": 1.5}, split="test", regression=True))

    assert (story.metrics, story.evaluation) == ({"loss": 3.0}, {"loss": 1.5})
    assert (story.evaluated_split, story.regression) == ("test", True)


def test_a_paused_run_stands_still_for_a_reason() -> None:
    story = told(started(), progressed(), paused(Reason.DISK_FULL))

    assert (story.status, story.phase, story.reason) == (RunStatus.PAUSED, Phase.WAITING, Reason.DISK_FULL)
    assert story.progress.step == 600


def test_a_resumed_run_stands_at_its_checkpoint() -> None:
    story = told(progressed(), saved(600), resumed(400))

    assert (story.step, story.total_steps, story.checkpoint_step) == (400, 1200, 400)


def test_what_follows_training_counts_no_steps() -> None:
    story = told(progressed(), progressed(Progress(fraction=0.5), phase=Phase.EVALUATING))

    assert (story.phase, story.progress.fraction) == (Phase.EVALUATING, 0.5)
    assert (story.step, story.total_steps) == (600, 1200)


def test_a_cancelled_run_has_ended_at_its_step() -> None:
    story = told(progressed(), cancelled(700))

    assert (story.status, story.phase, story.reason, story.step) == (
        RunStatus.CANCELLED,
        Phase.DONE,
        Reason.USER_CANCELLED,
        700,
    )
    assert story.ended_at_ms == NOW_MS + 1000


def test_a_completed_run_has_its_last_figures() -> None:
    story = told(measured(loss=3.0), completed({"validation_loss": 1.5}))

    assert (story.status, story.phase, story.ended_at_ms) == (RunStatus.COMPLETED, Phase.DONE, NOW_MS + 1000)
    assert story.metrics == {"loss": 3.0, "validation_loss": 1.5}


def test_a_failed_run_says_why_by_closed_lists() -> None:
    story = told(failed())

    assert (story.status, story.phase, story.ended_at_ms) == (RunStatus.FAILED, Phase.DONE, NOW_MS)
    assert (story.error_code, story.reason, story.failure_class) == (
        ErrorCode.DIVERGED,
        Reason.NAN_LOSS,
        FailureClass.USER_INPUT,
    )


def test_a_run_that_goes_on_after_its_end_has_none() -> None:
    story = told(failed(), queued())

    assert (story.ended_at_ms, story.error_code, story.reason, story.failure_class) == (
        None,
        None,
        None,
        None,
    )
    assert told(paused(Reason.DISK_FULL), started()).reason is None
    assert told(paused(Reason.DISK_FULL), completed()).reason is None


def test_what_is_heard_can_be_written_down_and_read() -> None:
    story = told(queued(), started(), configured(), measured(loss=2.0), evaluated(), failed())

    assert RunStory.model_validate_json(story.model_dump_json()) == story


@pytest.mark.parametrize("text", ["/srv/secret.txt", "GPT 2", "x" * 100])
def test_words_of_events_are_kept_only_as_words(text: str) -> None:
    story = told(queued(kind=text, family=text), evaluated(split=text))

    assert (story.kind, story.family, story.evaluated_split) == ("", "", "")


def test_a_user_id_is_bounded() -> None:
    event = queued().model_copy(update={"user_id": "9" * 10_000})

    assert told(event).user_id == "9" * LONGEST_USER_ID
    assert told(queued().model_copy(update={"user_id": None})).user_id is None


@pytest.mark.parametrize(
    "name", ["loss", "validation_bits_per_byte", "tpr_at_fpr_1", "recall@5", "tpr@0.01", "f1"]
)
def test_names_of_measures_are_known_by_their_shape(name: str) -> None:
    assert is_metric_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Loss",
        "a b",
        "a.b",
        "secret.txt",
        "/etc",
        "me@host",
        "loss\n",
        "x" * 41,
        "sk_live_abcdefghijkl",
        "loss@12345",
    ],
)
def test_other_names_are_dropped(name: str) -> None:
    assert not is_metric_name(name)
    assert told(measured(**{name: 1.0, "loss": 2.0}), evaluated({name: 1.0})).metrics == {"loss": 2.0}
    assert told(evaluated({name: 1.0})).evaluation == {}


def test_so_many_measures_are_kept_and_these_go_on() -> None:
    many = {f"m{number}": 1.0 for number in range(MOST_METRICS + 8)}
    story = told(measured(loss=3.0), measured(**many), measured(loss=2.0, m0=5.0))

    assert len(story.metrics) == MOST_METRICS
    assert (story.metrics["loss"], story.metrics["m0"]) == (2.0, 5.0)


def view(**changes: object) -> RunView:
    return RunView.model_validate({"run_id": RUN, "status": "running"} | changes)


def test_a_view_is_the_same_story() -> None:
    story = story_of_view(
        view(
            kind="train",
            family="gpt2",
            phase="training",
            user_id=OWNER,
            last_event_seq=12,
            metadata={"name": "my run", "other": "x"},
            progress=ProgressView(
                step=600, total_steps=1200, fraction=0.5, epoch=1.0, tokens_per_second=2.0, eta_seconds=90.0
            ),
            metrics={"loss": 2.0, "/etc": 1.0},
            checkpoint=LastCheckpointView(step=500, path="/srv/x"),
            attempts=(AttemptView(), AttemptView()),
            result={"early_stopped": True, "best_step": 400},
            created_at="2023-11-14T22:13:20Z",
            started_at="2023-11-14T22:13:21Z",
            finished_at="2023-11-14T22:13:23",
            updated_at="2023-11-14T23:13:22+01:00",
        )
    )

    assert story == RunStory(
        run_id=RUN,
        seq=12,
        kind="train",
        family="gpt2",
        name="my run",
        user_id=OWNER,
        status=RunStatus.RUNNING,
        phase=Phase.TRAINING,
        progress=Progress(
            step=600, total_steps=1200, fraction=0.5, epoch=1.0, tokens_per_second=2.0, eta_seconds=90.0
        ),
        progress_at_ms=NOW_MS + 2000,
        step=600,
        total_steps=1200,
        attempt=2,
        metrics={"loss": 2.0},
        checkpoint_step=500,
        early_stopped=True,
        best_step=400,
        queued_at_ms=NOW_MS,
        started_at_ms=NOW_MS + 1000,
        ended_at_ms=NOW_MS + 3000,
        heard_at_ms=NOW_MS + 2000,
    )


def test_a_view_tells_steps_by_what_it_has() -> None:
    """Phases behind training count none; a result has them all, a run that stands still has its checkpoint."""
    ended = story_of_view(view(status="completed", result={"steps": 900, "total_steps": 1200}))
    paused = story_of_view(view(status="paused", checkpoint=LastCheckpointView(step=500)))

    assert (ended.step, ended.total_steps) == (900, 1200)
    assert (paused.step, paused.total_steps) == (500, 0)


def test_a_failed_view_says_why_by_closed_lists() -> None:
    problem = RunProblemView(code="DIVERGED", message="/srv/secret.txt")
    story = story_of_view(
        view(status="failed", reason="nan_loss", failure_class="USER_INPUT", problem=problem, user_id=None)
    )

    assert (story.status, story.error_code, story.reason, story.failure_class) == (
        RunStatus.FAILED,
        ErrorCode.DIVERGED,
        Reason.NAN_LOSS,
        FailureClass.USER_INPUT,
    )
    assert story.user_id is None


def test_what_a_newer_server_says_is_taken_for_the_nearest() -> None:
    problem = RunProblemView(code="NEWER", message="")
    story = story_of_view(
        view(status="newer", phase="newer", reason="newer", failure_class="newer", problem=problem)
    )

    assert (story.status, story.phase) == (RunStatus.RUNNING, Phase.WAITING)
    assert (story.error_code, story.reason, story.failure_class) == (ErrorCode.INTERNAL, None, None)


@pytest.mark.parametrize("best_step", [None, True, 1.5, "secret.txt"])
def test_what_is_no_step_is_none(best_step: object) -> None:
    assert story_of_view(view(result={"best_step": best_step, "early_stopped": "yes"})).best_step is None


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_what_is_no_number_is_left_out(number: float) -> None:
    progress = ProgressView(fraction=number, epoch=number, tokens_per_second=number, eta_seconds=number)
    story = story_of_view(view(progress=progress, metrics={"loss": number}))

    assert (story.progress, story.metrics) == (Progress(), {})


@pytest.mark.parametrize("time", [None, "", "yesterday", "/srv/secret.txt"])
def test_what_is_no_time_is_none(time: str | None) -> None:
    story = story_of_view(view(created_at=time, updated_at=time))

    assert (story.queued_at_ms, story.heard_at_ms) == (None, 0)


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_times_at_the_edges_can_be_read(time: str) -> None:
    assert story_of_view(view(created_at=time)).queued_at_ms is not None
