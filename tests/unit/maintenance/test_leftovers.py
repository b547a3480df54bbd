"""Leftovers go once they are old enough, artifacts never."""

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from model_trainer.core.config.settings import CleanupSettings
from model_trainer.maintenance.leftovers import LeftoverCleaner, delete_whole

NOW = 1_000_000.0
GRACE = 100


class Place:
    """An installation's folders, with a clock that stands still."""

    def __init__(self, root: Path) -> None:
        self.artifacts = root / "artifacts"
        self.runs = root / "runs"
        self.cache = self.artifacts / "cache"
        self.uploads = self.artifacts / "uploads"

    def put(self, path: Path, *, age: float, read_age: float | None = None, content: str = "12345") -> Path:
        """A file written `age` seconds ago; it and its folders look that old."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        os.utime(path, (NOW - (age if read_age is None else read_age), NOW - age))
        for folder in path.parents:
            if self.artifacts in folder.parents:
                os.utime(folder, (NOW, NOW - age))
        return path

    def cleaner(
        self,
        *,
        enabled: bool | None = True,
        dry_run: bool = False,
        delete: Callable[[Path], None] = delete_whole,
    ) -> LeftoverCleaner:
        return LeftoverCleaner(
            roots=(self.artifacts, self.runs),
            passing=(self.cache, self.uploads),
            policy=CleanupSettings(
                enabled=enabled, verify_upload=True, dry_run=dry_run, grace_period_seconds=GRACE
            ),
            now=lambda: NOW,
            delete=delete,
        )

    def clean(
        self,
        *,
        enabled: bool | None = True,
        dry_run: bool = False,
        delete: Callable[[Path], None] = delete_whole,
    ) -> tuple[int, list[EventDict]]:
        with capture_logs() as lines:
            removed = self.cleaner(enabled=enabled, dry_run=dry_run, delete=delete).clean()
        return removed, list(lines)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_an_abandoned_temporary_folder_goes_with_all_in_it(place: Place) -> None:
    kept = place.put(place.artifacts / "models" / "R1" / "model.safetensors", age=10_000)
    gone = place.artifacts / "models" / "R1" / "checkpoints" / ".tmp-step-2"
    place.put(gone / "a.bin", age=101)
    place.put(gone / "inner" / "b.bin", age=101, content="1234567")

    removed, lines = place.clean()

    assert removed == 1
    assert not gone.exists()
    assert list(gone.parent.iterdir()) == []
    assert kept.exists()
    (line,) = lines
    assert line["event"] == "cleanup_completed"
    assert line["path"] == str(gone)
    assert line["bytes_freed"] == 12
    assert line["files_deleted"] == 2
    assert line["dry_run"] is False


def test_a_temporary_file_goes_wherever_it_lies(place: Place) -> None:
    gone = [
        place.put(place.runs / "R1" / ".tmp-1", age=101),
        place.put(place.artifacts / ".tmp-2", age=101),
    ]

    assert place.clean()[0] == 2
    assert not any(path.exists() for path in gone)


def test_what_is_within_its_grace_stays(place: Place) -> None:
    young = place.put(place.artifacts / "models" / "R1" / ".tmp-1", age=99)
    still_written_to = place.artifacts / "models" / "R1" / ".tmp-folder"
    place.put(still_written_to / "old.bin", age=5000)
    place.put(still_written_to / "new.bin", age=1)

    assert place.clean() == (0, [])
    assert young.exists()
    assert still_written_to.exists()


def test_a_token_cache_goes_when_nobody_has_read_it_for_long(place: Place) -> None:
    unused = place.put(place.cache / "aaaa" / "train.bin", age=5000, read_age=101)
    read_lately = place.put(place.cache / "bbbb" / "train.bin", age=5000, read_age=50)
    place.put(place.cache / ".tmp-cccc" / "train.bin", age=5000)
    assert len(list(place.cleaner().leftovers())) == 3

    removed, lines = place.clean()

    assert removed == 2
    assert not unused.parent.exists()
    assert read_lately.exists()
    assert [line["path"] for line in lines] == [str(place.cache / ".tmp-cccc"), str(place.cache / "aaaa")]


def test_a_dry_run_only_says_what_would_go(place: Place) -> None:
    path = place.put(place.artifacts / "models" / "R1" / ".tmp-1", age=101)

    removed, lines = place.clean(dry_run=True)

    assert removed == 0
    assert path.exists()
    (line,) = lines
    assert line["event"] == "cleanup_dry_run"
    assert (line["path"], line["bytes_freed"], line["files_deleted"]) == (str(path), 5, 1)
    assert line["dry_run"] is True


def test_a_clean_up_that_is_switched_off_does_nothing(place: Place) -> None:
    path = place.put(place.artifacts / ".tmp-1", age=101)

    assert place.clean(enabled=False) == (0, [])
    assert path.exists()


def test_a_clean_up_that_nobody_decided_on_removes_leftovers(place: Place) -> None:
    place.put(place.artifacts / ".tmp-1", age=101)

    assert place.clean(enabled=None)[0] == 1


def test_an_upload_goes_when_nothing_has_come_for_long(place: Place) -> None:
    abandoned = place.put(place.uploads / "U1" / "data", age=101)
    still_coming = place.put(place.uploads / "U2" / "data", age=5)
    slow = place.put(place.uploads / "U3" / "data", age=101)
    for path in (abandoned, still_coming, slow):
        place.put(path.with_name("upload.json"), age=5000)
    descriptor = os.open(slow.parent, os.O_RDONLY)  # as a part holds it that is coming
    fcntl.flock(descriptor, fcntl.LOCK_EX)

    removed, lines = place.clean()
    os.close(descriptor)

    assert removed == 1
    assert [line["path"] for line in lines] == [str(abandoned.parent)]
    assert sorted(path.name for path in place.uploads.iterdir()) == ["U2", "U3"]


def test_folders_that_are_not_there_yet_are_clean(place: Place) -> None:
    assert place.clean() == (0, [])


def test_a_link_goes_and_what_it_points_to_stays(place: Place, tmp_path: Path) -> None:
    outside = place.put(tmp_path / "outside" / "precious.txt", age=5000)
    place.artifacts.mkdir(parents=True)
    link = place.artifacts / ".tmp-link"
    link.symlink_to(outside.parent)
    os.utime(link, (NOW - 101, NOW - 101), follow_symlinks=False)
    (place.artifacts / "models").symlink_to(outside.parent)
    place.put(outside.parent / ".tmp-1", age=5000)

    assert place.clean()[0] == 1
    assert not link.is_symlink()
    assert outside.exists()
    assert (outside.parent / ".tmp-1").exists()


def test_what_cannot_be_removed_is_logged_and_the_rest_goes(place: Place) -> None:
    place.put(place.artifacts / "a" / ".tmp-1", age=101)
    place.put(place.artifacts / "b" / ".tmp-2", age=101)
    place.put(place.artifacts / "c" / ".tmp-3", age=101)

    def delete(path: Path) -> None:
        if path.name == ".tmp-1":
            raise PermissionError(errno.EPERM, "Operation not permitted")
        if path.name == ".tmp-2":
            raise FileNotFoundError  # its owner was faster

    removed, lines = place.clean(delete=delete)

    assert removed == 1
    assert [(line["event"], Path(line["path"]).name) for line in lines] == [
        ("cleanup_failed", ".tmp-1"),
        ("cleanup_completed", ".tmp-3"),
    ]
    assert lines[0]["detail"] == "Operation not permitted"


def test_a_folder_that_cannot_be_looked_at_fails_the_round_not_the_process(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.runs = tmp_path / ("x" * 300)

    removed, lines = place.clean()

    assert removed == 0
    (line,) = lines
    assert line["event"] == "cleanup_failed"
    assert line["path"] == str(place.runs)


def test_what_goes_while_others_are_measured_is_no_leftover(place: Place) -> None:
    place.put(place.artifacts / ".tmp-1", age=101)
    finished = place.put(place.artifacts / ".tmp-2", age=101)
    measured = place.cleaner().leftovers()

    first = next(measured)
    finished.rename(finished.with_name("model.bin"))

    assert first.path.name == ".tmp-1"
    assert list(measured) == []


def test_what_a_job_has_locked_stays_until_it_lets_go(place: Place) -> None:
    entry = place.put(place.cache / "aaaa" / "train.bin", age=5000).parent
    descriptor = os.open(entry, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)

    assert place.clean() == (0, [])
    assert entry.exists()

    os.close(descriptor)
    assert place.clean()[0] == 1
    assert not entry.exists()
