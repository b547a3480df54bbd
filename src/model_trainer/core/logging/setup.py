"""Where lines go and how they look: JSON in production, readable text in development, secrets redacted."""

import logging
import logging.handlers
import math
import re
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol, TextIO

import structlog

from model_trainer.core.contracts.ids import new_ulid

ServiceName = Literal[
    "model-trainer",
    "model-trainer-worker",
    "model-trainer-cleanup",
    "model-trainer-cli",
    "model-trainer-discord",
    "model-trainer-test",
]
EventDict = MutableMapping[str, object]


class _Processor(Protocol):
    def __call__(self, logger: object, name: str, event_dict: EventDict, /) -> EventDict: ...


class _Renderer(Protocol):
    def __call__(self, logger: object, name: str, event_dict: EventDict, /) -> str | bytes: ...


class _FormatterMaker(Protocol):
    def __call__(
        self, *, foreign_pre_chain: list[_Processor], processors: list[_Processor | _Renderer]
    ) -> logging.Formatter: ...


class _Stdlib(Protocol):
    """The part of structlog.stdlib in use, typed."""

    @property
    def ProcessorFormatter(self) -> _FormatterMaker: ...  # noqa: N802 - structlog's name


STDLIB: _Stdlib = structlog.stdlib

MASK = "[redacted]"
LONGEST_VALUE = 16_384
"""Characters; what is longer is cut, so that one line cannot fill a disk."""

_URL_PASSWORD = re.compile(r"(?<=://)([^/@\s:]*):([^/\s]+)@")
_SECRET_PAIR = re.compile(
    r"(?i)(?<![a-z0-9])(api[-_]?key|(?:access|auth|bearer|refresh|hf|bot|discord)[-_]?token|token(?==)|pass(?:word|wd)|authorization|secret)"
    r"([\"']?\s*[:=]\s*(?:b?[\"'])?)(?:(?:bearer|basic|bot)\s+)?([^\s\"',;&]+)"
)
_BEARER = re.compile(r"(?i)\b(bearer)\s+[a-z0-9._~+/=-]{8,}")
_DISCORD_TOKEN = re.compile(r"(?<![\w-])[\w-]{18,}\.[\w-]{6,7}\.[\w-]{25,}", re.ASCII)
"""A bot's: its id in base64, a time, a signature."""
_DISCORD_URL = re.compile(r"(/(?:webhooks|interactions)/[0-9]+/)[^/\s?\"']+")
"""Whoever has such an address may answer in the bot's name."""
_SECRETS = (
    (_URL_PASSWORD, rf"\1:{MASK}@"),
    (_SECRET_PAIR, rf"\1\2{MASK}"),
    (_BEARER, rf"\1 {MASK}"),
    (_DISCORD_TOKEN, MASK),
    (_DISCORD_URL, rf"\1{MASK}"),
)
"""Each kind of secret, and what is shown in its place."""


def redact(text: str) -> str:
    """`text` without passwords in URLs, values behind a secret's name, bearer tokens and those of Discord."""
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text


def configure_logging(
    *,
    service: ServiceName,
    level: str,
    readable: bool,
    stream: TextIO | None = None,
    log_file: Path | None = None,
    quiet: bool = False,
) -> None:
    """Sends every log line of this process, ours and libraries', through one pipe.

    Args:
        service: stands on every line.
        level: of our own lines; other people's are held to WARNING.
        readable: text for people instead of JSON.
        stream: where lines go; standard error when left out.
        quiet: on the stream only what went wrong, in a sentence; a run's own log has everything all the same.
        log_file: also append JSON lines there (one service, one file); a file that was rotated away is made anew.
    """
    shared = _processors(service)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, _hand_to_handler],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    renderer: _Renderer = _for_people if readable else structlog.processors.JSONRenderer()
    on_stream = _handler(
        logging.StreamHandler(stream or sys.stderr), shared, _in_a_sentence if quiet else renderer
    )
    on_stream.setLevel(logging.WARNING if quiet else logging.NOTSET)
    handlers: list[logging.Handler] = [on_stream]
    if log_file is not None:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(_handler(_RotatedFile(log_file), shared, structlog.processors.JSONRenderer()))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("model_trainer").setLevel(level)


@contextmanager
def log_also_to(path: Path, *, service: ServiceName) -> Iterator[None]:
    """Everything logged inside the with-block goes to `path` too, as JSON lines (a run's logs.jsonl)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    renderer = structlog.processors.JSONRenderer()
    handler = _handler(logging.FileHandler(path, encoding="utf-8"), _processors(service), renderer)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


class _RotatedFile(logging.handlers.WatchedFileHandler):
    """Appends to whatever file has the name now: logrotate and its like need to tell us nothing."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8")

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line. A folder that was taken away costs the line, not the job that wrote it."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)


def _processors(service: ServiceName) -> list[_Processor]:
    instance_id = new_ulid()

    def stamp(_logger: object, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        event["instance_id"] = instance_id
        event.setdefault("category", "app")
        return event

    return [
        structlog.contextvars.merge_contextvars,
        _name_source,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        stamp,
        structlog.processors.format_exc_info,
        _name_event,
        _clean_values,
    ]


def _handler(handler: logging.Handler, shared: list[_Processor], renderer: _Renderer) -> logging.Handler:
    handler.addFilter(_is_wanted)
    handler.setFormatter(
        STDLIB.ProcessorFormatter(foreign_pre_chain=shared, processors=[_drop_meta, renderer])
    )
    return handler


def _name_source(logger: object, method: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    if isinstance(record, logging.LogRecord):  # a library's own line
        event["logger"], event["level"] = record.name, record.levelname.lower()
    else:
        event["logger"] = logger.name if isinstance(logger, logging.Logger) else "model_trainer"
        event["level"] = method
    return event


def _hand_to_handler(
    logger: object, name: str, event: EventDict
) -> tuple[tuple[EventDict], dict[str, object]]:
    return (event,), {"extra": {"_logger": logger, "_name": name}}


def _drop_meta(_logger: object, _name: str, event: EventDict) -> EventDict:
    for key in ("_record", "_from_structlog"):
        event.pop(key, None)
    return event


def _name_event(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Our event name stands in both `event` and `message`; a library's text in `message` alone."""
    name = event.pop("event", "")
    event["message"] = name
    event["event"] = (
        name if isinstance(name, str) and re.fullmatch(r"[a-z][a-z0-9_]*", name) else "library_message"
    )
    return event


def _clean_values(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Secrets masked, long texts cut, and no NaN: JSON has none, and a diverged run logs one."""
    for key, value in event.items():
        if isinstance(value, str):
            rest = len(value) - LONGEST_VALUE
            cut = value if rest <= 0 else f"{value[:LONGEST_VALUE]}... ({rest} more characters)"
            event[key] = redact(cut)
        elif isinstance(value, float) and not math.isfinite(value):
            event[key] = str(value)
    return event


def _for_people(logger: object, name: str, event: EventDict) -> str | bytes:
    """One line of text, with the stack below it; control characters of strangers do not reach the terminal."""
    for key, value in event.items():
        if isinstance(value, str) and key != "exception":
            event[key] = "".join(
                character if character.isprintable() else repr(character)[1:-1] for character in value
            )
    renderer: _Renderer = structlog.dev.ConsoleRenderer(colors=False, event_key="message")
    return renderer(logger, name, event)


def _in_a_sentence(_logger: object, _name: str, event: EventDict) -> str | bytes:
    """What happened, without the stack and the names of who was there."""
    level, detail = event["level"], event.get("detail")
    what = event["message"] if detail is None else f"{event['message']}: {detail}"
    text = f"{level}: {what}"
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def _is_wanted(record: logging.LogRecord) -> bool:
    """Other people's lines are held to WARNING, whatever level their libraries set."""
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] == "model_trainer"
