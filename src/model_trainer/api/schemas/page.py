"""Lists by cursor: ask again with after=last_id while has_more."""

from collections.abc import Sequence
from typing import Annotated, Generic, TypeVar

from pydantic import Field

from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.ids import UlidText
from model_trainer.core.contracts.run import RunKind, RunStatus

Item = TypeVar("Item")
Limit = Annotated[int, Field(ge=1, le=100)]
FilterText = Annotated[str, Field(min_length=1, max_length=128)]


class Page(Contract, Generic[Item]):
    """One page, newest first."""

    data: tuple[Item, ...]
    has_more: bool
    """Whether older items follow; ask for them with after=last_id."""
    first_id: str | None
    last_id: str | None


class RunListQuery(Contract):
    """Which runs to list."""

    limit: Limit = 20
    """Runs in one page."""
    after: UlidText | None = None
    """Only runs older than this id (the last_id of the page before)."""
    kind: RunKind = RunKind.TRAIN
    status: RunStatus | None = None
    family: FilterText | None = None
    """Model family, or method of a tokenizer."""
    user_id: FilterText | None = None
    metadata: Annotated[dict[str, str], Field(max_length=16)] = {}
    """metadata[key]=value: runs that carry this label."""


class TokenizerListQuery(Contract):
    """Which tokenizers to list."""

    limit: Limit = 20
    """Tokenizers in one page."""
    after: UlidText | None = None
    """Only tokenizers older than this id (the last_id of the page before)."""
    status: RunStatus | None = None
    method: FilterText | None = None
    user_id: FilterText | None = None
    metadata: Annotated[dict[str, str], Field(max_length=16)] = {}
    """metadata[key]=value: tokenizers that carry this label."""


def first_and_last(ids: Sequence[str]) -> tuple[str | None, str | None]:
    """The cursor fields of a page with these ids."""
    return (ids[0], ids[-1]) if ids else (None, None)
