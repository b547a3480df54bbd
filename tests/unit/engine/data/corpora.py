"""Corpora made for tests, and the ways to look at them."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from model_trainer.core.contracts.corpus import CorpusDigest, EncodingErrors, SplitName, SplitPlan
from model_trainer.core.errors import AppError
from model_trainer.core.ports.storage import CorpusSource
from model_trainer.engine.data.corpus import Passage, passages, scan_corpus

PLAN = SplitPlan(
    split_by="line", validation_fraction=0.1, test_fraction=0.05, seed=1, encoding_errors="strict"
)
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


def corpus(folder: Path, files: Mapping[str, bytes | str]) -> CorpusSource:
    """These files, as a corpus."""
    for name, content in files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return located(folder)


def located(folder: Path) -> CorpusSource:
    """What lies in a folder, as a corpus."""
    names = tuple(sorted(path.name for path in folder.iterdir()))
    num_bytes = sum((folder / name).stat().st_size for name in names)
    return CorpusSource(corpus_path="demo", base=folder, names=names, num_bytes=num_bytes)


def scan(source: CorpusSource, encoding_errors: EncodingErrors = "strict") -> CorpusDigest:
    """Its digest."""
    return scan_corpus(source, encoding_errors=encoding_errors, report=lambda done, total: None)


def split_of(source: CorpusSource, plan: SplitPlan, split: SplitName) -> list[Passage]:
    """The passages of one split."""
    return list(passages(source, scan(source, plan.encoding_errors), plan=plan, split=split))


def lines(number: int, width: int = 60) -> str:
    """So many numbered lines."""
    return "".join(f"{line:06d} {'word ' * (width // 5)}\n" for line in range(number))


def refused(source: CorpusSource, encoding_errors: EncodingErrors = "strict") -> AppError:
    """What it is refused with."""
    with pytest.raises(AppError) as error:
        scan(source, encoding_errors)
    return error.value


def write_parquet(path: Path, columns: Mapping[str, list[object]]) -> None:
    """A table of these columns."""
    parquet.write_table(pyarrow.table(dict(columns)), path)
