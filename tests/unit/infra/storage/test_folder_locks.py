"""A folder is read by many or filled by one; a lock on a folder that is gone is none."""

import gc
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from model_trainer.infra.storage.folder_locks import alone_in, held, status_of


def test_many_may_hold_a_folder_and_keep_others_from_having_it_alone(tmp_path: Path) -> None:
    first, second = held(tmp_path), held(tmp_path)

    assert first is not None
    assert second is not None
    with alone_in(tmp_path) as is_alone:
        assert not is_alone
    del first, second
    gc.collect()
    with alone_in(tmp_path) as is_alone:
        assert is_alone
        assert held(tmp_path) is None
    assert held(tmp_path) is not None


def test_there_is_nothing_to_lock_where_no_folder_is(tmp_path: Path) -> None:
    assert held(tmp_path / "none") is None
    with alone_in(tmp_path / "none") as is_alone:
        assert not is_alone
    assert status_of(tmp_path / "none") is None


def test_who_waits_has_the_folder_when_the_others_are_done(tmp_path: Path) -> None:
    has_it = threading.Event()

    def wait() -> bool:
        with alone_in(tmp_path, waits=True) as is_alone:
            has_it.set()
            return is_alone

    hold = held(tmp_path)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(wait)
        assert not has_it.wait(0.05)
        del hold
        gc.collect()
        assert waiting.result(20)


def times_open(folder: Path) -> int:
    """How often this process has a folder open."""
    found = 0
    for descriptor in range(512):
        with suppress(OSError):
            found += os.path.samestat(os.fstat(descriptor), folder.stat())
    return found


def test_a_folder_that_was_removed_while_somebody_waited_for_it_is_not_had(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    def wait() -> bool:
        with alone_in(folder, waits=True) as is_alone:
            return is_alone

    with ThreadPoolExecutor() as pool:
        with alone_in(folder) as is_alone:
            assert is_alone
            waiting = pool.submit(wait)
            while times_open(folder) < 2:
                time.sleep(0.001)
            folder.rename(tmp_path / "gone")
        assert not waiting.result(20)
