"""Pausing, resuming and checkpoints as the client asks for them."""

import json

from model_trainer.core.errors import ErrorCode
from tests.unit.client.fake_api import RUN_ID, FakeApi, event_stream, problem, run_view

RUN = f"/runs/{RUN_ID}"
CHECKPOINT: dict[str, object] = {
    "step": 20,
    "path": "checkpoints/step-0000000020",
    "saved_at": "2026-11-21T01:02:03Z",
    "num_bytes": 2048,
    "metrics": {"validation_loss": 1.5},
    "is_best": True,
    "is_last": True,
    "resumable": True,
    "problem": None,
}


def test_a_run_is_paused_and_resumed_where_somebody_chose() -> None:
    api = FakeApi()
    api.on("POST", f"{RUN}/pause", run_view(status="paused"))
    api.on("POST", f"{RUN}/resume", run_view(status="queued"))
    with api.client() as client:
        assert client.pause(RUN_ID).status == "paused"
        assert client.resume(RUN_ID).status == "queued"
        assert api.sent() == {}
        client.resume(RUN_ID, step=0, spec={"seed": 1})
    assert api.sent() == {"step": 0, "spec": {"seed": 1}}
    assert json.loads(api.requests[-1].content)["step"] == 0


def test_a_resume_can_be_repeated_under_a_key_of_the_callers() -> None:
    api = FakeApi().on("POST", f"{RUN}/resume", run_view(status="queued"))
    with api.client() as client:
        client.resume(RUN_ID, idempotency_key="mine")
    assert api.requests[-1].headers["idempotency-key"] == "mine"


def test_checkpoints_are_read() -> None:
    api = FakeApi().on("GET", f"{RUN}/checkpoints", {"run_id": RUN_ID, "data": [CHECKPOINT]})
    with api.client() as client:
        found = client.checkpoints(RUN_ID)
    assert [(one.step, one.is_best, one.metrics) for one in found.data] == [
        (20, True, {"validation_loss": 1.5})
    ]


def test_a_store_that_is_away_does_not_end_following() -> None:
    away = problem(503, ErrorCode.STORE_UNAVAILABLE.value, "Redis is away.")
    done = event_stream((4, "state", {"event": {}}), (None, "done", {"status": "completed"}))
    api = FakeApi().on("GET", f"{RUN}/events", away, done)
    with api.client() as client:
        assert [event.name for event in client.follow_events(RUN_ID)] == ["state", "done"]
