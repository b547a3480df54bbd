"""The maintenance process over a whole installation, and its counterpart that brings one back."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from model_trainer.container import ARRIVALS_FOLDER, Container, in_memory
from model_trainer.core.config import load_settings
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import HandBack, Lease, Outcome, RunStatus
from model_trainer.core.errors import AppError, Reason
from model_trainer.core.ports.storage import CorpusCacheEntry
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.maintenance.chores import ARRIVAL_SECONDS, SMALL_FILE_SECONDS, maintain, rebuild
from model_trainer.worker.account import ArtifactAccount
from tests.contract.run_stores import new_run
from tests.unit.maintenance.tokenizers import completed_tokenizer

PATIENCE_SECONDS = 20.0


@pytest.fixture
def container(tmp_path: Path) -> Container:
    settings = load_settings(env_file=None)
    app = settings.app.model_copy(
        update={
            "reap_every_seconds": 0.01,
            "min_free_disk_bytes": 0,
            "artifacts_root": tmp_path / "artifacts",
            "runs_root": tmp_path / "runs",
        }
    )
    return in_memory(settings.model_copy(update={"app": app}))


def submitted(container: Container) -> str:
    run = new_run(spec={}, user_id=None)
    return container.runs.submit(run, idempotency=None).record.run_id


def claimed(container: Container, *, host: str) -> Lease:
    run_id = submitted(container)
    lease = container.runs.claim(run_id, epoch=0, owner="w", host=host, lease_seconds=3600)
    assert lease is not None
    return lease


def maintained_until(container: Container, happened: Callable[[], bool]) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=maintain, args=(container,), kwargs={"stop": stop})
    thread.start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while not happened():
            assert time.monotonic() < deadline, "it never happened"
            time.sleep(0.01)
    finally:
        stop.set()
        thread.join()


def test_a_dead_owner_on_this_host_is_noticed_long_before_its_lease_ends(container: Container) -> None:
    dead = claimed(container, host=container.locks.host)
    alive = claimed(container, host=container.locks.host)
    elsewhere = claimed(container, host="another-host")
    assert container.locks.take(alive.run_id, epoch=1) is not None
    maintained_until(container, lambda: container.runs.get(dead.run_id).status is RunStatus.QUEUED)
    assert container.runs.get(dead.run_id).epoch == dead.epoch + 1
    assert {holder.run_id for holder in container.runs.held()} == {alive.run_id, elsewhere.run_id}


def test_a_run_without_disk_space_goes_on_by_itself(container: Container) -> None:
    lease = claimed(container, host="h")
    full = HandBack(status=RunStatus.PAUSED, message="Full.", reason=Reason.DISK_FULL)
    container.runs.release(lease, full)
    maintained_until(container, lambda: container.runs.get(lease.run_id).status is RunStatus.QUEUED)


def test_ends_come_to_disk(container: Container) -> None:
    run_id = submitted(container)
    folder = container.artifacts.create("models", run_id)
    container.runs.request_cancel(run_id)
    maintained_until(container, lambda: not container.runs.unaccounted(1))
    assert (folder / "manifest.json").exists()


@pytest.mark.parametrize(
    ("age_seconds", "stays"), [(SMALL_FILE_SECONDS - 30, True), (SMALL_FILE_SECONDS + 1, False)]
)
def test_torn_records_go_after_a_minute(container: Container, age_seconds: int, stays: bool) -> None:
    app = container.settings.app
    torn = app.runs_root / new_ulid() / ".tmp-1"
    torn.parent.mkdir(parents=True)
    torn.write_text("{")
    then = time.time() - age_seconds
    os.utime(torn, (then, then))
    run_id = submitted(container)
    container.runs.request_cancel(run_id)
    cleaned = torn.with_name(".tmp-2")
    cleaned.write_text("{")
    os.utime(cleaned, (0, 0))
    maintained_until(container, lambda: not cleaned.exists())
    assert torn.exists() is stays


@pytest.mark.parametrize(
    ("age_seconds", "stays"), [(ARRIVAL_SECONDS - 15, True), (ARRIVAL_SECONDS + 1, False)]
)
def test_what_a_killed_api_left_of_a_file_goes_soon(
    container: Container, age_seconds: int, stays: bool
) -> None:
    arrivals = container.settings.app.artifacts_root / ARRIVALS_FOLDER
    left, older = arrivals / new_ulid(), arrivals / new_ulid()
    for folder, then in ((left, time.time() - age_seconds), (older, 0.0)):
        folder.mkdir(parents=True)
        (folder / "data").write_text("half a file")
        for path in (folder / "data", folder):
            os.utime(path, (then, then))
    maintained_until(container, lambda: not older.exists())
    assert left.exists() is stays


def test_what_a_run_says_after_it_was_stored_is_stored_too(container: Container) -> None:
    root = container.artifacts.cache_folder().parent
    app = container.settings.app.model_copy(update={"artifacts_root": root})
    container = replace(container, settings=container.settings.model_copy(update={"app": app}))
    lease = claimed(container, host="h")
    record = container.runs.get(lease.run_id)
    folder = container.artifacts.create("models", lease.run_id)
    ArtifactAccount(kind="models", record=record, seed=1, folder=folder).seal_done(
        record, container.artifacts
    )
    container.runs.finish(lease, Outcome(status=RunStatus.COMPLETED, message="Done."))
    maintained_until(container, lambda: container.runs.get(lease.run_id).artifact_file_id is not None)
    file_id = container.runs.get(lease.run_id).artifact_file_id
    assert file_id is not None
    assert container.store.find(file_id) is not None


def test_a_lost_store_is_brought_back(container: Container) -> None:
    run_id = submitted(container)
    container.artifacts.keep_record(container.runs.get(run_id))
    assert isinstance(container.runs, MemoryRunStore)
    container.runs.lose_everything()
    assert [(one.run_id, one.fate) for one in rebuild(container, adopt=False)] == [(run_id, "restored")]
    assert container.runs.get(run_id).status is RunStatus.QUEUED


def rounds_passed(container: Container, number: int) -> Callable[[], bool]:
    """Asked again and again, says when every chore had its turn so often: the first chore of a round has closed an account
    that was opened in the round before."""
    closed: list[str] = [ended(container)]

    def passed() -> bool:
        if container.runs.unaccounted(1):
            return False
        closed.append(ended(container))
        return len(closed) > number + 1

    return passed


def ended(container: Container) -> str:
    """A run whose account is open."""
    run_id = submitted(container)
    container.runs.request_cancel(run_id)
    return run_id


def knows(container: Container, run_id: str) -> bool:
    try:
        container.runs.get(run_id)
    except AppError:
        return False
    return True


@pytest.mark.parametrize("enabled", [True, False])
def test_unused_tokenizers_go_only_where_somebody_wants_that(container: Container, enabled: bool) -> None:
    app = container.settings.app
    policy: dict[str, object] = {"enabled": enabled, "min_unused_days": 0.0}
    changed: dict[str, object] = {
        "tokenizer_cleanup": app.tokenizer_cleanup.model_copy(update=policy),
        "data_root": app.artifacts_root,
    }
    settings = container.settings.model_copy(update={"app": app.model_copy(update=changed)})
    cleaned = threading.Event()
    container = replace(container, settings=settings, corpus_cache=Cache(cleaned))
    tokenizer_id = completed_tokenizer(container).run_id

    if enabled:
        maintained_until(container, lambda: not knows(container, tokenizer_id))
    else:
        maintained_until(container, rounds_passed(container, 2))
        assert cleaned.is_set()
        assert knows(container, tokenizer_id)


class Cache:
    """A corpus cache that says when it was looked at."""

    def __init__(self, looked_at: threading.Event) -> None:
        self._looked_at = looked_at

    def entries(self) -> tuple[CorpusCacheEntry, ...]:
        return ()

    def due(self, need_bytes: int = 0) -> tuple[CorpusCacheEntry, ...]:
        self._looked_at.set()
        return ()

    def remove(self, entry: CorpusCacheEntry) -> bool:
        raise AssertionError(entry)

    def make_room(self, need_bytes: int) -> tuple[CorpusCacheEntry, ...]:
        raise AssertionError(need_bytes)


@pytest.mark.parametrize(("enabled", "cleans"), [(None, True), (True, True), (False, False)])
def test_the_corpus_cache_is_kept_within_bounds_unless_nothing_may_be_cleaned(
    container: Container, enabled: bool | None, cleans: bool
) -> None:
    app = container.settings.app
    policy: dict[str, object] = {"enabled": enabled}
    changed: dict[str, object] = {"cleanup": app.cleanup.model_copy(update=policy)}
    settings = container.settings.model_copy(update={"app": app.model_copy(update=changed)})
    looked_at = threading.Event()
    container = replace(container, settings=settings, corpus_cache=Cache(looked_at))

    if cleans:
        maintained_until(container, looked_at.is_set)
    else:
        maintained_until(container, rounds_passed(container, 2))
        assert not looked_at.is_set()
