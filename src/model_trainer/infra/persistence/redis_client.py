"""A thin typed face on redis-py: commands, scripts and transactions in, plain objects out. Knows no key of ours."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha1
from pathlib import Path
from typing import Protocol

import redis
from pydantic import TypeAdapter
from redis.client import Pipeline

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.absence import Absence
from model_trainer.infra.persistence.redis_errors import (
    CONNECTION_ERROR,
    NO_SCRIPT_ERROR,
    TIMEOUT_ERROR,
    WATCH_ERROR,
    translated_errors,
)

Argument = str | bytes | int | float
Command = tuple[Argument, ...]

TIMEOUT_SECONDS = 1.0
SCRIPTS = Path(__file__).with_name("scripts")

strings: TypeAdapter[list[str]] = TypeAdapter(list[str])
string_pairs: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])
number: TypeAdapter[int] = TypeAdapter(int)
_replies: TypeAdapter[list[object]] = TypeAdapter(list[object])


class _Pipeline(Protocol):
    def watch(self, *names: str) -> object: ...
    def multi(self) -> None: ...
    def execute_command(self, *args: Argument) -> object: ...
    def execute(self) -> object: ...
    def reset(self) -> object: ...


class _Commands(Protocol):
    def execute_command(self, *args: Argument) -> object: ...
    def close(self) -> object: ...


class Transaction:
    """Watch and read, then begin, write and commit: all or nothing."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        """redis-py's own, for a library that writes to one."""
        self._commands: _Pipeline = pipeline

    def watch(self, *keys: str) -> None:
        """From here on, a change of these keys by others voids the transaction."""
        self._commands.watch(*keys)

    def begin(self) -> None:
        """From here on, commands wait for the commit."""
        self._commands.multi()

    def call(self, *command: Argument) -> object:
        """The reply to a command; after begin() there is none yet."""
        return self._commands.execute_command(*command)

    def commit(self) -> bool:
        """Carries out what waits; False when a watched key has changed, and nothing was done then."""
        try:
            self._commands.execute()
        except WATCH_ERROR:
            return False
        return True


class Script:
    """One Lua file of scripts/, with the words that its like share put before it."""

    def __init__(self, name: str, *, words: str | None = "prelude") -> None:
        """`words`: another file of scripts/; None for a script that shares nothing."""
        names = [name] if words is None else [words, name]
        self.text = "".join((SCRIPTS / f"{each}.lua").read_text(encoding="utf-8") for each in names)
        self.digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class RedisClient:
    """Sends commands; raises STORE_UNAVAILABLE when the server cannot be reached or cannot work for now."""

    def __init__(self, connection: redis.Redis, *, absence: Absence | None = None) -> None:
        """`absence`: left out, every call waits for itself."""
        self.connection = connection
        """redis-py's own client, for a library that asks for one."""
        self._commands: _Commands = connection
        self._absence = absence or Absence(seconds=0.0)

    def call(self, *command: Argument) -> object:
        """The reply to one command."""
        with self._asking():
            return self._commands.execute_command(*command)

    def many(self, commands: Sequence[Command]) -> list[object]:
        """The replies to several commands, sent in one go (not as a transaction)."""
        with self._asking():
            pipeline: _Pipeline = self.connection.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return _replies.validate_python(pipeline.execute())

    def run(self, script: Script, *, key: str, arguments: Sequence[Argument]) -> list[str]:
        """The reply of a script: a word, then strings.

        Tried again once when the connection broke: scripts recognise a call whose reply was lost. Not after a
        timeout, so that an answer, also a bad one, comes in time.
        """
        with self._asking():
            try:
                reply = self._evaluate(script, key, arguments)
            except CONNECTION_ERROR:
                reply = self._evaluate(script, key, arguments)
        return strings.validate_python(reply)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction on a connection of its own, given back at the end."""
        with self._asking():
            pipeline = self.connection.pipeline(transaction=True)
            try:
                yield Transaction(pipeline)
            finally:
                pipeline.reset()

    def close(self) -> None:
        """Ends all connections."""
        self._commands.close()

    @contextmanager
    def _asking(self) -> Iterator[None]:
        self._absence.check()
        with translated_errors():
            try:
                yield
            except TIMEOUT_ERROR:
                self._absence.noticed()
                raise
        self._absence.ended()

    def _evaluate(self, script: Script, key: str, arguments: Sequence[Argument]) -> object:
        try:
            return self._commands.execute_command("EVALSHA", script.digest, 1, key, *arguments)
        except NO_SCRIPT_ERROR:
            return self._commands.execute_command("EVAL", script.text, 1, key, *arguments)


def connect(url: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> RedisClient:
    """A client of the server at `url` (redis://, rediss://, unix://). Connects at the first command.

    Args:
        url: may hold a password; it is never logged and never part of an error.
        timeout_seconds: for connecting and for each reply; a server that hangs costs no more than this, and for a moment
            afterwards only one caller that much, the others nothing.
    """
    library: _Library = redis
    try:
        connection = library.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=None,
            protocol=2,
            decode_responses=True,
        )
    except ValueError as error:
        # Without its cause: the message of urllib's error may hold the address, and so a password.
        message = "REDIS_URL is not an address of Redis. It must begin with redis://, rediss:// or unix://."
        raise AppError(ErrorCode.CONFIG_INVALID, message, facts={"detail": type(error).__name__}) from None
    return RedisClient(connection, absence=Absence())


class _Library(Protocol):
    """What is used of the module redis, typed."""

    def from_url(
        self,
        url: str,
        *,
        socket_timeout: float,
        socket_connect_timeout: float,
        retry: None,
        protocol: int,
        decode_responses: bool,
    ) -> redis.Redis: ...
