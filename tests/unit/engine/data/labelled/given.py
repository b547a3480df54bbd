"""Labelled files and what was made of them, for the tests of this room."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from model_trainer.core.contracts.detector import Columns
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.storage import CorpusSource
from model_trainer.engine.data.labelled.prepare import LabelledPlan, LabelledRows, prepare

Files = Mapping[str, bytes] | Mapping[str, str] | Mapping[str, bytes | str]
PLAN = LabelledPlan(seed=1, holdout_fraction=0.2, test_fraction=0.2, audit="warn")


def jsonl(rows: Iterable[Mapping[str, object]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def write_parquet(
    path: Path, columns: Mapping[str, list[object]], *, row_group_size: int | None = None
) -> None:
    parquet.write_table(pyarrow.table(columns), path, row_group_size=row_group_size)


def located(folder: Path) -> CorpusSource:
    names = tuple(sorted(path.name for path in folder.iterdir()))
    num_bytes = sum((folder / name).stat().st_size for name in names)
    return CorpusSource(corpus_path="set", base=folder, names=names, num_bytes=num_bytes)


def source(folder: Path, files: Files) -> CorpusSource:
    """A folder `set` of these files."""
    base = folder / "set"
    base.mkdir(exist_ok=True)
    for name, content in files.items():
        (base / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return located(base)


def pairs(number: int, **more: object) -> list[dict[str, object]]:
    """`number` source documents with a human and an AI text each."""
    rows: list[dict[str, object]] = []
    for index in range(number):
        rows.append({"text": f"a person wrote tale {index}", "label": "human", "group": f"g{index}", **more})
        rows.append({"text": f"the engine made tale {index}", "label": "ai", "group": f"g{index}", **more})
    return rows


def prepared(
    folder: Path, files: Files, columns: Columns | None = None, plan: LabelledPlan = PLAN
) -> LabelledRows:
    return prepare(
        [source(folder, files)],
        columns or Columns(),
        plan=plan,
        cache=folder / "cache",
        report=lambda done, total: None,
    )


def refused(
    folder: Path,
    files: Files,
    columns: Columns | None = None,
    *,
    code: ErrorCode,
    plan: LabelledPlan = PLAN,
) -> AppError:
    """The refusal of these files; nothing may be left in the cache, and a field is named."""
    with pytest.raises(AppError) as caught:
        prepared(folder, files, columns, plan)
    assert caught.value.code is code, caught.value.message
    assert caught.value.faults
    assert not list((folder / "cache").iterdir())
    return caught.value
