"""Labelled files made ready: what is kept, where it goes, what is refused, and that nothing stays behind."""

import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_trainer.core.contracts.corpus import SplitName
from model_trainer.core.contracts.detector import Columns
from model_trainer.core.errors import AppError, AskedToStop, ErrorCode
from model_trainer.core.ports.storage import CorpusSource
from model_trainer.engine.data.labelled.prepare import (
    LabelledPlan,
    LabelledRow,
    LabelledRows,
    prepare,
    prepare_whole,
)
from tests.unit.engine.data.labelled.given import (
    PLAN,
    jsonl,
    located,
    pairs,
    prepared,
    refused,
    source,
    write_parquet,
)

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


def by_split(rows: LabelledRows) -> dict[SplitName, list[LabelledRow]]:
    return {split: list(rows.rows(split)) for split in SPLITS}


def everything(rows: LabelledRows) -> Iterator[LabelledRow]:
    for split in SPLITS:
        yield from rows.rows(split)


def test_rows_come_in_the_order_of_the_files_with_all_that_is_known(tmp_path: Path) -> None:
    rows = pairs(20, domain="news", generator="human")
    for row in rows[1::2]:
        row["generator"] = "gpt-4"

    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}) as ready:
        split = by_split(ready)

    assert [len(split[name]) for name in SPLITS] == [24, 8, 8]
    assert all(
        [row.row_id for row in split[name]] == sorted(row.row_id for row in split[name]) for name in SPLITS
    )
    known = {row["text"]: row for row in rows}
    for kept in (kept for name in SPLITS for kept in split[name]):
        assert (kept.label == 1) == (known[kept.text]["label"] == "ai")
        assert (kept.domain, kept.generator) == ("news", known[kept.text]["generator"])
        assert kept.num_words == 5


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_the_same_rows_are_the_same_data_in_every_format(tmp_path: Path, kind: str) -> None:
    rows = pairs(10)
    (tmp_path / "set").mkdir()
    path = tmp_path / "set" / f"a.{kind}"
    if kind == "jsonl":
        path.write_bytes(jsonl(rows))
    elif kind == "csv":
        path.write_text(
            "text,label,group\n" + "".join(f'"{row["text"]}",{row["label"]},{row["group"]}\n' for row in rows)
        )
    else:
        write_parquet(path, {column: [row[column] for row in rows] for column in rows[0]})

    with prepared(tmp_path, {}) as ready:
        assert [ready.count(split) for split in SPLITS] == [12, 4, 4]
        assert {row.text for row in everything(ready)} == {row["text"] for row in rows}


def test_the_same_files_give_the_same_rows_and_digests(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "a.jsonl": jsonl(pairs(15)),
        "b.csv": "text,label\nsome words,human\nother words,ai\n",
    }

    with prepared(tmp_path, files) as one, prepared(tmp_path, files) as two:
        assert by_split(one) == by_split(two)
        assert one.report == two.report
        assert one.data_sha256 == two.data_sha256


def test_digests_tell_what_changed(tmp_path: Path) -> None:
    rows = pairs(15)

    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}) as ready:
        first = ready.report
    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}, plan=LabelledPlan(2, 0.2, 0.2, "warn")) as ready:
        other_seed = ready.report
    rows[0]["label"] = "original"
    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}) as ready:
        other_words = ready.report
    rows[0]["label"] = "ai"
    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}) as ready:
        other_label = ready.report

    assert len({report.data_sha256 for report in (first, other_seed, other_words, other_label)}) == 4
    assert first.text_sha256 == other_words.text_sha256
    assert first.text_sha256 != other_label.text_sha256
    assert first.text_sha256["test"] != other_seed.text_sha256["test"]


def test_where_files_lie_does_not_change_the_data(tmp_path: Path) -> None:
    with prepared(tmp_path, {"a.jsonl": jsonl(pairs(15))}) as ready:
        first = ready.data_sha256
    (tmp_path / "else").mkdir()

    with prepared(tmp_path / "else", {"b.jsonl": jsonl(pairs(15))}) as ready:
        assert ready.data_sha256 == first
        assert ready.text_sha256("test") == ready.report.text_sha256["test"]


def test_files_are_named_as_the_request_names_them(tmp_path: Path) -> None:
    folder = source(tmp_path, {"a.jsonl": jsonl(pairs(5))})
    (tmp_path / "b.jsonl").write_bytes(jsonl([{"text": "x", "label": "ai"}]))
    single = CorpusSource(corpus_path="sets/b.jsonl", base=tmp_path, names=("b.jsonl",), num_bytes=28)

    with prepare(
        [folder, single], Columns(), plan=PLAN, cache=tmp_path / "cache", report=lambda *_: None
    ) as ready:
        assert [file.path for file in ready.report.files] == ["set/a.jsonl", "sets/b.jsonl"]
        assert "in 1 files without such a column each text is its own group" in ready.report.group_evidence


def test_progress_reaches_the_end_and_may_stop_the_work(tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    files = source(tmp_path, {"a.jsonl": jsonl(pairs(50)), "b.jsonl": jsonl(pairs(50))})

    def stop(done: int, total: int) -> None:
        raise AskedToStop

    prepare(
        [files],
        Columns(),
        plan=PLAN,
        cache=tmp_path / "cache",
        report=lambda done, total: heard.append((done, total)),
    ).close()
    with pytest.raises(AskedToStop):
        prepare([files], Columns(), plan=PLAN, cache=tmp_path / "cache", report=stop)

    assert heard[-1] == (2 * files.num_bytes, 2 * files.num_bytes)
    assert heard == sorted(heard)
    assert not list((tmp_path / "cache").iterdir())


def test_closing_removes_everything_and_may_be_done_twice(tmp_path: Path) -> None:
    ready = prepared(tmp_path, {"a.jsonl": jsonl(pairs(5))})
    there = list((tmp_path / "cache").iterdir())

    ready.close()
    ready.close()

    assert len(there) == 1
    assert not list((tmp_path / "cache").iterdir())


def test_empty_texts_are_left_out_and_counted(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [*pairs(5), {"text": " \n", "label": "ai"}]

    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}) as ready:
        assert (ready.report.num_rows, ready.report.num_empty) == (11, 1)
        assert len(list(everything(ready))) == 10


def test_white_space_is_collapsed_where_that_is_asked_for(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [*pairs(5), {"text": " one\n\n two\t", "label": "ai"}]

    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}) as ready:
        assert " one\n\n two\t" in {row.text for row in everything(ready)}
    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}, Columns(collapse_whitespace=True)) as ready:
        assert "one two" in {row.text for row in everything(ready)}


def test_of_equal_texts_the_first_stays_and_case_and_space_do_not_count(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        *pairs(5),
        {"text": "The SAME  text", "label": "ai"},
        {"text": "the same\ntext", "label": "machine"},
    ]

    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}) as ready:
        kept = {row.text for row in everything(ready)}

    assert ready.report.duplicates.same_label == 1
    assert "The SAME  text" in kept
    assert len(kept) == 11


def test_a_text_with_both_labels_is_left_out_whole(tmp_path: Path) -> None:
    rows = pairs(5)
    rows += [{"text": "who knows", "label": label} for label in ("ai", "human", "ai")]

    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}) as ready:
        assert (ready.report.duplicates.conflicting, ready.report.duplicates.same_label) == (3, 0)
        assert "who knows" not in {row.text for row in everything(ready)}
        assert any("labelled human and AI" in warning for warning in ready.report.warnings)


def test_documents_that_share_a_text_share_a_split(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [*pairs(8)]
    for left, right in (("g0", "g5"), ("g5", "g3"), ("g7", "g3"), ("g0", "g7")):
        rows += [{"text": f"{left} {right}", "label": "ai", "group": group} for group in (left, right)]

    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}) as ready:
        groups = {row.text: row.group for row in everything(ready)}

    assert ready.report.duplicates.joined_groups == 3
    joined = {groups[f"a person wrote tale {index}"] for index in (0, 3, 5, 7)}
    others = {groups[f"a person wrote tale {index}"] for index in (1, 2, 4, 6)}
    assert len(joined) == 1
    assert len(others) == 4
    assert sum(figures.num_groups for figures in ready.report.splits.values()) == 5


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32), edges=st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=15)
)
def test_no_document_and_no_text_is_ever_in_two_splits(
    tmp_path: Path, seed: int, edges: list[tuple[int, int]]
) -> None:
    rows = pairs(20)
    for one, other in edges:
        text = f"shared by {min(one, other)} and {max(one, other)}"
        rows += [{"text": text, "label": "human", "group": f"g{end}"} for end in (one, other)]
    plan = LabelledPlan(seed=seed, holdout_fraction=0.2, test_fraction=0.1, audit="off")

    try:
        ready = prepared(tmp_path, {"a.jsonl": jsonl(rows)}, plan=plan)
    except AppError as error:
        if error.code is not ErrorCode.DATA_TOO_SMALL:
            raise
        return
    with ready:
        split = by_split(ready)

    parent = {f"g{index}": f"g{index}" for index in range(20)}
    for one, other in edges:
        first, second = parent[f"g{one}"], parent[f"g{other}"]
        parent = {group: first if root == second else root for group, root in parent.items()}
    documents = {str(row["text"]): parent[str(row["group"])] for row in rows}
    places = {documents[row.text]: name for name in SPLITS for row in split[name]}
    assert all(places[documents[row.text]] == name for name in SPLITS for row in split[name])
    texts = [row.text for name in SPLITS for row in split[name]]
    assert len(texts) == len(set(texts)) == 40 + len({frozenset(edge) for edge in edges})
    roots = {(documents[row.text], row.group) for name in SPLITS for row in split[name]}
    assert len(roots) == len({root for root, _ in roots}) == len({group for _, group in roots})


def test_memory_does_not_grow_with_rows(tmp_path: Path) -> None:
    def peak(number: int) -> int:
        rng = random.Random(1)
        rows = pairs(number)
        for row in rows:
            row["text"] = f"{row['text']} " + "".join(rng.choices("abcdefgh ", k=400))
        files = source(tmp_path, {"a.jsonl": jsonl(rows)})
        del rows
        tracemalloc.start()
        with prepare(
            [files], Columns(), plan=PLAN, cache=tmp_path / "cache", report=lambda *_: None
        ) as ready:
            sum(len(row.text) for row in everything(ready))
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(300)

    assert peak(2400) < peak(300) + 150_000


def test_one_figure_of_each_kind_is_right(tmp_path: Path) -> None:
    rows = [
        {"text": " ".join(["word"] * length) + f" {label}", "label": label, "domain": "d", "generator": label}
        for label, lengths in (("human", range(99, 200)), ("ai", (9, 10)))
        for length in lengths
    ]
    plan = LabelledPlan(seed=1, holdout_fraction=0.01, test_fraction=0, audit="off")
    columns = Columns(split_col="part")
    for index, row in enumerate(rows):
        row["part"] = "Train" if index not in (0, 101) else "val"

    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}, columns, plan) as ready:
        report = ready.report

    train = report.splits["train"]
    assert (train.num_rows, train.num_groups, train.num_human, train.num_ai) == (101, 101, 100, 1)
    assert train.human_words is not None
    assert train.human_words.model_dump() == {"mean": 150.5, "p5": 105, "p50": 150, "p95": 195, "max": 200}
    assert train.ai_words is not None
    assert train.ai_words.p50 == 11
    assert report.domains == {"d": 103}
    assert report.generators == {"human": 101, "ai": 2}
    assert report.audit == ()
    assert not report.audit_blocks
    assert set(report.splits) == {"train", "validation"}
    assert report.warnings == ("1.9% of the texts are AI: the classes are far from balanced.",)
    assert report.group_evidence == "each text is its own group."


def test_warnings_tell_of_duplicates_and_short_texts(tmp_path: Path) -> None:
    with prepared(tmp_path, {"a.jsonl": jsonl(pairs(5) * 2)}) as ready:
        assert "10 of 20 rows were left out as duplicates." in ready.report.warnings
        assert any(
            "100% of the texts have fewer than 60 words" in warning for warning in ready.report.warnings
        )


def test_files_of_one_class_each_are_labelled_by_default_and_by_name(tmp_path: Path) -> None:
    files = {
        "ai.jsonl": jsonl({"text": f"made {index}", "label": "ai"} for index in range(9)),
        "human.jsonl": jsonl({"text": f"wrote {index}"} for index in range(9)),
    }

    with prepared(tmp_path, files, Columns(unlabeled_default_label=0)) as ready:
        assert {(row.text.split()[0], row.label) for row in everything(ready)} == {("made", 1), ("wrote", 0)}
        assert ready.report.files[1].labels == ()


def test_each_file_has_the_meanings_of_its_own(tmp_path: Path) -> None:
    files = {
        "a.jsonl": jsonl({"text": f"a{index}", "is_ai": index % 2} for index in range(10)),
        "b.jsonl": jsonl({"text": f"b{index}", "is_human": index % 2} for index in range(10)),
    }

    with prepared(tmp_path, files) as ready:
        assert all(row.label == (int(row.text[1:]) % 2 == (row.text[0] == "a")) for row in everything(ready))


def test_label_map_against_generators_is_told_in_the_report(tmp_path: Path) -> None:
    rows = [{"text": f"t{i}", "label": i % 2, "generator": ("gpt-4", "human")[i % 2]} for i in range(10)]

    with prepared(tmp_path, {"a.jsonl": jsonl(rows)}, Columns(label_map={"0": 0, "1": 1})) as ready:
        assert any("label_map says '0' is human, but" in warning for warning in ready.report.warnings)


def test_nothing_but_conflicts_is_no_data(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": "ai"}, {"text": "a", "label": "human"}, {"text": "", "label": "ai"}]

    refused(tmp_path, {"a.jsonl": jsonl(rows)}, code=ErrorCode.DATA_EMPTY)


def test_external_data_is_all_test_and_may_be_of_one_class(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.jsonl").write_bytes(
        jsonl([{"text": "a", "label": "ai"}, {"text": "b", "label": "ai"}])
    )

    with prepare_whole(
        [located(tmp_path / "set")], Columns(), cache=tmp_path / "cache", report=lambda *_: None
    ) as ready:
        assert [ready.count(split) for split in SPLITS] == [0, 0, 2]
        assert [row.text for row in ready.rows("test")] == ["a", "b"]
        assert ready.report.splits["test"].human_words is None
        assert not ready.report.audit


def test_external_data_without_labels_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    files = source(tmp_path, {"a.jsonl": jsonl([{"text": "a"}])})

    with pytest.raises(AppError) as caught:
        prepare_whole([files], Columns(), cache=tmp_path / "cache", report=lambda *_: None)

    assert caught.value.faults[0].pointer == "/columns/label_col"
    assert not list((tmp_path / "cache").iterdir())
