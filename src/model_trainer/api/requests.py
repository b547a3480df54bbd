"""Reads requests the one way: JSON bodies, query parameters, idempotency keys. Raises CONFIG_INVALID."""

import hashlib
import json
import re
from collections.abc import Callable
from typing import Protocol, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from model_trainer.core.contracts.base import parse_json_object
from model_trainer.core.contracts.run import IdempotencyKey
from model_trainer.core.errors import AppError, ErrorCode, FieldFault, faults_of

Model = TypeVar("Model", bound=BaseModel)

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_PREFERENCE = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
"""One of several; a comma between quotes is part of it."""
_SECONDS = re.compile(r'"?([0-9]{1,9})"?')


async def read_json_body(request: Request) -> bytes:
    """The body, known to be one JSON object without repeated keys."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        # A page in somebody's browser can send other types to this server without being asked for permission first.
        raise _invalid("Send the body as Content-Type: application/json.", pointer="/header/Content-Type")
    body = await request.body()
    parse_json_object(body)
    _refuse_repeated_keys(body)
    return body


async def read_optional_json_body(request: Request) -> bytes | None:
    """As read_json_body(); None when nothing was sent."""
    return await read_json_body(request) if (await request.body()).strip() else None


async def read_empty_body(request: Request) -> None:
    """Makes sure that nothing was sent that would be passed over in silence."""
    if (await request.body()).strip() not in (b"", b"{}"):
        raise _invalid("This request takes no body.", pointer="")


def parse_body(body: bytes, model: type[Model]) -> Model:
    """A body that is not a train or tokenizer spec (the registry parses those)."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        faults = faults_of(error)
        named = ", ".join(fault.pointer or "/" for fault in faults[:5])
        raise AppError(
            ErrorCode.CONFIG_INVALID, f"The request does not fit: see {named}.", faults=faults
        ) from error


def parse_query(request: Request, model: type[Model]) -> Model:
    """Query parameters, strictly: unknown and repeated ones are refused. `name[key]=v` becomes the map `name`."""
    values: dict[str, str | dict[str, str]] = {}
    for name, value in request.query_params.multi_items():
        group, bracket, key = name.partition("[")
        target = values.setdefault(group, {}) if bracket else values
        if not isinstance(target, dict) or (bracket and not key.endswith("]")):
            raise _invalid(f"{name[:80]} is not a query parameter.", pointer=f"/{group[:80]}")
        place = key.removesuffix("]") if bracket else name
        if place in target:
            raise _invalid(f"{name[:80]} is given twice.", pointer=f"/{group[:80]}")
        target[place] = value
    try:
        return model.model_validate_strings(values)
    except ValidationError as error:
        faults = faults_of(error)
        named = ", ".join(fault.pointer.strip("/")[:80] for fault in faults[:5])
        raise AppError(
            ErrorCode.CONFIG_INVALID, f"These query parameters do not fit: {named}.", faults=faults
        ) from error


def idempotency_of(request: Request, body: bytes, *, operation: str) -> IdempotencyKey | None:
    """The caller's key with a digest of what was asked (the operation and the body); None without a key."""
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    if len(keys) > 1 or not _KEY.fullmatch(keys[0]):
        message = "Send one Idempotency-Key of 1 to 255 printable ASCII characters without spaces."
        raise _invalid(message, pointer="/header/Idempotency-Key")
    asked = hashlib.sha256(f"{operation}\n".encode() + body)
    return IdempotencyKey(key=keys[0], body_sha256=asked.hexdigest())


def preferred_wait(request: Request, *, most_seconds: float) -> float | None:
    """So many seconds the client would rather wait for the answer (`Prefer: wait=10`, RFC 7240), at most `most_seconds`;
    None where it does not say. A preference that cannot be understood is passed over, as the RFC wants it."""
    for line in request.headers.getlist("prefer"):
        for match in _PREFERENCE.finditer(line):
            preference: str = match[0]
            name, _, value = preference.partition(";")[0].partition("=")
            if name.strip().lower() == "wait":
                seconds = _SECONDS.fullmatch(value.strip())
                return None if seconds is None else min(float(seconds[1]), most_seconds)
    return None


def _invalid(message: str, *, pointer: str) -> AppError:
    return AppError(ErrorCode.CONFIG_INVALID, message, faults=[FieldFault(pointer=pointer, message=message)])


class _Loads(Protocol):
    def __call__(
        self,
        text: bytes,
        /,
        *,
        object_pairs_hook: Callable[[list[tuple[str, object]]], object],
        parse_int: Callable[[str], object],
    ) -> object: ...


_loads: _Loads = json.loads


def _refuse_repeated_keys(body: bytes) -> None:
    """Of two equal keys a parser keeps one, and not every parser the same. The body is known to be JSON."""

    def check(pairs: list[tuple[str, object]]) -> None:
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _invalid(f"The field {name[:80]} is given twice.", pointer=f"/{name[:80]}")
            seen.add(name)

    _loads(body, object_pairs_hook=check, parse_int=len)
