"""Records, jobs, events and manifests keep their meaning through JSON."""

from typing import get_args

import pytest
from pydantic import BaseModel

from model_trainer.core.contracts.events import (
    SSE_NAMES,
    Event,
    JobFailed,
    MetricsProgress,
    StoredEvent,
    event_adapter,
)
from model_trainer.core.contracts.jobs import EvaluateModel, TrainModel, TrainTokenizer, decode_job
from model_trainer.core.contracts.run import RunStatus
from model_trainer.core.errors import AppError, ErrorCode, FailureClass, Reason

RUN = "01JD8Z3M6Q4T7V9XW2Y5A1B3C4"


@pytest.mark.parametrize("kind", [TrainModel, TrainTokenizer, EvaluateModel])
def test_an_order_is_decoded_to_its_own_type(
    kind: type[TrainModel] | type[TrainTokenizer] | type[EvaluateModel],
) -> None:
    job = kind(run_id=RUN, epoch=3)

    assert decode_job(job.model_dump_json()) == job


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "null",
        '["os.system", null, ["id"], {}]',
        f'{{"job": "drop_tables", "run_id": "{RUN}", "epoch": 1}}',
        f'{{"job": "train_model", "run_id": "{RUN}"}}',
        f'{{"job": "train_model", "run_id": "{RUN}", "epoch": "1"}}',
        f'{{"job": "train_model", "run_id": "{RUN}", "epoch": 1, "callback": "os.system"}}',
        '{"job": "train_model", "run_id": "../x", "epoch": 1}',
    ],
)
def test_what_is_no_order_is_refused(payload: str) -> None:
    with pytest.raises(AppError, match="not a job") as caught:
        decode_job(payload)

    assert caught.value.code is ErrorCode.CONFIG_INVALID


def test_a_run_ends_in_three_ways() -> None:
    assert {status for status in RunStatus if status.is_terminal} == {
        RunStatus.COMPLETED,
        RunStatus.FAILED,
        RunStatus.CANCELLED,
    }


def test_every_event_has_a_name_of_its_own_with_a_version_and_an_sse_name() -> None:
    kinds: tuple[type[BaseModel], ...] = get_args(Event)
    names = [kind.model_fields["type"].default for kind in kinds]

    assert sorted(names) == sorted(SSE_NAMES)
    assert all(
        name.startswith(("trainer.job.", "trainer.metrics.")) and name.endswith(".v1") for name in names
    )


def test_a_stored_event_comes_back_as_the_same_kind_of_event() -> None:
    failed = JobFailed(
        job_id=RUN,
        user_id=None,
        error_code=ErrorCode.DIVERGED,
        message="The loss is not a number any more.",
        reason=Reason.NAN_LOSS,
        failure_class=FailureClass.USER_INPUT,
    )
    progress = MetricsProgress(job_id=RUN, user_id="u", step=1, metrics={"loss": 1}, timings={})
    events: tuple[Event, ...] = (failed, progress)
    for seq, event in enumerate(events, start=1):
        stored = StoredEvent(seq=seq, at_ms=1, event=event)

        assert StoredEvent.model_validate_json(stored.model_dump_json()) == stored
        assert event_adapter.validate_json(event.model_dump_json()) == event
