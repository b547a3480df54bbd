"""Streams of events: parsed, taken up again, ended."""

import httpx
import pytest

from model_trainer.client.sse import read_events
from model_trainer.core.errors import AppError, ErrorCode
from tests.unit.client.fake_api import RUN_ID, FakeApi, event_stream, problem

EVENTS = f"/runs/{RUN_ID}/events"


def test_lines_become_events_and_pings_and_unknown_fields_do_not() -> None:
    lines = [
        "retry: 3000",
        "",
        ": ping",
        "id: 7",
        "event: metric",
        'data: {"a":',
        "data: 1}",
        "",
        "event: empty",
        "",
        'data:{"b":2}\r\n',
        "",
        'data: {"cut":"off"}',
    ]
    first, second = list(read_events(lines))
    assert (first.id, first.name, first.data) == ("7", "metric", {"a": 1})
    assert (second.id, second.name, second.data) == (None, "message", {"b": 2})


def test_a_stream_is_followed_to_done() -> None:
    stream = event_stream(
        (1, "state", {"x": 1}), (2, "progress", {"x": 2}), (None, "done", {"status": "completed"})
    )
    api = FakeApi().on("GET", EVENTS, stream)
    with api.client() as client:
        names = [event.name for event in client.follow_events(RUN_ID, after=0)]
    assert names == ["state", "progress", "done"]
    assert api.requests[0].headers["accept"] == "text/event-stream"
    assert "last-event-id" not in api.requests[0].headers


def test_a_broken_stream_goes_on_behind_the_last_event_seen() -> None:
    api = FakeApi().on(
        "GET",
        EVENTS,
        event_stream((1, "state", {}), (2, "state", {}), breaks=True),
        httpx.ConnectError("down"),
        event_stream((3, "state", {})),
        event_stream((None, "done", {})),
    )
    with api.client() as client:
        seen = [event.id for event in client.follow_events(RUN_ID)]
    assert seen == ["1", "2", "3", None]
    assert [request.headers.get("last-event-id") for request in api.requests] == [None, "2", "2", "3"]


def test_a_refused_stream_is_an_error_at_once() -> None:
    api = FakeApi().on("GET", EVENTS, problem(404, "RUN_NOT_FOUND", "There is no such run."))
    with api.client() as client, pytest.raises(AppError) as caught:
        list(client.follow_events(RUN_ID))
    assert caught.value.code is ErrorCode.RUN_NOT_FOUND
    assert len(api.requests) == 1


def test_a_server_that_stays_away_is_given_up_in_the_end() -> None:
    api = FakeApi().on("GET", EVENTS, httpx.ConnectError("down"))
    with api.client() as client, pytest.raises(AppError) as caught:
        list(client.follow_events(RUN_ID))
    assert caught.value.code is ErrorCode.SERVICE_UNAVAILABLE
    assert len(api.requests) == 20


def test_a_server_that_only_closes_streams_is_given_up_too() -> None:
    api = FakeApi().on("GET", EVENTS, lambda _request: event_stream())
    with api.client() as client, pytest.raises(AppError) as caught:
        list(client.follow_events(RUN_ID))
    assert "closing the stream" in caught.value.message


def test_logs_are_followed_the_same_way() -> None:
    api = FakeApi().on(
        "GET", f"/runs/{RUN_ID}/logs/stream", event_stream((40, "log", {"event": "x"}), (None, "done", {}))
    )
    with api.client() as client:
        assert [event.name for event in client.follow_logs(RUN_ID, tail=3)] == ["log", "done"]
    assert api.requests[0].url.params["tail"] == "3"
