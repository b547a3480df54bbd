"""The scratch: on disk while it is open, gone afterwards, honest about a full disk."""

import gc
import sqlite3
from pathlib import Path

import pytest

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import TEMPORARY_PREFIX
from model_trainer.engine.data.labelled.scratch import RawRow, Scratch, plain_key, scratch_errors


def row(text: str) -> RawRow:
    return RawRow(0, 1, text, "human", None, None, None, None)


def test_it_lies_in_a_temporary_folder_of_the_cache(tmp_path: Path) -> None:
    with Scratch(tmp_path / "cache", with_traits=False):
        (folder,) = (tmp_path / "cache").iterdir()
        assert folder.name.startswith(TEMPORARY_PREFIX)

    assert not folder.exists()


def test_one_that_nobody_closed_goes_with_its_last_user(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, with_traits=False)
    scratch.db.close()
    del scratch
    gc.collect()

    assert not list(tmp_path.iterdir())


def test_the_clean_up_cannot_lock_it_while_it_is_open(tmp_path: Path) -> None:
    import fcntl
    import os

    with Scratch(tmp_path, with_traits=False):
        (folder,) = tmp_path.iterdir()
        descriptor = os.open(folder, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)


def test_a_full_disk_is_said_to_be_full(tmp_path: Path) -> None:
    with Scratch(tmp_path, with_traits=False) as scratch:
        scratch.db.execute("PRAGMA max_page_count = 20")
        with pytest.raises(AppError) as caught, scratch_errors():
            scratch.add(row("x" * 200_000))

    assert caught.value.code is ErrorCode.DISK_FULL


def test_other_faults_of_the_database_stay_what_they_are(tmp_path: Path) -> None:
    with (
        Scratch(tmp_path, with_traits=False) as scratch,
        pytest.raises(sqlite3.OperationalError, match="nowhere"),
        scratch_errors(),
    ):
        scratch.db.execute("SELECT * FROM nowhere")


def test_texts_are_kept_as_they_are(tmp_path: Path) -> None:
    text = "a\0b \u2028 \U0001f600\r\n"
    with Scratch(tmp_path, with_traits=True) as scratch:
        scratch.add(row(text))
        assert scratch.db.execute("SELECT text FROM texts").fetchone() == (text,)


def test_long_chains_of_shared_texts_are_one_group(tmp_path: Path) -> None:
    with Scratch(tmp_path, with_traits=False) as scratch:
        for index in range(300):
            for text in (f"text {index}", f"text {(index * 7 + 1) % 300}"):
                scratch.add(RawRow(0, 1, text, "human", f"g{index}", None, None, None))
        scratch.set_labels(after=0, labels=[("human", 0)])
        duplicates = scratch.leave_out_duplicates()
        roots = scratch.number("SELECT COUNT(DISTINCT root) FROM rows")

    parents = list(range(300))
    for index in range(300):
        one, other = parents[index], parents[(index * 7 + 1) % 300]
        parents = [one if parent == other else parent for parent in parents]
    assert roots == len(set(parents))
    assert duplicates.joined_groups == 300 - roots


@pytest.mark.parametrize(
    ("one", "other", "same"), [("A b", " a\n\nB ", True), ("a b", "ab", False), ("ß", "SS", True)]
)
def test_case_and_white_space_do_not_make_texts_differ(one: str, other: str, same: bool) -> None:
    assert (plain_key(one) == plain_key(other)) is same
