"""Tokenizers that nothing was made with go; one that somebody needs, or is about to need, stays."""

import errno
import hashlib
import time
from collections.abc import Callable, Iterator, Set
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.manifest import ArtifactFile, ArtifactKind, Revision
from model_trainer.core.contracts.run import Outcome, RunKind, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode, Reason
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.infra.persistence.memory_references import MemoryReferences
from model_trainer.infra.queue.memory import MemoryJobQueue
from model_trainer.infra.storage.artifact_tree import LocalArtifactTree
from model_trainer.infra.storage.stores.memory import MemoryStore
from model_trainer.maintenance.mentions import RUNS_A_PAGE, Mentions
from model_trainer.maintenance.tokenizer_cleanup import AT_ONCE, DAY_SECONDS, TokenizerCleaner
from tests.contract.run_stores import new_run
from tests.manifests import completed_manifest

NEVER_MADE = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
"""The id of a run that was to be ordered in 2016."""
CORPUS = "c" * 64


class Runs(MemoryRunStore):
    """A store that may be away when a run is to be forgotten, or have lost it a moment ago."""

    away = False
    forgets = True
    before_forgetting: Callable[[str], None] = staticmethod(lambda _: None)
    lost = frozenset[str]()

    def get(self, run_id: str) -> RunRecord:
        if run_id in self.lost:
            raise AppError(ErrorCode.RUN_NOT_FOUND, "Lost.")
        if self.away:
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")
        return super().get(run_id)

    def forget(self, run_id: str) -> bool:
        self.before_forgetting(run_id)
        if not self.forgets:
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")
        return super().forget(run_id)


class Store(MemoryStore):
    """A store of artifacts that may be away."""

    away = False

    def read(self, file_id: str, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        if self.away:
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")
        return super().read(file_id, start=start, stop=stop)


class Tree(LocalArtifactTree):
    """Folders, one of which may not be removable."""

    stuck: str | None = None

    def remove(self, kind: ArtifactKind, item_id: str, *, if_still: Callable[[Path], bool]) -> bool:
        if item_id == self.stuck:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        return super().remove(kind, item_id, if_still=if_still)


class Watched(Mentions):
    """Lets something happen before the second look."""

    meanwhile: Callable[[], None] | None = None

    def among(self, ids: Set[str], *, not_before: str = "") -> set[str]:
        if not_before and self.meanwhile is not None:
            self.meanwhile()
        return super().among(ids, not_before=not_before)


class House:
    """An installation whose clock is moved by hand."""

    def __init__(self, root: Path) -> None:
        self.kept_runs = root / "runs"
        self.now = time.time() - 40 * DAY_SECONDS
        self.runs = Runs(queue=MemoryJobQueue(), clock=lambda: self.now, announce=lambda _: None)
        self.references = MemoryReferences()
        self.artifacts = Tree(root / "artifacts", self.kept_runs)
        self.store = Store()
        self.mentions = Watched(
            runs=self.runs, models=root / "artifacts" / "models", kept_runs=self.kept_runs
        )

    def run(self, kind: RunKind, *, status: RunStatus = RunStatus.COMPLETED, tokenizer_id: str = "") -> str:
        """A run that stands there."""
        run = new_run(
            kind=kind,
            family="bpe",
            spec={"corpus_path": f"sha256:{CORPUS}.txt", "tokenizer_id": tokenizer_id},
            user_id=None,
        )
        record = self.runs.submit(run, idempotency=None).record
        if status is RunStatus.COMPLETED or status is RunStatus.FAILED:
            lease = self.runs.claim(run.run_id, epoch=record.epoch, owner="w", host="h", lease_seconds=60)
            assert lease is not None
            reason = Reason.INTERNAL_ERROR if status is RunStatus.FAILED else None
            record = self.runs.finish(lease, Outcome(status=status, message="done", reason=reason))
        self.artifacts.keep_record(record)
        return run.run_id

    def tokenizer(self, *, status: RunStatus = RunStatus.COMPLETED) -> str:
        """A tokenizer with its files, made 40 days ago."""
        tokenizer_id = self.run(RunKind.TOKENIZER, status=status)
        folder = self.artifacts.create("tokenizers", tokenizer_id)
        (folder / "inner").mkdir()
        (folder / "tokenizer.json").write_text("1234567")
        (folder / "inner" / "stats.json").write_text("123")
        return tokenizer_id

    def store_it(self, tokenizer_id: str, manifest: bytes) -> tuple[str, ...]:
        """Says that the artifact is stored, and refers to what it consists of."""
        path = self.kept_runs / "manifest-to-store"
        path.write_bytes(manifest)
        file_id = hashlib.sha256(manifest).hexdigest()
        self.store.put(path, file_id=file_id, num_bytes=len(manifest))
        self.runs.point_at_artifact(tokenizer_id, file_id=file_id, epoch=None)
        things = tuple(f"file:{each}" for each in (file_id, "a" * 64, "b" * 64, CORPUS))
        self.references.refer(tokenizer_id, things)
        return things

    def clean(self, *, dry_run: bool = False, days: float = 30.0) -> tuple[int, list[EventDict]]:
        """A clean-up today."""
        cleaner = TokenizerCleaner(
            runs=self.runs,
            references=self.references,
            artifacts=self.artifacts,
            store=self.store,
            mentions=self.mentions,
            kept_runs=self.kept_runs,
            min_unused_days=days,
            dry_run=dry_run,
            now=time.time,
        )
        with capture_logs() as lines:
            number = cleaner.clean()
        return number, list(lines)

    def has(self, tokenizer_id: str) -> bool:
        """Whether all of it is there; anything else than all or nothing fails."""
        try:
            self.runs.get(tokenizer_id)
            is_known = True
        except AppError:
            is_known = False
        assert self.artifacts.exists("tokenizers", tokenizer_id) is is_known
        assert (self.kept_runs / tokenizer_id / "record.json").exists() is is_known
        return is_known


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def manifest_of(tokenizer_id: str) -> bytes:
    later = ArtifactFile(path="e.json", num_bytes=1, sha256="b" * 64)
    manifest = completed_manifest(
        "tokenizers",
        tokenizer_id,
        ArtifactFile(path="tokenizer.json", num_bytes=7, sha256="a" * 64),
        revisions=(Revision(job="evaluate", job_id="J", created_at="2026-01-02T00:00:00Z", files=(later,)),),
    )
    return manifest.model_dump_json().encode()


def test_a_tokenizer_that_nothing_was_made_with_goes_and_leaves_nothing(house: House) -> None:
    tokenizer_id = house.tokenizer()
    place = house.artifacts.folder("tokenizers", tokenizer_id)

    number, lines = house.clean()

    assert number == 1
    assert not house.has(tokenizer_id)
    assert list(place.parent.iterdir()) == []
    assert list(house.kept_runs.iterdir()) == []
    (line,) = lines
    assert line["event"] == "cleanup_completed"
    assert (line["run_id"], line["path"]) == (tokenizer_id, str(place))
    assert (line["bytes_freed"], line["files_deleted"], line["dry_run"]) == (10, 2, False)


def test_a_younger_one_stays(house: House) -> None:
    tokenizer_id = house.tokenizer()

    assert house.clean(days=41) == (0, [])
    assert house.has(tokenizer_id)


@pytest.mark.parametrize("status", [RunStatus.QUEUED, RunStatus.FAILED])
def test_one_that_is_not_completed_is_no_unused_tokenizer(house: House, status: RunStatus) -> None:
    tokenizer_id = house.tokenizer(status=status)

    assert house.clean() == (0, [])
    assert house.has(tokenizer_id)


def test_one_that_a_run_was_ordered_with_stays_however_the_run_ended(house: House) -> None:
    used, unused = house.tokenizer(), house.tokenizer()
    house.run(RunKind.TRAIN, status=RunStatus.FAILED, tokenizer_id=used)

    assert house.clean()[0] == 1
    assert (house.has(used), house.has(unused)) == (True, False)


def test_one_that_a_model_on_disk_was_made_with_stays(house: House) -> None:
    tokenizer_id = house.tokenizer()
    folder = house.artifacts.create("models", new_ulid())
    (folder / "manifest.json").write_text(f'{{"tokenizer_id": "{tokenizer_id}"}}')

    assert house.clean() == (0, [])
    assert house.has(tokenizer_id)


def test_more_than_a_page_of_them_go_at_once(house: House) -> None:
    tokenizers = [house.run(RunKind.TOKENIZER) for _ in range(RUNS_A_PAGE + AT_ONCE + 1)]

    assert house.clean()[0] == len(tokenizers)
    assert not house.runs.status_counts().get(("tokenizer", "completed"))


def test_a_dry_run_tells_what_would_go_and_removes_nothing(house: House) -> None:
    free, ordered = house.tokenizer(), house.tokenizer()
    house.references.refer(new_ulid(), [f"tokenizer:{ordered}"])

    number, lines = house.clean(dry_run=True)

    assert number == 0
    assert [(line["event"], line["run_id"], line["bytes_freed"]) for line in lines] == [
        ("cleanup_dry_run", free, 10)
    ]
    assert house.has(free)
    house.references.refer(new_ulid(), [f"tokenizer:{free}"])


def test_a_run_that_is_being_ordered_keeps_its_tokenizer(house: House) -> None:
    tokenizer_id = house.tokenizer()
    house.references.refer(new_ulid(), [f"tokenizer:{tokenizer_id}"])

    assert house.clean() == (0, [])
    assert house.has(tokenizer_id)


def test_an_order_whose_sender_died_long_ago_keeps_nothing(house: House) -> None:
    tokenizer_id = house.tokenizer()
    house.references.refer(NEVER_MADE, [f"tokenizer:{tokenizer_id}"])
    house.references.refer(house.run(RunKind.TRAIN), [f"tokenizer:{tokenizer_id}"])
    assert house.clean() == (0, [])
    assert len(house.references.referred_by(f"tokenizer:{tokenizer_id}", limit=5)) == 1

    other = house.tokenizer()
    house.references.refer(NEVER_MADE, [f"tokenizer:{other}"])
    assert house.clean()[0] == 1
    assert (house.has(tokenizer_id), house.has(other)) == (True, False)


def test_who_orders_during_the_removal_is_refused_and_later_finds_it_gone(house: House) -> None:
    tokenizer_id = house.tokenizer()
    refused: list[ErrorCode] = []

    def order() -> None:
        with pytest.raises(AppError) as caught:
            house.references.refer(new_ulid(), [f"tokenizer:{tokenizer_id}"])
        refused.append(caught.value.code)

    house.mentions.meanwhile = order
    assert house.clean()[0] == 1
    assert refused == [ErrorCode.CONFLICT]

    house.references.refer(new_ulid(), [f"tokenizer:{tokenizer_id}"])
    assert not house.has(tokenizer_id)


def test_while_another_clean_up_is_at_it_a_tokenizer_stays_and_its_mark_too(house: House) -> None:
    tokenizer_id, other = house.tokenizer(), house.tokenizer()
    thing = f"tokenizer:{tokenizer_id}"
    house.references.begin_removal(thing, owner="another", seconds=60)

    assert house.clean()[0] == 1
    assert (house.has(tokenizer_id), house.has(other)) == (True, False)
    with pytest.raises(AppError):
        house.references.refer(new_ulid(), [thing])


def test_a_run_that_came_between_the_two_looks_keeps_it(house: House) -> None:
    tokenizer_id, other = house.tokenizer(), house.tokenizer()
    house.mentions.meanwhile = lambda: void(house.run(RunKind.TRAIN, tokenizer_id=tokenizer_id))

    assert house.clean()[0] == 1

    assert (house.has(tokenizer_id), house.has(other)) == (True, False)
    house.references.refer(new_ulid(), [f"tokenizer:{tokenizer_id}"])


def void(_value: object) -> None:
    """Nobody needs it."""


def test_one_that_somebody_reads_stays_until_they_are_done(house: House) -> None:
    tokenizer_id = house.tokenizer()

    with house.artifacts.use("tokenizers", tokenizer_id):
        assert house.clean() == (0, [])
        assert house.has(tokenizer_id)

    assert house.clean()[0] == 1


def test_what_cannot_be_removed_is_told_and_the_rest_goes(house: House) -> None:
    stuck, other = house.tokenizer(), house.tokenizer()
    house.artifacts.stuck = stuck

    number, lines = house.clean()

    assert number == 1
    assert (house.has(stuck), house.has(other)) == (True, False)
    failed = [line for line in lines if line["event"] == "cleanup_failed"]
    assert [(line["run_id"], line["detail"]) for line in failed] == [(stuck, "Operation not permitted")]


def test_while_a_manifest_cannot_be_read_nothing_goes(house: House) -> None:
    tokenizer_id = house.tokenizer()
    unreadable = house.artifacts.create("models", new_ulid()) / "manifest.json"
    unreadable.mkdir()

    number, lines = house.clean()

    assert number == 0
    assert [(line["event"], line["path"]) for line in lines] == [("cleanup_failed", str(unreadable))]
    assert house.has(tokenizer_id)


def test_a_removal_that_was_cut_off_is_finished_in_the_next_round(house: House) -> None:
    tokenizer_id = house.tokenizer()
    house.runs.forgets = False
    with pytest.raises(AppError, match="Away"):
        house.clean()
    assert not house.artifacts.exists("tokenizers", tokenizer_id)
    house.runs.forgets = True

    number, lines = house.clean()

    assert number == 1
    assert not house.has(tokenizer_id)
    assert lines[0]["bytes_freed"] == 0
    house.references.refer(new_ulid(), [f"tokenizer:{tokenizer_id}"])


def test_a_store_that_goes_away_ends_the_round_and_leaves_no_mark(house: House) -> None:
    tokenizer_id = house.tokenizer()

    def go_away() -> None:
        house.runs.away = True

    house.mentions.meanwhile = go_away
    with pytest.raises(AppError, match="Away"):
        house.clean()
    house.runs.away = False

    assert house.has(tokenizer_id)
    house.references.refer(new_ulid(), [f"tokenizer:{tokenizer_id}"])


def test_where_nobody_can_say_who_needs_it_a_tokenizer_stays(house: House) -> None:
    class Away(MemoryReferences):
        def begin_removal(self, thing: str, *, owner: str, seconds: float) -> tuple[str, ...]:
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")

    tokenizer_id, house.references = house.tokenizer(), Away()
    with pytest.raises(AppError, match="Away"):
        house.clean()

    assert house.has(tokenizer_id)


def test_one_that_somebody_has_brought_back_meanwhile_goes_all_the_same(house: House) -> None:
    tokenizer_id = house.tokenizer()

    def bring_back(run_id: str) -> None:
        (house.artifacts.create("tokenizers", run_id) / "tokenizer.json").write_text("1234567")

    house.runs.before_forgetting = bring_back

    assert house.clean()[0] == 1
    assert not house.has(tokenizer_id)
    assert list(house.kept_runs.iterdir()) == []


def test_another_clean_up_may_be_faster(house: House) -> None:
    tokenizer_id = house.tokenizer()

    def lose() -> None:
        house.runs.lost = frozenset({tokenizer_id})

    house.mentions.meanwhile = lose

    assert house.clean() == (0, [])


@pytest.mark.parametrize("is_here", [True, False])
def test_the_stored_copy_may_be_deleted_once_the_tokenizer_has_gone(house: House, is_here: bool) -> None:
    tokenizer_id = house.tokenizer()
    folder = house.artifacts.folder("tokenizers", tokenizer_id)
    manifest = manifest_of(tokenizer_id)
    things = house.store_it(tokenizer_id, manifest)
    (folder / "manifest.json").write_bytes(manifest)
    if not is_here:
        assert house.artifacts.remove("tokenizers", tokenizer_id, if_still=lambda _: True)

    assert house.clean()[0] == 1

    assert [house.references.referred_by(thing, limit=1) for thing in things] == [()] * 4


@pytest.mark.parametrize("stored", [b"a tarball", b"{torn", None])
def test_of_a_copy_that_cannot_be_looked_into_the_copy_alone_is_let_go(
    house: House, stored: bytes | None
) -> None:
    tokenizer_id = house.tokenizer()
    first, *others, corpus = house.store_it(tokenizer_id, stored or b"lost")
    if stored is None:
        house.store.delete(first.removeprefix("file:"))

    assert house.clean()[0] == 1

    assert house.references.referred_by(first, limit=1) == ()
    assert house.references.referred_by(corpus, limit=1) == ()
    assert all(house.references.referred_by(thing, limit=1) for thing in others)


def test_while_the_artifact_store_is_away_a_stored_tokenizer_stays(house: House) -> None:
    tokenizer_id = house.tokenizer()
    house.store_it(tokenizer_id, manifest_of(tokenizer_id))
    house.store.away = True

    with pytest.raises(AppError, match="Away"):
        house.clean()
    assert house.has(tokenizer_id)

    house.store.away = False
    assert house.clean()[0] == 1
