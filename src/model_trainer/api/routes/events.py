"""/runs/{run_id}/events: the run's ordered event stream, pushed or polled."""

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from model_trainer.api.requests import parse_query
from model_trainer.api.routes.endpoints import LAST_EVENT_ID, RunIdPath, add
from model_trainer.api.schemas.series import EventsQuery, EventsView, ending_of
from model_trainer.api.streams import EVENT_STREAM, Streams, last_event_id
from model_trainer.api.watching import Look, Step
from model_trainer.container import Container
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.events import SSE_NAMES, StoredEvent
from model_trainer.core.contracts.run import RunRecord

PAGE = 500
EVENTS: dict[int, JsonObject] = {
    200: {
        "description": "JSON; with `Accept: text/event-stream` server-sent events (names: state, progress, metric, "
        "checkpoint, error; id: the sequence number; data: one event as in the JSON), at the end `done`.",
        "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
    }
}


class EventRoutes:
    """Handler of a run's events."""

    def __init__(self, container: Container, streams: Streams) -> None:
        self._container = container
        self._streams = streams

    def add_to(self, app: FastAPI) -> None:
        """Adds the route."""
        add(
            app,
            "GET",
            "/runs/{run_id}/events",
            self.events,
            operation_id="get_events",
            summary="What happened to a run, in order",
            tag="runs",
            view=EventsView,
            query=EventsQuery,
            headers=[LAST_EVENT_ID],
            answers=EVENTS,
            problems=[404],
        )

    async def events(self, request: Request, run_id: RunIdPath) -> Response:
        """A stream when asked for text/event-stream, else a page of JSON."""
        wanted = parse_query(request, EventsQuery)
        seen = last_event_id(request.headers.get("last-event-id"))
        record = await run_in_threadpool(self._container.training.find, run_id)
        after = wanted.after if seen is None else seen
        if EVENT_STREAM in request.headers.get("accept", ""):
            return self._streams.respond(self._streams.follow(run_id, after, self._look))
        view = await run_in_threadpool(self._page, record, after, wanted.limit)
        return Response(view.model_dump_json(), media_type="application/json")

    def _page(self, record: RunRecord, after: int, limit: int) -> EventsView:
        events = self._container.runs.events_after(record.run_id, after=after, limit=limit)
        last = events[-1].seq if events else after
        return EventsView(
            run_id=record.run_id, data=events, has_more=last < record.last_event_seq, last_seq=last
        )

    def _look(self, run_id: str, seen: int) -> Look:
        record = self._container.training.find(run_id)
        events = self._container.runs.events_after(run_id, after=seen, limit=PAGE)
        return Look(ending_of(record), tuple(map(_step, events)))


def _step(stored: StoredEvent) -> Step:
    return Step(stored.seq, SSE_NAMES[stored.event.type], stored.model_dump_json())
