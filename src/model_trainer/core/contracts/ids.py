"""Ids: bare ULIDs, refused in any other shape before they touch Redis or a path."""

import re
from typing import Annotated, NewType

from pydantic import StringConstraints
from ulid import ULID

from model_trainer.core.errors import AppError, ErrorCode, FieldFault

ULID_PATTERN = r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$"
"""26 characters of Crockford's base 32 hold 130 bits; an id has 128, so the first is at most 7."""

RunId = NewType("RunId", str)
TokenizerId = NewType("TokenizerId", str)

UlidText = Annotated[str, StringConstraints(pattern=ULID_PATTERN)]


def new_ulid() -> str:
    """A fresh id; ids made later sort later (to the millisecond)."""
    return str(ULID())


def is_ulid(text: str) -> bool:
    """Whether `text` has the shape of our ids."""
    return re.fullmatch(ULID_PATTERN.strip("^$"), text) is not None


def parse_run_id(text: str, *, field: str = "run_id") -> RunId:
    """`text` as a run id; raises CONFIG_INVALID naming the field otherwise."""
    return RunId(_checked(text, field))


def parse_tokenizer_id(text: str, *, field: str = "tokenizer_id") -> TokenizerId:
    """`text` as a tokenizer id; raises CONFIG_INVALID naming the field otherwise."""
    return TokenizerId(_checked(text, field))


def _checked(text: str, field: str) -> str:
    if not is_ulid(text):
        fault = FieldFault(
            pointer=f"/{field}", message="must be a 26-character ULID, as returned when it was made"
        )
        raise AppError(ErrorCode.CONFIG_INVALID, f"{field} is not a valid id.", faults=[fault])
    return text
