"""What a job builds on is fetched before it begins; a slow store or one that is away costs time, and nobody is kept waiting."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.manifest import ArtifactKind
from model_trainer.core.contracts.run import RunKind, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.storage import FetchReport, nobody_listens
from model_trainer.infra.storage.stored_tree import StoredArtifactTree
from model_trainer.worker.bringing_back import brought_back, items_needed
from model_trainer.worker.job import Job, JobResult
from model_trainer.worker.lease import Cancelled, HandedOver, HeldRun, Paused
from model_trainer.worker.parts import WorkerParts
from model_trainer.worker.storing import read_form, store_artifact
from model_trainer.worker.supervise import supervise
from tests.contract.run_stores import new_run
from tests.unit.worker.bench import wait_until
from tests.unit.worker.sealed import House, always


@dataclass
class Wish:
    """A job on a model that has left this machine."""

    house: House
    model_id: str
    tokenizer_id: str
    run_id: str

    @property
    def parts(self) -> WorkerParts:
        return replace(self.house.bench.parts, artifacts=self.house.tree)

    def record(self) -> RunRecord:
        return self.house.bench.store.get(self.run_id)

    @contextmanager
    def held(self) -> Iterator[HeldRun]:
        bench = self.house.bench
        lease = bench.store.claim(self.run_id, epoch=0, owner="worker-1", host="h", lease_seconds=15)
        assert lease is not None
        with HeldRun(
            store=bench.store, lease=lease, user_id=None, heartbeat_seconds=0.05, mirror=None
        ) as held:
            yield held

    def are_here(self) -> bool:
        local = self.house.local
        return None not in (local.here("models", self.model_id), local.here("tokenizers", self.tokenizer_id))


def _evicted(house: House, run_id: str, *, kind: ArtifactKind) -> None:
    folder = house.local.folder(kind, run_id)
    form = read_form(folder, kind=kind, item_id=run_id)
    stored = store_artifact(form, folder, house.store, layout="files", refer=lambda _: None)
    house.bench.store.point_at_artifact(run_id, file_id=stored.file_id, epoch=None)
    house.forget_copy(run_id, kind)


def _ordered(house: House, *, parent: str | None, spec: JsonObject | None = None) -> str:
    run = new_run(kind=RunKind.EVALUATE, spec=spec or {}, user_id=None, parent_run_id=parent)
    house.bench.store.submit(run, idempotency=None)
    return run.run_id


@pytest.fixture
def wish(tmp_path: Path) -> Wish:
    house = House(tmp_path)
    tokenizer_id = house.completed(kind="tokenizers")
    model_id = house.completed(spec={"tokenizer_id": tokenizer_id})
    _evicted(house, tokenizer_id, kind="tokenizers")
    _evicted(house, model_id, kind="models")
    return Wish(house, model_id, tokenizer_id, _ordered(house, parent=model_id))


def test_a_job_needs_the_model_it_is_about_and_the_tokenizers_of_both(wish: Wish) -> None:
    assert items_needed(wish.parts, wish.record()) == (
        ("models", wish.model_id),
        ("tokenizers", wish.tokenizer_id),
    )
    other = _ordered(wish.house, parent=None, spec={"tokenizer_id": "T"})
    assert items_needed(wish.parts, wish.house.bench.store.get(other)) == (("tokenizers", "T"),)
    orphan = _ordered(wish.house, parent=new_ulid())
    (found,) = items_needed(wish.parts, wish.house.bench.store.get(orphan))
    assert found[0] == "models", "what its parent needs nobody knows"


def test_what_a_job_needs_is_here_and_stays_until_it_has_ended(wish: Wish) -> None:
    with wish.held() as held, brought_back(wish.parts, held, items_needed(wish.parts, wish.record())):
        assert wish.are_here()
        assert not wish.house.tree.remove("models", wish.model_id, if_still=always)
    assert wish.house.tree.remove("models", wish.model_id, if_still=always)


def test_a_store_that_is_away_is_waited_for(wish: Wish) -> None:
    wish.house.store.trouble.is_down = True

    def mend() -> None:
        wait_until(lambda: "store is away" in wish.record().message)
        wish.house.store.trouble.is_down = False

    mending = threading.Thread(target=mend)
    mending.start()
    items = items_needed(wish.parts, wish.record())
    with wish.held() as held, brought_back(wish.parts, held, items, first_wait_seconds=0.2):
        assert wish.are_here()
    mending.join()


class SlowTree(StoredArtifactTree):
    """A store that gives one byte now and then, for ever."""

    @contextmanager
    def use(
        self, kind: ArtifactKind, item_id: str, *, report: FetchReport = nobody_listens
    ) -> Iterator[Path]:
        for done in range(100_000):
            report(done, 100_000)
            time.sleep(0.01)
        with super().use(kind, item_id, report=report) as folder:
            yield folder


def cancel(wish: Wish, _held: HeldRun) -> None:
    wish.house.bench.store.request_cancel(wish.run_id)


def hand_over(_wish: Wish, held: HeldRun) -> None:
    held.hand_over()


@pytest.mark.parametrize("trouble", ["away", "slow"])
@pytest.mark.parametrize(("ask", "heard"), [(cancel, Cancelled), (hand_over, HandedOver)])
def test_who_wants_it_to_stop_is_heard_at_once(
    wish: Wish, trouble: str, ask: Callable[[Wish, HeldRun], None], heard: type[Exception]
) -> None:
    parts = wish.parts
    if trouble == "away":
        wish.house.store.trouble.is_down = True
    else:
        slow = SlowTree(wish.house.local, store=wish.house.store, record_of=wish.house.bench.store.get)
        parts = replace(parts, artifacts=slow)
    items = items_needed(parts, wish.record())
    began: list[float] = []
    with wish.held() as held:

        def ask_later() -> None:
            wait_until(lambda: "store" in wish.record().message)
            began.append(time.monotonic())
            ask(wish, held)

        asking = threading.Thread(target=ask_later)
        asking.start()
        with pytest.raises(heard), brought_back(parts, held, items, first_wait_seconds=60):
            pass
        assert time.monotonic() - began[0] < 5
        asking.join()


@pytest.mark.parametrize("trouble", ["away", "slow"])
def test_who_has_lost_the_run_fetches_nothing_more(wish: Wish, trouble: str) -> None:
    parts = wish.parts
    if trouble == "away":
        wish.house.store.trouble.is_down = True
    else:
        slow = SlowTree(wish.house.local, store=wish.house.store, record_of=wish.house.bench.store.get)
        parts = replace(parts, artifacts=slow)
    items = items_needed(parts, wish.record())
    with wish.held() as held:
        wish.house.bench.now += 3600
        wish.house.bench.store.reap()
        wait_until(lambda: held.is_lost)
        with pytest.raises(AppError) as caught, brought_back(parts, held, items):
            pass
    assert caught.value.code is ErrorCode.LEASE_LOST


def test_what_cannot_be_had_is_left_to_the_job_to_say(wish: Wish) -> None:
    unknown = new_ulid()
    with (
        wish.held() as held,
        brought_back(wish.parts, held, (("models", unknown), ("models", wish.model_id))),
    ):
        assert wish.house.local.here("models", wish.model_id) is not None


@pytest.mark.parametrize(
    ("asked", "status"),
    [(Cancelled, RunStatus.CANCELLED), (Paused, RunStatus.PAUSED), (HandedOver, RunStatus.QUEUED)],
)
def test_a_run_that_is_to_stop_before_it_has_a_folder_ends_as_it_was_asked(
    wish: Wish, asked: type[Exception], status: RunStatus
) -> None:
    class Stopping(StoredArtifactTree):
        @contextmanager
        def use(
            self, kind: ArtifactKind, item_id: str, *, report: FetchReport = nobody_listens
        ) -> Iterator[Path]:
            if item_id == wish.model_id:
                raise asked
            with super().use(kind, item_id, report=report) as folder:
                yield folder

    house = wish.house
    tree = Stopping(house.local, store=house.store, record_of=house.bench.store.get)

    def never(held: HeldRun, record: RunRecord) -> JobResult:
        raise AssertionError("must not begin")

    def ended(_: RunRecord) -> None:
        raise AssertionError("there is no folder whose account could be closed")

    job = Job(
        work=never,
        folder=lambda _: nullcontext(house.folder),
        ended=ended,
        fallback=ErrorCode.EVALUATION_FAILED,
    )
    supervise(replace(wish.parts, artifacts=tree), run_id=wish.run_id, epoch=0, job=job)
    assert wish.record().status is status


def test_a_worker_that_is_told_to_go_while_it_fetches_hands_the_run_over(wish: Wish) -> None:
    class Told(SlowTree):
        @contextmanager
        def use(
            self, kind: ArtifactKind, item_id: str, *, report: FetchReport = nobody_listens
        ) -> Iterator[Path]:
            signal.raise_signal(signal.SIGTERM)
            with super().use(kind, item_id, report=report) as folder:
                yield folder

    house = wish.house
    tree = Told(house.local, store=house.store, record_of=house.bench.store.get)

    def never(held: HeldRun, record: RunRecord) -> JobResult:
        raise AssertionError("must not begin")

    job = Job(
        work=never,
        folder=lambda _: nullcontext(house.folder),
        ended=lambda _: None,
        fallback=ErrorCode.EVALUATION_FAILED,
    )
    began = time.monotonic()
    supervise(replace(wish.parts, artifacts=tree), run_id=wish.run_id, epoch=0, job=job)
    assert time.monotonic() - began < 5
    assert wish.record().status is RunStatus.QUEUED
