"""A job under its lease waits for the store as long as it takes, and hears everybody meanwhile."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from model_trainer.core.artifact_files import MANIFEST
from model_trainer.core.contracts.files import StoredFile
from model_trainer.core.contracts.run import Lease, RunRecord
from model_trainer.core.errors import AppError, AskedToStop, ErrorCode
from model_trainer.core.failpoints import Failpoint
from model_trainer.core.files import sha256_of
from model_trainer.core.ports.store import ArtifactStore
from model_trainer.core.stored_artifact import stored_things
from model_trainer.infra.persistence.memory_references import MemoryReferences
from model_trainer.infra.storage.stores.memory import MemoryStore
from model_trainer.worker.account import ArtifactAccount
from model_trainer.worker.event_mirror import EventMirror
from model_trainer.worker.handing_in import hand_in
from model_trainer.worker.lease import Cancelled, HandedOver, HeldRun, Paused
from model_trainer.worker.manifests import read_manifest
from tests.faults.faulty_store import FaultyStore, StoreFault
from tests.unit.worker.bench import wait_until
from tests.unit.worker.sealed import FILES, House


@dataclass
class Job:
    """A job that has sealed its folder."""

    house: House
    record: RunRecord
    lease: Lease
    account: ArtifactAccount
    held: HeldRun

    def hand_in(self) -> None:
        bench = self.house.bench
        parts = replace(bench.parts, store=self.house.store, artifacts=self.house.tree)
        hand_in(parts, self.held, self.record, self.account, first_wait_seconds=0.01)

    def now(self) -> RunRecord:
        return self.house.bench.store.get(self.record.run_id)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def job(house: House) -> Iterator[Job]:
    record, lease, account = house.begun()
    with holding(house, lease, account.folder) as held:
        yield Job(house, record, lease, account, held)


@contextmanager
def holding(house: House, lease: Lease, folder: Path) -> Iterator[HeldRun]:
    held = HeldRun(
        store=house.bench.store,
        lease=lease,
        user_id=None,
        heartbeat_seconds=0.02,
        mirror=EventMirror(folder / "events.jsonl"),
    )
    with held:
        yield held


def test_the_record_and_the_pointer_say_where_the_artifact_is(job: Job) -> None:
    job.hand_in()
    file_id = job.now().artifact_file_id
    assert file_id is not None
    assert job.house.bench.files.find(file_id) is not None
    pointer = job.house.tree.read_pointer(job.record.run_id)
    assert pointer is not None
    assert (pointer.artifact_file_id, pointer.stored_manifest_sha256) == (file_id, file_id)
    for file in read_manifest(job.account.folder).files:
        assert job.house.bench.references.referred_by(f"file:{file.sha256}", limit=5) == (job.record.run_id,)
    assert job.house.bench.reached[-1] is Failpoint.UPLOAD_POINTED


def test_a_store_that_is_away_is_waited_for(job: Job) -> None:
    job.house.store.trouble.is_down = True
    waiting = threading.Thread(target=job.hand_in)
    with capture_logs() as lines:
        waiting.start()
        wait_until(lambda: len(job.house.store.calls) >= 3)
        wait_until(lambda: "is away" in job.now().message)
        assert job.now().artifact_file_id is None
        assert job.account.folder.is_dir()
        job.house.store.trouble.is_down = False
        waiting.join(20)
    assert not waiting.is_alive()
    assert job.now().artifact_file_id is not None
    waits = [line for line in lines if line["event"] == "artifact_store_away"]
    assert [line["attempt"] for line in waits] == list(range(1, len(waits) + 1))
    assert all(0 < line["duration_seconds"] <= 60 for line in waits)


@pytest.mark.parametrize("fault", [StoreFault.REFUSED, StoreFault.ANSWER_LOST, StoreFault.CUT])
def test_faults_on_the_way_cost_time_and_nothing_else(job: Job, fault: StoreFault) -> None:
    job.house.store.trouble.script = [fault, None, fault, None, None, fault]
    job.hand_in()
    assert job.house.store.trouble.script == []
    assert job.now().artifact_file_id is not None
    stored = {file.file_id for file in job.house.bench.files.list_files(limit=100).files}
    assert stored == {
        job.now().artifact_file_id,
        *(f.sha256 for f in read_manifest(job.account.folder).files),
    }


def test_a_file_that_is_just_being_removed_is_waited_for(job: Job) -> None:
    references = job.house.bench.references
    thing = f"file:{read_manifest(job.account.folder).files[0].sha256}"
    assert references.begin_removal(thing, owner="test", seconds=60) == ()
    waiting = threading.Thread(target=job.hand_in)
    waiting.start()
    wait_until(lambda: "is away" in job.now().message)
    references.end_removal(thing, owner="test")
    waiting.join(20)
    assert job.now().artifact_file_id is not None


class SlowStore(FaultyStore):
    """Takes a file when it is told to."""

    def __init__(self, store: ArtifactStore) -> None:
        super().__init__(store)
        self.release = threading.Event()

    def put(self, path: Path, *, file_id: str, num_bytes: int) -> StoredFile:
        self.release.wait(60)
        return super().put(path, file_id=file_id, num_bytes=num_bytes)


def cancel(job: Job) -> None:
    job.house.bench.store.request_cancel(job.record.run_id)


def pause(job: Job) -> None:
    job.house.bench.store.request_pause(job.record.run_id)


def hand_over(job: Job) -> None:
    job.held.hand_over()


@pytest.mark.parametrize("trouble", ["away", "slow"])
@pytest.mark.parametrize(("ask", "heard"), [(cancel, Cancelled), (pause, Paused), (hand_over, HandedOver)])
def test_who_wants_it_to_stop_is_heard_at_once_whatever_the_store_does(
    job: Job, trouble: str, ask: Callable[[Job], None], heard: type[Exception]
) -> None:
    """A wait of a minute, and a call that takes as long."""
    slow = SlowStore(job.house.bench.files)
    slow.trouble.is_down = trouble == "away"
    if trouble == "away":
        slow.release.set()
    began: list[float] = []

    def ask_later() -> None:
        time.sleep(0.2)
        began.append(time.monotonic())
        ask(job)

    parts = replace(job.house.bench.parts, store=slow, artifacts=job.house.tree)
    asking = threading.Thread(target=ask_later)
    asking.start()
    with pytest.raises(heard):
        hand_in(parts, job.held, job.record, job.account, first_wait_seconds=60)
    assert time.monotonic() - began[0] < 5
    slow.release.set()
    asking.join()
    assert job.now().artifact_file_id is None


def test_work_that_is_left_behind_ends_before_its_next_file(job: Job) -> None:
    job.house.store.trouble.delay_seconds = 0.3
    job.held.hand_over()
    with pytest.raises(HandedOver):
        job.hand_in()
    wait_until(lambda: not any(t.name.startswith("store-") and t.is_alive() for t in threading.enumerate()))
    assert len(job.house.store.calls) <= 2


def test_who_has_lost_the_run_does_not_point_it_anywhere(job: Job) -> None:
    bench = job.house.bench
    bench.now += 3600
    bench.store.reap()
    epoch = bench.store.get(job.record.run_id).epoch
    assert bench.store.claim(job.record.run_id, epoch=epoch, owner="other", host="h", lease_seconds=15)
    with pytest.raises(AppError) as caught:
        job.hand_in()
    assert caught.value.code is ErrorCode.LEASE_LOST
    assert job.now().artifact_file_id is None


@pytest.mark.parametrize("code", [ErrorCode.DISK_FULL, ErrorCode.ARTIFACT_CORRUPT])
def test_what_does_not_pass_is_not_waited_for(job: Job, code: ErrorCode) -> None:
    if code is ErrorCode.DISK_FULL:
        job.house.store = FaultyStore(MemoryStore(is_local=True))
        job.house.store.trouble.script = [StoreFault.FULL]
    else:
        (job.account.folder / "config.json").write_bytes(b"[]\n")
    with pytest.raises(AppError) as caught:
        job.hand_in()
    assert caught.value.code is code
    assert job.now().artifact_file_id is None


def test_a_store_elsewhere_that_is_full_is_waited_for_as_one_that_is_away(job: Job) -> None:
    """Nobody on this machine can say when it has room again."""
    job.house.store = FaultyStore(MemoryStore(is_local=False))
    job.house.store.trouble.script = [StoreFault.FULL, StoreFault.FULL]
    job.hand_in()
    assert job.now().artifact_file_id is not None


def needed(job: Job) -> list[str]:
    """What the run is said to need of the store."""
    manifest = read_manifest(job.account.folder)
    things = stored_things(manifest, file_id=sha256_of(job.account.folder / MANIFEST))
    return [thing for thing in things if job.house.bench.references.referred_by(thing, limit=1)]


@pytest.mark.parametrize("ask", [cancel, hand_over])
def test_a_run_that_does_not_end_with_its_artifact_needs_nothing_of_the_store(
    job: Job, ask: Callable[[Job], None]
) -> None:
    job.house.store.trouble.script = [None, StoreFault.REFUSED]
    job.house.store.trouble.delay_seconds = 0.05

    def ask_later() -> None:
        wait_until(lambda: needed(job) != [])
        ask(job)

    asking = threading.Thread(target=ask_later)
    asking.start()
    with pytest.raises(AskedToStop):
        hand_in(
            replace(job.house.bench.parts, store=job.house.store, artifacts=job.house.tree),
            job.held,
            job.record,
            job.account,
            first_wait_seconds=60,
        )
    asking.join()
    assert needed(job) == []


def test_work_that_is_left_behind_says_no_more_what_the_run_needs(job: Job) -> None:
    is_left = threading.Event()

    def reached(point: Failpoint) -> None:
        if point is Failpoint.UPLOAD_BEGUN:
            is_left.wait(10)

    job.held.hand_over()
    parts = replace(job.house.bench.parts, reached=reached, artifacts=job.house.tree)
    with pytest.raises(HandedOver):
        hand_in(parts, job.held, job.record, job.account)
    is_left.set()
    wait_until(lambda: not any(t.name.startswith("store-") and t.is_alive() for t in threading.enumerate()))
    assert needed(job) == []


def test_what_a_run_was_ordered_with_it_still_needs(house: House) -> None:
    config = hashlib.sha256(FILES["config.json"]).hexdigest()
    record, lease, account = house.begun(spec={"corpus_path": f"sha256:{config}.txt"})
    house.bench.references.refer(record.run_id, [f"file:{config}"])
    house.store = FaultyStore(MemoryStore(is_local=True))
    house.store.trouble.script = [StoreFault.FULL]
    with holding(house, lease, account.folder) as held:
        job = Job(house, record, lease, account, held)
        with pytest.raises(AppError):
            job.hand_in()
        assert needed(job) == [f"file:{config}"]


def test_an_artifact_that_was_handed_in_stays_needed(job: Job) -> None:
    job.hand_in()
    assert len(needed(job)) == len(read_manifest(job.account.folder).files) + 1


def test_who_has_lost_the_run_takes_nothing_back(job: Job) -> None:
    """Its new owner may have said the same."""
    job.house.store.trouble.is_down = True
    bench = job.house.bench

    def lose() -> None:
        wait_until(lambda: needed(job) != [])
        bench.now += 3600
        bench.store.reap()

    losing = threading.Thread(target=lose)
    losing.start()
    with pytest.raises(AppError) as caught:
        hand_in(
            replace(bench.parts, store=job.house.store, artifacts=job.house.tree),
            job.held,
            job.record,
            job.account,
            first_wait_seconds=60,
        )
    losing.join()
    assert caught.value.code is ErrorCode.LEASE_LOST
    assert needed(job) != []


class Unreleased(MemoryReferences):
    """Cannot be told that something is needed no more."""

    def release(self, run_id: str, things: Sequence[str]) -> None:
        raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")


def test_what_cannot_be_taken_back_now_stays_needed_and_the_run_ends_as_it_would(job: Job) -> None:
    (job.account.folder / "config.json").write_bytes(b"[]\n")
    parts = replace(job.house.bench.parts, references=Unreleased(), artifacts=job.house.tree)
    with pytest.raises(AppError) as caught:
        hand_in(parts, job.held, job.record, job.account)
    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT
