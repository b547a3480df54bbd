"""Splits: by source document, the same each time, near their fractions, and with both classes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_trainer.core.contracts.corpus import SplitName
from model_trainer.core.contracts.detector import Columns
from model_trainer.core.errors import ErrorCode
from model_trainer.engine.data.labelled.prepare import LabelledPlan, LabelledRows
from tests.unit.engine.data.labelled.given import PLAN, jsonl, pairs, prepared, refused

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


def plan(seed: int = 1, *, holdout: float = 0.2, test: float = 0.2) -> LabelledPlan:
    return LabelledPlan(seed=seed, holdout_fraction=holdout, test_fraction=test, audit="off")


def texts(rows: LabelledRows) -> dict[SplitName, set[str]]:
    return {split: {row.text for row in rows.rows(split)} for split in SPLITS}


def single(label: str, number: int) -> list[dict[str, object]]:
    return [{"text": f"{label} {index}", "label": label} for index in range(number)]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**63 - 1),
    holdout=st.sampled_from([0.1, 0.25, 0.5]),
    test=st.sampled_from([0.1, 0.4]),
)
def test_fractions_and_class_balance_are_nearly_exact(
    tmp_path: Path, seed: int, holdout: float, test: float
) -> None:
    rows = [*pairs(20), *single("human", 100), *single("ai", 40)]

    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}, plan=plan(seed, holdout=holdout, test=test)) as ready:
        figures = ready.report.splits

    fractions: dict[SplitName, float] = {"validation": holdout, "test": test}
    for split, fraction in fractions.items():
        assert abs(figures[split].num_human - 120 * fraction) <= 2
        assert abs(figures[split].num_ai - 60 * fraction) <= 2


def test_documents_of_any_size_come_as_near_to_the_fractions_as_they_can(tmp_path: Path) -> None:
    sizes = [60, 1, 1, 2, 5, 9, 9, 5, 4, 4]
    rows = [
        {"text": f"{label} {group} {index}", "label": label, "group": group}
        for group, size in enumerate(sizes)
        for index in range(size)
        for label in ("human", "ai")
    ]

    for seed in range(5):
        with prepared(tmp_path, {"a.jsonl": jsonl(rows)}, plan=plan(seed)) as ready:
            assert ready.count("train") >= 120
            assert 20 <= ready.count("validation") <= 60
            assert 20 <= ready.count("test") <= 60


def test_seed_and_document_alone_decide(tmp_path: Path) -> None:
    rows = pairs(40)

    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}) as ready:
        one = texts(ready)
    with prepared(tmp_path, {"a.jsonl": jsonl(reversed(rows))}) as ready:
        turned = texts(ready)
    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}, plan=plan(2)) as ready:
        other_seed = texts(ready)

    assert one == turned
    assert one["test"] != other_seed["test"]


def test_joined_documents_go_the_same_way_in_whatever_order_they_are_met(tmp_path: Path) -> None:
    rows = pairs(40)
    for index in range(0, 30, 3):
        rows += [{"text": f"both {index}", "label": "ai", "group": f"g{index + add}"} for add in (0, 1)]

    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}) as ready:
        one = texts(ready)
    with prepared(tmp_path, {"a.jsonl": jsonl(reversed(rows))}) as ready:
        assert texts(ready) == one


def test_a_document_more_is_taken_where_that_comes_nearer(tmp_path: Path) -> None:
    rows = [{**row, "group": index // 4} for index, row in enumerate(pairs(40))]

    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}, plan=plan(holdout=0.0875, test=0)) as ready:
        assert ready.count("validation") == 8
    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}, plan=plan(holdout=0.07, test=0)) as ready:
        assert ready.count("validation") == 4


def test_without_a_test_fraction_there_is_no_test_split(tmp_path: Path) -> None:
    with prepared(tmp_path, {"a.jsonl": jsonl(pairs(20))}, plan=plan(test=0)) as ready:
        assert set(ready.report.splits) == {"train", "validation"}
        assert ready.count("test") == 0
        assert (ready.count("train"), ready.count("validation")) == (32, 8)


@pytest.mark.parametrize("seed", range(8))
def test_rare_classes_reach_every_split(tmp_path: Path, seed: int) -> None:
    rows = [*single("human", 60), *single("ai", 3)]

    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}, plan=plan(seed, holdout=0.1, test=0.1)) as ready:
        assert [ready.report.splits[split].num_ai for split in SPLITS] == [1, 1, 1]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (single("human", 50), "all texts are human"),
        (single("ai", 50), "all texts are AI"),
        ([*single("human", 50), *single("ai", 2)], "only 2 source documents have AI texts, and 3 splits"),
        ([*single("human", 1), *single("ai", 50)], "only 1 source documents have human texts"),
    ],
)
def test_too_little_data_is_refused_with_what_is_missing(
    tmp_path: Path, rows: Sequence[Mapping[str, object]], said: str
) -> None:
    error = refused(tmp_path, {"a.jsonl": jsonl(rows)}, code=ErrorCode.DATA_TOO_SMALL)

    assert said in error.message
    assert error.faults[0].pointer == "/data_paths"


def test_two_documents_cannot_fill_three_splits_but_two(tmp_path: Path) -> None:
    refused(tmp_path, {"a.jsonl": jsonl(pairs(2))}, code=ErrorCode.DATA_TOO_SMALL)

    with prepared(tmp_path, {"a.jsonl": jsonl(pairs(2))}, plan=plan(test=0)) as ready:
        assert [ready.count(split) for split in SPLITS] == [2, 2, 0]


def test_a_split_column_is_followed(tmp_path: Path) -> None:
    names = ["train", "Training", "validation", "val", "valid", "DEV", "test", "testing"]
    rows = [{**row, "part": names[index // 2]} for index, row in enumerate(pairs(8))]

    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}, Columns(split_col="part")) as ready:
        split = texts(ready)

    assert Counter({name: len(split[name]) for name in SPLITS}) == {"train": 4, "validation": 8, "test": 4}
    assert "a person wrote tale 0" in split["train"]
    assert "the engine made tale 5" in split["validation"]


def test_a_split_column_without_test_rows_gives_no_test_split(tmp_path: Path) -> None:
    rows = [{**row, "part": "train" if index < 4 else "val"} for index, row in enumerate(pairs(4))]

    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}, Columns(split_col="part")) as ready:
        assert set(ready.report.splits) == {"train", "validation"}


def test_a_document_in_two_named_splits_is_refused_with_examples(tmp_path: Path) -> None:
    rows = [{**row, "part": ("train", "val")[index % 2]} for index, row in enumerate(pairs(5))]

    error = refused(
        tmp_path, {"a.jsonl": jsonl(rows)}, Columns(split_col="part"), code=ErrorCode.CONFIG_INVALID
    )

    assert "5 source documents" in error.message
    assert "'g0', 'g1', 'g2'" in error.message
    assert "'g3'" not in error.message
    assert error.faults[0].pointer == "/columns/split_col"


def test_texts_in_two_named_splits_stay_in_the_first_alone(tmp_path: Path) -> None:
    rows = [
        {"text": row["text"], "label": row["label"], "part": part}
        for part in ("train", "val")
        for row in pairs(3)
    ]
    rows += [{"text": f"new {label}", "label": label, "part": "val"} for label in ("human", "ai")]

    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}, Columns(split_col="part")) as ready:
        assert [ready.count(split) for split in SPLITS] == [6, 2, 0]


@pytest.mark.parametrize("cell", ["later", None, 3])
def test_an_unknown_split_is_refused_with_its_row(tmp_path: Path, cell: object) -> None:
    rows: list[dict[str, object]] = [{**row, "part": "train"} for row in pairs(2)]
    rows[3]["part"] = cell

    error = refused(
        tmp_path, {"a.jsonl": jsonl(rows)}, Columns(split_col="part"), code=ErrorCode.DATA_FORMAT_UNSUPPORTED
    )

    assert error.facts == {"file": "set/a.jsonl", "row": 4, "column": "part"}


@pytest.mark.parametrize(
    ("parts", "missing"), [(["train"] * 3, "validation"), (["val", "test", "dev"], "train")]
)
def test_a_split_column_without_train_or_validation_is_refused(
    tmp_path: Path, parts: list[str], missing: str
) -> None:
    rows = [{**row, "part": parts[index // 2]} for index, row in enumerate(pairs(3))]

    error = refused(
        tmp_path, {"a.jsonl": jsonl(rows)}, Columns(split_col="part"), code=ErrorCode.CONFIG_INVALID
    )

    assert f"no row into {missing}" in error.message


def test_a_named_split_of_one_class_is_refused(tmp_path: Path) -> None:
    rows = [{**row, "part": "train"} for row in pairs(3)]
    rows += [{"text": "a", "label": "ai", "part": "val"}]

    error = refused(
        tmp_path,
        {"a.jsonl": jsonl(rows)},
        Columns(split_col="part"),
        code=ErrorCode.DATA_TOO_SMALL,
        plan=PLAN,
    )

    assert "no human text in validation" in error.message
