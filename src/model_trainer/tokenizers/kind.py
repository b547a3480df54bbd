"""What a kind of tokenizer must answer. Torch-free; `backend()` alone imports the library."""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.tokenizer import TokenizerSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.tokenizers import Tokenizer

Texts = Callable[[], Iterator[str]]
"""Gives a fresh pass over the training text each time it is called."""


class TrainingReport(Protocol):
    """Told how far a training has come; may raise to stop it (cancellation)."""

    def __call__(self, fraction: float, message: str, /) -> None: ...


@runtime_checkable
class TokenizerBackend(Protocol):
    """Trains and loads one kind. Speaks text and folders, knows no queue and no corpus layout."""

    def train(
        self, texts: Texts, spec: TokenizerSpec, *, num_bytes: int, folder: Path, report: TrainingReport
    ) -> JsonObject:
        """Writes the tokenizer's files into `folder`; returns facts for the manifest (samples taken, real vocabulary).

        `num_bytes` is the size of one pass, for progress. Streams: memory does not grow with the text.
        Raises VOCAB_TOO_LARGE when the text cannot give `spec.vocab_size` entries, TOKENIZER_TRAIN_FAILED otherwise.
        """
        ...

    def load(self, folder: Path) -> Tokenizer:
        """The tokenizer in `folder`; raises ARTIFACT_CORRUPT when its files do not fit."""
        ...


@runtime_checkable
class TokenizerKind(Protocol):
    """The torch-free face: enough for the API's schema and validators."""

    @property
    def name(self) -> str:
        """As in `method`."""
        ...

    @property
    def title(self) -> str:
        """One line for people."""
        ...

    @property
    def spec(self) -> type[TokenizerSpec]:
        """The request body."""
        ...

    @property
    def requires(self) -> tuple[str, ...]:
        """Importable modules it needs."""
        ...

    @property
    def extra(self) -> str:
        """The installation extra that brings them."""
        ...

    def example(self) -> JsonObject:
        """A request body that works."""
        ...

    def backend(self) -> TokenizerBackend:
        """Imports the library; raises TOKENIZER_UNAVAILABLE when it is missing."""
        ...


@dataclass(frozen=True, slots=True)
class LibraryKind:
    """A kind whose backend needs libraries of an installation extra: the face our own kinds share."""

    name: str
    title: str
    spec: type[TokenizerSpec]
    requires: tuple[str, ...]
    extra: str
    options: JsonObject
    """What the example asks for besides `method` and `corpus_path`."""
    opener: Callable[[], TokenizerBackend]
    """Imports the backend; called once the libraries are known to be there."""

    def example(self) -> JsonObject:
        """A request body that works."""
        return {"method": self.name, "corpus_path": "demo", **self.options}

    def backend(self) -> TokenizerBackend:
        """Imports the library; raises TOKENIZER_UNAVAILABLE when it is missing."""
        missing = [module for module in self.requires if importlib.util.find_spec(module) is None]
        if missing:
            raise AppError(
                ErrorCode.TOKENIZER_UNAVAILABLE,
                f"Tokenizers of the kind {self.name} need {' and '.join(missing)} on the worker: "
                f"pip install 'model-trainer[{self.extra}]'.",
                facts={"missing": ", ".join(missing)},
            )
        return self.opener()
