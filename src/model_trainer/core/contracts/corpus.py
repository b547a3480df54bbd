"""Which text a job reads and how it is split."""

from typing import Annotated, Literal

from pydantic import Field

from model_trainer.core.contracts.base import Contract

SplitName = Literal["train", "validation", "test"]
SplitBy = Literal["line", "file"]
EncodingErrors = Literal["strict", "replace"]
CorpusPath = Annotated[str, Field(min_length=1, max_length=4096)]


class SplitPlan(Contract):
    """A deterministic split: the same corpus, plan and seed always give the same parts."""

    split_by: SplitBy
    validation_fraction: Annotated[float, Field(ge=0, lt=1)]
    test_fraction: Annotated[float, Field(ge=0, lt=1)]
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    encoding_errors: EncodingErrors


class CorpusFile(Contract):
    """One file of a corpus, as it was when it was scanned."""

    path: str
    """Relative to the corpus, with forward slashes; the file's own name for a single file."""
    num_bytes: int
    sha256: str


class CorpusDigest(Contract):
    """What a corpus held when the job read it first; any later difference is an error."""

    sha256: str
    """Over the sorted (path, size, digest) rows."""
    num_bytes: int
    num_files: int
    num_documents: int
    num_characters: int
    num_replaced: int
    """Characters put in for undecodable bytes (encoding_errors: replace)."""
    files: tuple[CorpusFile, ...]
