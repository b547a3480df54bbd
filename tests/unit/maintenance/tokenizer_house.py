"""An installation with tokenizers, for tests of their clean-up: its runs, its store and its disk can misbehave."""

import errno
import hashlib
import time
from collections.abc import Callable, Iterator, Set
from pathlib import Path

from structlog.testing import capture_logs
from structlog.typing import EventDict

from model_trainer.core.contracts.manifest import ArtifactKind
from model_trainer.core.contracts.run import Outcome, RunKind, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode, Reason
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.infra.persistence.memory_references import MemoryReferences
from model_trainer.infra.queue.memory import MemoryJobQueue
from model_trainer.infra.storage.artifact_tree import LocalArtifactTree
from model_trainer.infra.storage.stores.memory import MemoryStore
from model_trainer.maintenance.mentions import Mentions
from model_trainer.maintenance.tokenizer_cleanup import DAY_SECONDS, TokenizerCleaner
from tests.contract.run_stores import new_run

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
