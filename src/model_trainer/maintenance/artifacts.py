"""Artifacts after the end of their runs: what has changed since is stored too, and local copies that nobody uses are removed.

Nothing local goes before the store has acknowledged every digest of exactly what lies here.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from model_trainer.core.artifact_files import MANIFEST
from model_trainer.core.config.settings import CleanupSettings
from model_trainer.core.contracts.ids import is_ulid, new_ulid
from model_trainer.core.contracts.manifest import ArtifactKind, RunPointer
from model_trainer.core.contracts.run import RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import sha256_of
from model_trainer.core.kept_record import keep_record
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.runs import RunStore
from model_trainer.core.ports.storage import ArtifactTree
from model_trainer.core.ports.store import ArtifactStore, References
from model_trainer.core.stored_artifact import (
    GROWING,
    StoredForm,
    files_of,
    form_at,
    has_all_of,
    is_all,
    stored_things,
)
from model_trainer.maintenance.acknowledged import Acknowledged
from model_trainer.maintenance.merging import merge_into
from model_trainer.maintenance.telling import Removal, tell
from model_trainer.orchestrators.needs import things_needed
from model_trainer.worker.account import point_to
from model_trainer.worker.manifests import seal_again
from model_trainer.worker.storing import Layout, StoredArtifact, read_form, store_artifact

log = get_logger(__name__)

KINDS: tuple[ArtifactKind, ...] = ("models", "tokenizers")
REMOVAL_SECONDS = 60.0
"""How long nobody may begin to need a file of the store that is being removed."""
_ENDS_A_LOOK = frozenset({ErrorCode.STORE_UNAVAILABLE, ErrorCode.DISK_FULL})
"""With the next artifact it would be the same."""

Seen = tuple[int, int]
"""Of a manifest: when it was written, in nanoseconds, and its size."""


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """What the record of a run says is stored."""

    file_id: str
    form: StoredForm | None
    """None of a tarball."""


class _Stopping(Exception):
    """This process is to end."""


class ArtifactKeeper:
    """Looks after the artifacts of completed runs under one artifacts root."""

    def __init__(
        self,
        *,
        root: Path,
        runs: RunStore,
        artifacts: ArtifactTree,
        store: ArtifactStore,
        references: References,
        layout: Layout,
        policy: CleanupSettings,
        stop: threading.Event | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is looked at yet.

        Args:
            root: the artifacts root; `models/<id>` and `tokenizers/<id>` lie there.
            runs: the authority on runs.
            artifacts: the folders.
            store: where they live for good.
            references: who needs which file of the store.
            layout: how an artifact is stored.
            policy: whether and when local copies go.
            stop: ends a look between two files.
            now: the clock that files are stamped by.
        """
        self._root = root
        self._runs = runs
        self._artifacts = artifacts
        self._store = store
        self._references = references
        self._layout: Layout = layout
        self._policy = policy
        self._stop = stop or threading.Event()
        self._now = now
        self._acknowledged = Acknowledged(
            store=store, references=references, policy=policy, go_on=lambda: self._go_on(0.0)
        )
        self._settled: dict[str, Seen] = {}
        self._hopeless: dict[str, Seen | None] = {}
        """What cannot be removed before it changes: gigabytes are not read every time to find out the same."""

    def store_due(self) -> None:
        """One look: stores what has changed since it was stored. What cannot be stored now is looked at again.

        Raises STORE_UNAVAILABLE and DISK_FULL: with the next artifact it would be the same.
        """
        settled: dict[str, Seen] = {}
        try:
            for kind, run_id, folder in self._items():
                seen = _seen(folder)
                if seen is not None and (
                    self._settled.get(run_id) == seen or self._bring_up_to_date(kind, run_id, folder)
                ):
                    settled[run_id] = seen
        except _Stopping:
            return
        self._settled = settled  # without those that have gone

    def remove_due(self) -> tuple[Removal, ...]:
        """One look: removes local copies by the policy; says what went, would go, or could not go. Raises as store_due()."""
        is_wanted = self._policy.enabled if self._policy.enabled is not None else not self._store.is_local
        oldest_kept = self._now() - self._policy.grace_period_seconds
        told: list[Removal] = []
        try:
            for kind, run_id, folder in self._items() if is_wanted else ():
                is_unused = self._artifacts.used_at(kind, run_id) <= oldest_kept
                if is_unused and not (run_id in self._hopeless and self._hopeless[run_id] == _seen(folder)):
                    removal = self._remove_or_say_why(kind, run_id, folder, oldest_kept=oldest_kept)
                    if removal is not None:
                        told.append(tell(removal))
        except _Stopping:
            log.info("clean_up_left", detail="this process is to end")
        return tuple(told)

    def _bring_up_to_date(self, kind: ArtifactKind, run_id: str, folder: Path) -> bool:
        """Whether there is nothing to do until its manifest changes."""
        try:
            return self._is_stored(kind, run_id, folder) or self._store_again(kind, run_id, folder)
        except AppError as error:
            if error.code in _ENDS_A_LOOK:
                raise
            log.error("artifact_not_stored", run_id=run_id, error_code=error.code.value, detail=error.message)
            return error.code is ErrorCode.ARTIFACT_CORRUPT
        except OSError as error:
            log.error("artifact_not_stored", run_id=run_id, detail=str(error))
            return False

    def _is_stored(self, kind: ArtifactKind, run_id: str, folder: Path) -> bool:
        """Whether that is so of exactly what lies here, by the pointer and by the record: the record may be older, when Redis
        has lost its last second, or newer, when another machine has added to the artifact."""
        pointer = self._pointer(kind, run_id)
        if pointer is None or pointer.stored_manifest_sha256 != sha256_of(folder / MANIFEST):
            return False
        record = self._completed(run_id)
        if record is None:
            return False
        if record.artifact_file_id == pointer.artifact_file_id:
            return True
        ours = read_form(folder, kind=kind, item_id=run_id)
        return self._with_all_of(ours, record, kind=kind) is not None

    def _with_all_of(self, ours: StoredForm, record: RunRecord, *, kind: ArtifactKind) -> StoredForm | None:
        """What is stored of the run, where that has all that ours has: ours is just older then, and is brought up to date when
        somebody uses it. None also for a tarball: nobody knows what it has."""
        found = self._elsewhere(record, kind=kind)
        theirs = None if found is None else found.form
        return theirs if theirs is not None and has_all_of(theirs.manifest, ours.manifest) else None

    def _elsewhere(self, record: RunRecord, *, kind: ArtifactKind) -> _Elsewhere | None:
        """None for nothing that can be read."""
        file_id = record.artifact_file_id
        if file_id is None:
            return None
        try:
            return _Elsewhere(file_id, form_at(self._store, file_id, kind=kind, item_id=record.run_id))
        except AppError as error:
            if error.code in _ENDS_A_LOOK:
                raise
            log.warning("older_artifact_not_read", run_id=record.run_id, detail=error.message)
            return None

    def _store_again(self, kind: ArtifactKind, run_id: str, folder: Path) -> bool:
        with self._artifacts.use(kind, run_id):
            form = read_form(folder, kind=kind, item_id=run_id)
            if form.manifest.status != "completed":
                return True
            before = self._completed(run_id)
            if before is None:
                return False
            there = self._elsewhere(before, kind=kind)
            if there is not None and not self._has_stored(run_id, there, form):
                try:
                    self._merge(kind, run_id, folder, there)
                except BlockingIOError:
                    return False  # a job is at work on the model here: after it
                form = read_form(folder, kind=kind, item_id=run_id)
            stored = store_artifact(
                form,
                folder,
                self._store,
                layout=self._layout,
                refer=partial(self._references.refer, run_id),
                report=self._go_on,
            )
            after = self._point(before, stored)
            point_to(after, self._artifacts, kind=kind, stored=stored)
        keep_record(self._artifacts, after)
        log.info("artifact_stored", run_id=run_id, num_bytes=form.num_bytes, path=stored.file_id)
        self._let_go(before, there, form, stored)
        return self._is_stored(kind, run_id, folder)

    def _has_stored(self, run_id: str, there: _Elsewhere, ours: StoredForm) -> bool:
        """Whether what is stored was stored from here: it has nothing that ours has not."""
        pointer = self._artifacts.read_pointer(run_id)
        is_ours = pointer is not None and pointer.artifact_file_id == there.file_id
        return is_ours or there.file_id == ours.manifest_sha256

    def _merge(self, kind: ArtifactKind, run_id: str, folder: Path, there: _Elsewhere) -> None:
        came = merge_into(folder, there.form, self._store, there.file_id, kind=kind, item_id=run_id)
        log.info(
            "artifact_merged",
            run_id=run_id,
            path=there.file_id,
            num_files=len(came),
            detail=", ".join(came[:10]),
        )

    def _point(self, before: RunRecord, stored: StoredArtifact) -> RunRecord:
        """Raises CONFLICT when another machine has moved the pointer on meanwhile: what it has is taken over the next time."""
        run_id = before.run_id
        try:
            return self._runs.point_at_artifact(
                run_id, file_id=stored.file_id, epoch=None, instead_of=before.artifact_file_id
            )
        except AppError as error:
            if error.code is ErrorCode.CONFLICT:
                self._references.release(run_id, (f"file:{stored.file_id}",))
                self._delete(stored.file_id)
            raise

    def _completed(self, run_id: str) -> RunRecord | None:
        try:
            record = self._runs.get(run_id)
        except AppError as error:
            if error.code is not ErrorCode.RUN_NOT_FOUND:
                raise
            return None  # lost; after a rebuild it is there again
        return record if record.status is RunStatus.COMPLETED else None

    def _let_go(
        self, before: RunRecord, old: _Elsewhere | None, form: StoredForm, stored: StoredArtifact
    ) -> None:
        """What was stored for this run before and is not part of it any more: nobody needs it for this run's sake, and the
        account itself and the beginnings of logs are of no use to anybody else."""
        if old is None or old.file_id == stored.file_id:
            return
        old_id = old.file_id
        needed = {f"file:{stored.file_id}", *things_needed(before.spec)}
        if self._layout == "files":
            needed |= set(stored_things(form.manifest, file_id=stored.file_id))
        things, logs = {f"file:{old_id}"}, list[str]()
        if old.form is not None:
            things = set(stored_things(old.form.manifest, file_id=old_id))
            logs = [file.sha256 for file in old.form.files if Path(file.path).name in GROWING]
        unneeded = sorted(things - needed)
        self._references.release(before.run_id, unneeded)
        for file_id in sorted({old_id, *logs}):
            if f"file:{file_id}" in unneeded:
                self._delete(file_id)

    def _delete(self, file_id: str) -> None:
        thing, owner = f"file:{file_id}", new_ulid()
        try:
            if self._references.begin_removal(thing, owner=owner, seconds=REMOVAL_SECONDS):
                return  # another run needs it
        except AppError as error:
            if error.code is not ErrorCode.CONFLICT:
                raise
            return  # somebody else removes it
        try:
            self._store.delete(file_id)
        finally:
            self._references.end_removal(thing, owner=owner)

    def _remove_or_say_why(
        self, kind: ArtifactKind, run_id: str, folder: Path, *, oldest_kept: float
    ) -> Removal | None:
        try:
            return self._remove(kind, run_id, folder, oldest_kept=oldest_kept)
        except FileNotFoundError:
            return None  # it has gone meanwhile
        except AppError as error:
            if error.code in _ENDS_A_LOOK:
                raise
            if error.code is ErrorCode.ARTIFACT_CORRUPT:
                self._hopeless[run_id] = _seen(folder)
            return Removal(path=folder, fate="failed", run_id=run_id, detail=error.message)
        except OSError as error:
            return Removal(path=folder, fate="failed", run_id=run_id, detail=str(error))

    def _remove(self, kind: ArtifactKind, run_id: str, folder: Path, *, oldest_kept: float) -> Removal | None:
        """None for what stays: not stored yet, changed since, in use, stored elsewhere without all that lies here."""
        pointer, record = self._pointer(kind, run_id), self._completed(run_id)
        if pointer is None or record is None or record.artifact_file_id is None:
            return None
        form = read_form(folder, kind=kind, item_id=run_id)
        is_as_stored = form.manifest_sha256 == pointer.stored_manifest_sha256
        if not is_as_stored or not self._alone(kind, run_id, lambda _: None):
            return None
        if not is_all(form, folder):
            if not self._policy.dry_run:
                # Something came after the last seal: it is accounted for, and stored before the next look.
                self._alone(
                    kind, run_id, lambda place: None if is_all(form, place) else seal_again(place, {})
                )
            return None
        if record.artifact_file_id == pointer.artifact_file_id:
            self._acknowledged.require(form, record.artifact_file_id, folder)
        else:
            newer = self._with_all_of(form, record, kind=kind)
            if newer is None:
                self._settled.pop(run_id, None)  # it is stored once more first
                return None
            self._acknowledged.require(newer, record.artifact_file_id, None)
        num_files, num_bytes = _freed(folder)
        removal = partial(Removal, path=folder, run_id=run_id, num_files=num_files, num_bytes=num_bytes)
        if self._policy.dry_run:
            return removal(fate="due")

        def is_still_due(place: Path) -> bool:
            is_same = sha256_of(place / MANIFEST) == form.manifest_sha256 and is_all(form, place)
            return is_same and self._artifacts.used_at(kind, run_id) <= oldest_kept

        return (
            removal(fate="removed") if self._artifacts.remove(kind, run_id, if_still=is_still_due) else None
        )

    def _alone(self, kind: ArtifactKind, run_id: str, act: Callable[[Path], object]) -> bool:
        """Does something with a folder while nobody uses it; False when somebody does."""
        acted: list[object] = []

        def and_keep(folder: Path) -> bool:
            acted.append(act(folder))
            return False

        self._artifacts.remove(kind, run_id, if_still=and_keep)
        return bool(acted)

    def _go_on(self, _share: float) -> None:
        if self._stop.is_set():
            raise _Stopping

    def _pointer(self, kind: ArtifactKind, run_id: str) -> RunPointer | None:
        """Of an artifact that has been stored."""
        pointer = self._artifacts.read_pointer(run_id)
        is_stored = pointer is not None and pointer.kind == kind and pointer.artifact_file_id is not None
        return pointer if is_stored else None

    def _items(self) -> Iterator[tuple[ArtifactKind, str, Path]]:
        for kind in KINDS:
            try:
                names = sorted(entry.name for entry in os.scandir(self._root / kind))
            except FileNotFoundError:
                continue
            for name in filter(is_ulid, names):
                folder = self._artifacts.here(kind, name)
                if folder is not None:
                    yield kind, name, folder


def _seen(folder: Path) -> Seen | None:
    try:
        status = (folder / MANIFEST).stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size


def _freed(folder: Path) -> tuple[int, int]:
    """Files of a folder, and the bytes that go with it: what the store links to stays on the disk."""
    found = [path.lstat() for path in files_of(folder)]
    return len(found), sum(status.st_size for status in found if status.st_nlink == 1)
