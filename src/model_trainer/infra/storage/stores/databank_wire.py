"""The wire to a data bank: requests, their repetition, and every fault as ours. Knows no file."""

import os
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from model_trainer.core.config.settings import DatabankSettings
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.storage.stores.content import unavailable

MOST_TRIES = 4
FIRST_PAUSE_SECONDS = 0.1
MOST_MESSAGE_CHARACTERS = 500

TOLD_ON = frozenset(
    {
        ErrorCode.FILE_NOT_FOUND,
        ErrorCode.DIGEST_MISMATCH,
        ErrorCode.REQUEST_TOO_LARGE,
        ErrorCode.CONFLICT,
        ErrorCode.DISK_FULL,
    }
)
"""What a server may refuse in words of its own; anything else means that it cannot be worked with."""

AnswerT = TypeVar("AnswerT", bound=BaseModel)


class _Problem(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    code: str = ""
    message: str = ""


class Tries:
    """Counts what went wrong in a row, and waits a little longer before each new try."""

    def __init__(self, sleep: Callable[[float], None]) -> None:
        """Nothing went wrong yet."""
        self._sleep = sleep
        self._num_failed = 0

    def succeeded(self) -> None:
        """It went on: the next failure is a first one."""
        self._num_failed = 0

    def failed(self, error: AppError, *, also: ErrorCode = ErrorCode.STORE_UNAVAILABLE) -> None:
        """Waits; raises the error when it will not pass, or has come too often. `also`: another one that passes."""
        self._num_failed += 1
        if error.code not in (ErrorCode.STORE_UNAVAILABLE, also) or self._num_failed == MOST_TRIES:
            raise error
        self._sleep(FIRST_PAUSE_SECONDS * (1 << (self._num_failed - 1)))


class DatabankWire:
    """Connections to one server."""

    def __init__(
        self,
        settings: DatabankSettings,
        *,
        timeout_seconds: float,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Connects when something is first asked for. Raises CONFIG_INVALID for an address or a key that cannot be one.

        Args:
            settings: where it is.
            timeout_seconds: for connecting and for each answer.
            transport: in place of the network.
            sleep: waits before another try.
        """
        self._url = settings.url or ""
        self._key = "" if settings.api_key is None else settings.api_key.get_secret_value()
        self._timeout_seconds = timeout_seconds
        self._transport = transport
        self._sleep = sleep
        self._opened: tuple[int, httpx.Client] | None = None
        self._client()

    def tries(self) -> Tries:
        """For work that has several steps."""
        return Tries(self._sleep)

    def ask(
        self,
        method: str,
        path: str,
        *,
        expected: tuple[int, ...],
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
    ) -> httpx.Response:
        """The answer, one of the `expected` statuses, after a few tries. Raises STORE_UNAVAILABLE and what the server says."""
        tries = self.tries()
        while True:
            try:
                return self.ask_once(
                    method, path, expected=expected, query=query, headers=headers, content=content
                )
            except AppError as error:
                tries.failed(error)

    def ask_once(
        self,
        method: str,
        path: str,
        *,
        expected: tuple[int, ...],
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterator[bytes] = b"",
        patience_seconds: float = 0.0,
    ) -> httpx.Response:
        """The same with one try; the server may take `patience_seconds` longer than usual for its answer."""
        patience = httpx.Timeout(self._timeout_seconds, read=self._timeout_seconds + patience_seconds)
        try:
            answer = self._client().request(
                method,
                path,
                params=None if query is None else httpx.QueryParams(dict(query)),
                headers=dict(headers or {}),
                content=content,
                timeout=patience,
            )
        except httpx.RequestError as error:
            raise self.unavailable(type(error).__name__) from error
        if answer.status_code not in expected:
            raise self._refused(answer)
        return answer

    def pieces(self, path: str, *, start: int, stop: int) -> Iterator[bytes]:
        """Bytes of what lies at `path`, as they come; one try. Raises STORE_UNAVAILABLE, too, when fewer come."""
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        missing = stop - start
        try:
            with self._client().stream("GET", path, headers=headers) as answer:
                if answer.status_code != httpx.codes.PARTIAL_CONTENT:
                    answer.read()
                    raise self._refused(answer)
                for piece in answer.iter_raw():
                    missing -= len(piece)
                    if missing < 0:
                        break
                    yield piece
        except httpx.RequestError as error:
            raise self.unavailable(type(error).__name__) from error
        if missing != 0:
            raise self.unavailable("another range came than was asked for")

    def parsed(self, view: type[AnswerT], answer: httpx.Response) -> AnswerT:
        """What the server says; raises STORE_UNAVAILABLE when that makes no sense."""
        try:
            return view.model_validate_json(answer.content)
        except ValidationError as error:
            raise self.unavailable("an answer of another kind of server") from error

    def number_in(self, answer: httpx.Response, header: str) -> int:
        """A header's number; raises STORE_UNAVAILABLE when there is none."""
        value: object = answer.headers.get(header)
        if not isinstance(value, str) or not value.isdecimal():
            raise self.unavailable(f"an answer without {header}")
        return int(value)

    def unavailable(self, detail: str) -> AppError:
        """The server cannot be worked with now."""
        message = (
            f"The data bank at {self._url} cannot be used right now. Check that it runs, that STORE__DATABANK__URL is right and"
            " that it takes STORE__DATABANK__API_KEY; then try again."
        )
        return unavailable(message, detail=detail)

    def _refused(self, answer: httpx.Response) -> AppError:
        try:
            problem = _Problem.model_validate_json(answer.content)
        except ValidationError:
            problem = _Problem()
        code = ErrorCode.__members__.get(problem.code)
        if code in TOLD_ON:
            return AppError(code, f"The data bank says: {problem.message[:MOST_MESSAGE_CHARACTERS]}")
        return self.unavailable(f"HTTP {answer.status_code} {'' if code is None else code.value}".strip())

    def _client(self) -> httpx.Client:
        """This process' own: connections cannot be shared with the process that it was forked from."""
        pid = os.getpid()
        if self._opened is None or self._opened[0] != pid:
            self._opened = (pid, self._connected())
        return self._opened[1]

    def _connected(self) -> httpx.Client:
        try:
            if not self._url.startswith(("http://", "https://")):
                raise httpx.InvalidURL("no scheme")
            client = httpx.Client(
                base_url=self._url,
                headers={"X-Api-Key": self._key} if self._key else {},
                timeout=self._timeout_seconds,
                transport=self._transport,
                # As in our own client: a proxy from the environment would only stand in between.
                trust_env=False,
            )
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            message = "STORE__DATABANK__URL is no http:// or https:// address, or STORE__DATABANK__API_KEY is not ASCII."
            raise AppError(ErrorCode.CONFIG_INVALID, message) from error
        weakref.finalize(self, client.close)
        return client
