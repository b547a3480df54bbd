"""Follows a stream of events to its `done`, over as many connections as it takes."""

from collections.abc import Iterator

from model_trainer.client.http import HttpConnection, Query
from model_trainer.client.sse import read_events
from model_trainer.client.views import ServerEvent
from model_trainer.core.errors import AppError, ErrorCode

READ_TIMEOUT_SECONDS = 45.0
"""Three times the server's ping interval."""
MAX_SILENT_TRIES = 20
"""Connections in a row that bring nothing before the reader gives up."""
PAUSE_SECONDS = 1.0
PASSING = (ErrorCode.SERVICE_UNAVAILABLE, ErrorCode.STORE_UNAVAILABLE)
"""The server, or its store, is away for now."""


def follow(
    connection: HttpConnection, path: str, *, query: Query, after: str | None = None
) -> Iterator[ServerEvent]:
    """Every event once, `done` last. A lost connection is taken up again behind the last event seen (Last-Event-ID).

    Raises what the server refuses with, and what it said last (SERVICE_UNAVAILABLE when it said nothing) when it stays
    silent for too long.
    """
    last_id = after
    silent = 0
    while True:
        failure: AppError | None = None
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        try:
            with connection.stream(
                path, query=query, headers=headers, read_timeout_seconds=READ_TIMEOUT_SECONDS
            ) as response:
                for event in read_events(response.iter_lines()):
                    silent = 0
                    last_id = event.id if event.id is not None else last_id
                    yield event
                    if event.name == "done":
                        return
        except AppError as error:
            if error.code not in PASSING:
                raise
            failure = error
        silent += 1
        if silent >= MAX_SILENT_TRIES:
            raise failure or AppError(
                ErrorCode.SERVICE_UNAVAILABLE,
                "The server keeps closing the stream before it has ended: try again later.",
            )
        connection.pause(PAUSE_SECONDS)
