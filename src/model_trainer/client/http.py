"""One HTTP conversation with the API: key, retries, errors. Knows no resource.

Connection failures are retried; a request that creates carries one Idempotency-Key over all its tries, so that
the server answers it once.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

import httpx

from model_trainer.client.problems import problem_of
from model_trainer.core.contracts.base import JsonObject, dump_json
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.errors import AppError, ErrorCode

Query = Mapping[str, str | int]
MAX_TRIES = 4
FIRST_PAUSE_SECONDS = 0.2
RAW = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the API is and how to speak to it."""

    base_url: str
    api_key: str | None
    timeout_seconds: float


class HttpConnection:
    """Requests in, parsed answers out; every fault leaves as an AppError."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        headers = {"X-Api-Key": endpoint.api_key} if endpoint.api_key else {}
        self._endpoint = endpoint
        self._sleep = sleep
        try:
            self._http = httpx.Client(
                base_url=endpoint.base_url,
                headers=headers,
                timeout=endpoint.timeout_seconds,
                transport=transport,
                # The API is the user's own: a proxy from the environment would only stand in between.
                trust_env=False,
            )
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            message = (
                f"{endpoint.base_url} is not an address the API can be reached at, or the key is not ASCII."
            )
            raise AppError(ErrorCode.CONFIG_INVALID, message) from error

    def close(self) -> None:
        """Closes all connections."""
        self._http.close()

    def pause(self, seconds: float) -> None:
        """Waits before another try."""
        self._sleep(seconds)

    def get(
        self,
        path: str,
        *,
        query: Query | None = None,
        accept: str = "*/*",
        wait_seconds: int | None = None,
    ) -> bytes:
        """The body at `path`, in the media type `accept` where there are several. `wait_seconds`: as for post()."""
        headers = {"Accept": accept, **_prefer(wait_seconds)}
        return self._answer("GET", path, query=query, headers=headers, wait_seconds=wait_seconds)

    def answers(self, path: str) -> bool:
        """Whether `path` is answered without an error right now: one try, no waiting."""
        try:
            return self._http.get(path).is_success
        except httpx.TransportError:
            return False

    def post(
        self,
        path: str,
        *,
        body: JsonObject | None = None,
        idempotency_key: str | None = None,
        wait_seconds: int | None = None,
    ) -> bytes:
        """The answer to an order. The key stands for one intent; a new one is made when it is left out. `wait_seconds`: so
        long the server may take to answer (Prefer: wait)."""
        key = idempotency_key or new_ulid()
        headers = {"Idempotency-Key": key, **_prefer(wait_seconds)}
        return self._answer("POST", path, body=body, headers=headers, wait_seconds=wait_seconds)

    def post_bytes(
        self, path: str, content: bytes, *, query: Query | None = None, headers: Mapping[str, str]
    ) -> bytes:
        """The answer to bytes that may be sent again when the connection breaks."""
        return self._answer("POST", path, query=query, content=content, headers={**RAW, **headers})

    def send(
        self,
        method: Literal["POST", "PATCH", "DELETE"],
        path: str,
        *,
        content: Iterator[bytes] | None = None,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        patience_seconds: float | None = None,
    ) -> bytes:
        """The answer to a request that is tried once: the caller knows how to go on after a break. `patience_seconds`: so long
        the answer may take."""
        timeout_seconds = self._endpoint.timeout_seconds
        patience = httpx.Timeout(timeout_seconds, read=patience_seconds or timeout_seconds)
        sent = {**({} if content is None else RAW), **(headers or {})}
        try:
            response = self._http.request(
                method, path, params=_params(query), content=content, headers=sent, timeout=patience
            )
        except httpx.TransportError as error:
            raise self._unreachable(error, key=None) from error
        if response.is_error:
            raise problem_of(response.status_code, response.content, header_of(response, "x-request-id"))
        return response.content

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        query: Query | None = None,
        headers: Mapping[str, str],
        read_timeout_seconds: float,
    ) -> Iterator[httpx.Response]:
        """An answer that is read piece by piece; a refusal is raised at once. One try: the reader knows how to go on."""
        patience = httpx.Timeout(self._endpoint.timeout_seconds, read=read_timeout_seconds)
        try:
            with self._http.stream(
                "GET", path, params=_params(query), headers=headers, timeout=patience
            ) as response:
                if response.is_error:
                    raise problem_of(
                        response.status_code, response.read(), header_of(response, "x-request-id")
                    )
                yield response
        except httpx.TransportError as error:
            raise self._unreachable(error, key=None) from error

    def _answer(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: JsonObject | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        wait_seconds: int | None = None,
    ) -> bytes:
        timeout_seconds = self._endpoint.timeout_seconds
        patience = httpx.Timeout(timeout_seconds, read=timeout_seconds + (wait_seconds or 0))
        content = content if body is None else dump_json(body).encode()
        sent = {**(headers or {}), **({} if body is None else {"Content-Type": "application/json"})}
        key = sent.get("Idempotency-Key")
        pause_seconds = FIRST_PAUSE_SECONDS
        tries = 0
        while True:
            tries += 1
            try:
                response = self._http.request(
                    method, path, params=_params(query), content=content, headers=sent, timeout=patience
                )
            except httpx.TransportError as error:
                if tries == MAX_TRIES or isinstance(error, httpx.UnsupportedProtocol):
                    raise self._unreachable(error, key=key) from error
            else:
                if response.is_error:
                    raise problem_of(
                        response.status_code,
                        response.content,
                        header_of(response, "x-request-id"),
                        idempotency_key=key,
                    )
                return response.content
            self._sleep(pause_seconds)
            pause_seconds *= 2

    def _unreachable(self, error: httpx.TransportError, *, key: str | None) -> AppError:
        where = self._endpoint.base_url
        if isinstance(error, httpx.UnsupportedProtocol):
            return AppError(
                ErrorCode.CONFIG_INVALID, f"{where} is not an http:// or https:// address: check --api-url."
            )
        message = (
            f"The API at {where} cannot be reached. Start it with `model-trainer up` (or `make start`), "
            "or name another address with --api-url."
        )
        facts = {"detail": f"{type(error).__name__}: {error}"} | (
            {} if key is None else {"idempotency_key": key}
        )
        return AppError(ErrorCode.SERVICE_UNAVAILABLE, message, facts=facts)


def header_of(response: httpx.Response, name: str) -> str | None:
    """One header of an answer."""
    value: object = response.headers.get(name)
    return value if isinstance(value, str) else None


def _params(query: Query | None) -> httpx.QueryParams | None:
    return None if query is None else httpx.QueryParams(dict(query))


def path_part(text: str) -> str:
    """An id as one segment of a path, whatever somebody typed."""
    return quote(text, safe="") or "-"


def _prefer(wait_seconds: int | None) -> dict[str, str]:
    return {} if wait_seconds is None else {"Prefer": f"wait={wait_seconds}"}
