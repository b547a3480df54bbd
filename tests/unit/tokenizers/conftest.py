"""What the tests of each kind share: text, a report, one way to train."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.tokenizer import TokenizerSpec
from model_trainer.tokenizers.kind import TokenizerKind

Train = Callable[[TokenizerKind, TokenizerSpec, Sequence[str]], JsonObject]


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Trains into the test's own folder and gives the facts."""

    def run(kind: TokenizerKind, spec: TokenizerSpec, texts: Sequence[str]) -> JsonObject:
        num_bytes = sum(len(text.encode()) for text in texts)
        return kind.backend().train(
            lambda: iter(texts),
            spec,
            num_bytes=num_bytes,
            folder=tmp_path,
            report=lambda fraction, message: None,
        )

    return run
