"""A thin typed face on structlog."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, Unpack

import structlog
from structlog.contextvars import bound_contextvars

from model_trainer.core.logging.fields import LogFields


class _Sink(Protocol):
    def debug(self, event: str, **fields: object) -> object: ...
    def info(self, event: str, **fields: object) -> object: ...
    def warning(self, event: str, **fields: object) -> object: ...
    def error(self, event: str, **fields: object) -> object: ...


class Logger:
    """Logs events of one module. The event is a snake_case name; facts are fields."""

    def __init__(self, sink: Callable[[], _Sink]) -> None:
        self._sink = sink

    def debug(self, event: str, **fields: Unpack[LogFields]) -> None:
        """For developers."""
        self._sink().debug(event, **fields)

    def info(self, event: str, **fields: Unpack[LogFields]) -> None:
        """Something that is meant to happen."""
        self._sink().info(event, **fields)

    def warning(self, event: str, **fields: Unpack[LogFields]) -> None:
        """Something an operator may want to look at."""
        self._sink().warning(event, **fields)

    def error(self, event: str, **fields: Unpack[LogFields]) -> None:
        """A failure; carries the stack when one is being handled."""
        self._sink().error(event, exc_info=sys.exc_info()[0] is not None, **fields)


def get_logger(name: str) -> Logger:
    """The logger of a module; cheap, and follows a later configure_logging."""

    def sink() -> _Sink:
        bound: _Sink = structlog.get_logger(name)
        return bound

    return Logger(sink)


def bind_context(**fields: Unpack[LogFields]) -> AbstractContextManager[None]:
    """Fields that every line inside the with-block carries (request_id at the door, run_id in a job)."""
    return bound_contextvars(**fields)
