"""/runs/{run_id}/metrics, /logs and /logs/stream: what a run writes down while it goes."""

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from model_trainer.api.log_reader import LogFile
from model_trainer.api.places import METRICS_FILE, TIMINGS_FILE, file_or_none, log_of
from model_trainer.api.requests import parse_query
from model_trainer.api.routes.endpoints import LAST_EVENT_ID, RunIdPath, add
from model_trainer.api.schemas.series import LogsQuery, LogsView, SeriesView, ending_of
from model_trainer.api.series_reader import series_document, series_rows
from model_trainer.api.streams import EVENT_STREAM, Streams, last_event_id
from model_trainer.api.watching import Look, Step
from model_trainer.container import Container
from model_trainer.core.contracts.base import JsonObject, dump_json

LOG_STREAM: dict[int, JsonObject] = {
    200: {
        "description": "Server-sent events: `log` (data: one line; id: the byte offset behind it), at the end `done`.",
        "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
    }
}


class SeriesRoutes:
    """Handlers of a run's own files."""

    def __init__(self, container: Container, streams: Streams) -> None:
        self._container = container
        self._streams = streams

    def add_to(self, app: FastAPI) -> None:
        """Adds the routes."""
        add(
            app,
            "GET",
            "/runs/{run_id}/metrics",
            self.metrics,
            operation_id="get_metrics",
            summary="The whole series of a training",
            tag="runs",
            view=SeriesView,
            problems=[404],
        )
        add(
            app,
            "GET",
            "/runs/{run_id}/logs",
            self.logs,
            operation_id="get_logs",
            summary="The last lines of a run's log",
            tag="runs",
            view=LogsView,
            query=LogsQuery,
            problems=[404],
        )
        add(
            app,
            "GET",
            "/runs/{run_id}/logs/stream",
            self.stream_logs,
            operation_id="stream_logs",
            summary="The last lines of a run's log, then every new one",
            tag="runs",
            query=LogsQuery,
            headers=[LAST_EVENT_ID],
            answers=LOG_STREAM,
            problems=[404],
        )

    def metrics(self, run_id: RunIdPath) -> Response:
        """Row by row: metrics are a function of spec, data and seed; timings are what a clock had a say in."""
        record = self._container.training.find_training(run_id)
        artifacts = self._container.artifacts
        metrics = file_or_none(artifacts, "models", record.run_id, METRICS_FILE)
        timings = file_or_none(artifacts, "models", record.run_id, TIMINGS_FILE)
        document = series_document(run_id, series_rows(metrics, timings))
        return StreamingResponse(document, media_type="application/json")

    def logs(self, request: Request, run_id: RunIdPath) -> LogsView:
        """Oldest first. Lines that are no JSON objects come as {"message": line}."""
        wanted = parse_query(request, LogsQuery)
        log = LogFile(log_of(self._container.artifacts, self._container.training.find(run_id)))
        offset = log.tail_offset(wanted.tail)
        lines = log.lines_after(offset)
        end = lines[-1].next_offset if lines else offset
        return LogsView(run_id=run_id, data=tuple(line.content for line in lines), next_offset=end)

    async def stream_logs(self, request: Request, run_id: RunIdPath) -> Response:
        """Ends with `done` when the run has ended and every line was sent."""
        wanted = parse_query(request, LogsQuery)
        offset = last_event_id(request.headers.get("last-event-id"))
        if offset is None:
            offset = await run_in_threadpool(self._tail_offset, run_id, wanted.tail)
        else:
            await run_in_threadpool(self._container.training.find, run_id)
        return self._streams.respond(self._streams.follow(run_id, offset, self._look))

    def _tail_offset(self, run_id: str, num_lines: int) -> int:
        return LogFile(log_of(self._container.artifacts, self._container.training.find(run_id))).tail_offset(
            num_lines
        )

    def _look(self, run_id: str, offset: int) -> Look:
        record = self._container.training.find(run_id)
        lines = LogFile(log_of(self._container.artifacts, record)).lines_after(offset)
        steps = tuple(Step(line.next_offset, "log", dump_json(line.content)) for line in lines)
        return Look(ending_of(record), steps)
