"""Artifact folders on this machine's disk, brought back from the store where they have left it."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model_trainer.core.artifact_files import MANIFEST
from model_trainer.core.contracts.ids import is_ulid
from model_trainer.core.contracts.manifest import ArtifactKind, Manifest, RunPointer
from model_trainer.core.contracts.run import RunKind, RunRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import fsync_folder, sha256_of
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.storage import FetchReport, KeptRecord, nobody_listens
from model_trainer.core.ports.store import ArtifactStore
from model_trainer.core.stored_artifact import form_at, has_all_of, is_all, stored_form
from model_trainer.infra.storage.artifact_tree import LocalArtifactTree
from model_trainer.infra.storage.fetching import fetch_artifact

log = get_logger(__name__)

MOST_AT_ONCE = 4
"""So many artifacts, or askers for one, are brought back by one process: a store that is slow must not have all threads of
an API wait for it."""


class StoredArtifactTree:
    """A LocalArtifactTree in front of an ArtifactStore. Where an artifact is stored, the record of its run says, or its
    pointer on this machine's disk while the record cannot be had."""

    def __init__(
        self, local: LocalArtifactTree, *, store: ArtifactStore, record_of: Callable[[str], RunRecord]
    ) -> None:
        """Nothing is fetched yet.

        Args:
            local: the folders of this machine.
            store: what has the others.
            record_of: the record of a run; raises RUN_NOT_FOUND, STORE_UNAVAILABLE.
        """
        self.local = local
        self._store = store
        self._record_of = record_of
        self._bringing = threading.BoundedSemaphore(MOST_AT_ONCE)

    def create(self, kind: ArtifactKind, item_id: str) -> Path:
        """See ArtifactTree."""
        return self.local.create(kind, item_id)

    def folder(self, kind: ArtifactKind, item_id: str) -> Path:
        """See ArtifactTree."""
        if self.local.here(kind, item_id) is None:
            with self._back(kind, item_id) as folder:
                return folder
        return self.local.folder(kind, item_id)

    @contextmanager
    def use(
        self, kind: ArtifactKind, item_id: str, *, report: FetchReport = nobody_listens
    ) -> Iterator[Path]:
        """See ArtifactTree. A copy that nobody has changed or uses here, while the artifact has gone on elsewhere, is fetched
        anew, unless it has something that would be lost."""
        self._renew_if_outdated(kind, item_id, report=report)
        with self._back(kind, item_id, report=report) as folder:
            yield folder

    def exists(self, kind: ArtifactKind, item_id: str) -> bool:
        """See ArtifactTree."""
        return self.local.exists(kind, item_id) or self._origin(kind, item_id) is not None

    def here(self, kind: ArtifactKind, item_id: str) -> Path | None:
        """See ArtifactTree."""
        return self.local.here(kind, item_id)

    def used_at(self, kind: ArtifactKind, item_id: str) -> float:
        """See ArtifactTree."""
        return self.local.used_at(kind, item_id)

    def remove(self, kind: ArtifactKind, item_id: str, *, if_still: Callable[[Path], bool]) -> bool:
        """See ArtifactTree."""
        return self.local.remove(kind, item_id, if_still=if_still)

    def file(self, kind: ArtifactKind, item_id: str, path: str) -> Path:
        """See ArtifactTree."""
        with self._back(kind, item_id):
            return self.local.file(kind, item_id, path)

    def files(self, kind: ArtifactKind, item_id: str) -> tuple[str, ...]:
        """See ArtifactTree."""
        with self._back(kind, item_id):
            return self.local.files(kind, item_id)

    def cache_folder(self) -> Path:
        """See ArtifactTree."""
        return self.local.cache_folder()

    def write_pointer(self, pointer: RunPointer) -> None:
        """See ArtifactTree."""
        self.local.write_pointer(pointer)

    def read_pointer(self, run_id: str) -> RunPointer | None:
        """See ArtifactTree."""
        return self.local.read_pointer(run_id)

    def free_bytes(self) -> int:
        """See ArtifactTree."""
        return self.local.free_bytes()

    def installation_id(self) -> str:
        """See ArtifactTree."""
        return self.local.installation_id()

    def keep_record(self, record: RunRecord) -> None:
        """See ArtifactTree."""
        self.local.keep_record(record)

    def kept_records(self) -> Iterator[KeptRecord]:
        """See ArtifactTree."""
        return self.local.kept_records()

    @contextmanager
    def _back(
        self, kind: ArtifactKind, item_id: str, *, report: FetchReport = nobody_listens
    ) -> Iterator[Path]:
        """The folder of an item, which is held meanwhile; brought back when it is not here."""
        is_known = self.local.here(kind, item_id) is not None or self._origin(kind, item_id) is not None
        if not is_known:
            self.local.folder(kind, item_id)  # which says so; nothing is made for what does not exist
        with self.local.held(item_id):
            if self.local.here(kind, item_id) is None:
                self._bring_back(kind, item_id, report=report)
            yield self.local.folder(kind, item_id)

    def _bring_back(self, kind: ArtifactKind, item_id: str, *, report: FetchReport) -> None:
        began = time.monotonic()
        with self._bringing_back(item_id, report=report):
            origin = self._origin(kind, item_id)
            if origin is None or self.local.here(kind, item_id) is not None:  # somebody else was faster
                return
            try:
                place = self._fetch(kind, item_id, origin.file_id, report=report)
            except AppError:
                # It may have been stored anew while we read, and the older one removed.
                again = self._origin(kind, item_id)
                if again is None or again.file_id == origin.file_id:
                    raise
                origin, place = again, self._fetch(kind, item_id, again.file_id, report=report)
            if origin.record is not None:
                self.local.write_pointer(
                    _pointer_of(origin.record, origin.file_id, place / MANIFEST, kind=kind)
                )
        log.info("artifact_brought_back", run_id=item_id, duration_seconds=time.monotonic() - began)

    @contextmanager
    def _bringing_back(self, item_id: str, *, report: FetchReport) -> Iterator[None]:
        """Inside, nobody else brings the item back; STORE_UNAVAILABLE where too many wait for the store already."""
        if not self._bringing.acquire(blocking=False):
            message = (
                f"{MOST_AT_ONCE} others wait for artifacts from the store already. Ask again in a moment."
            )
            raise AppError(ErrorCode.STORE_UNAVAILABLE, message)
        try:
            with self.local.fetching(item_id, waiting=lambda: report(0, 0)):
                yield
        finally:
            self._bringing.release()

    def _fetch(self, kind: ArtifactKind, item_id: str, file_id: str, *, report: FetchReport) -> Path:
        with self._fetched(kind, item_id, file_id, report=report) as (place, made):
            made.rename(place)
            fsync_folder(place.parent)
        return place

    @contextmanager
    def _fetched(
        self, kind: ArtifactKind, item_id: str, file_id: str, *, report: FetchReport
    ) -> Iterator[tuple[Path, Path]]:
        """Where the item belongs, and the whole of it beside that; what nobody has renamed inside goes again."""
        place, making = self.local.new_place(kind, item_id)
        try:
            fetch_artifact(self._store, file_id, making, kind=kind, item_id=item_id, report=report)
            yield place, making
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def _origin(self, kind: ArtifactKind, item_id: str) -> "_Origin | None":
        """Where an item is stored; None for one that is not."""
        if not is_ulid(item_id):
            return None
        try:
            record = self._record_of(item_id)
        except AppError as error:
            if error.code not in (ErrorCode.RUN_NOT_FOUND, ErrorCode.STORE_UNAVAILABLE):
                raise
            pointer = self.local.read_pointer(item_id)
            if pointer is None or pointer.kind != kind or pointer.artifact_file_id is None:
                return None
            return _Origin(file_id=pointer.artifact_file_id, record=None)
        if _KINDS.get(record.kind) != kind or record.artifact_file_id is None:
            return None
        return _Origin(file_id=record.artifact_file_id, record=record)

    def _renew_if_outdated(self, kind: ArtifactKind, item_id: str, *, report: FetchReport) -> None:
        newer = self._newer(kind, item_id)
        if newer is None:
            return
        try:
            with self._bringing_back(item_id, report=report):
                self._renew(kind, item_id, report=report)
        except AppError as error:
            if error.code not in (ErrorCode.FILE_NOT_FOUND, ErrorCode.ARTIFACT_CORRUPT):
                raise
            # What the record names is older than what lies here, and has been let go, or it is damaged: ours is the best.
            log.warning("newer_artifact_not_had", run_id=item_id, path=newer[1], detail=error.message)

    def _renew(self, kind: ArtifactKind, item_id: str, *, report: FetchReport) -> None:
        newer = self._newer(kind, item_id)  # somebody else may have been faster
        if newer is None:
            return
        record, file_id = newer
        theirs = form_at(self._store, file_id, kind=kind, item_id=item_id)
        if not self._may_go(kind, item_id, None if theirs is None else theirs.manifest):
            return
        with self._fetched(kind, item_id, file_id, report=report) as (place, made):
            manifest = Manifest.model_validate_json((made / MANIFEST).read_bytes())

            def has_nothing_new(folder: Path) -> bool:
                return self._is_unchanged(kind, item_id, folder, manifest)

            if self.local.replace(kind, item_id, made, if_still=has_nothing_new):
                self.local.write_pointer(_pointer_of(record, file_id, place / MANIFEST, kind=kind))
                log.info("outdated_artifact_replaced", run_id=item_id, path=file_id)

    def _newer(self, kind: ArtifactKind, item_id: str) -> tuple[RunRecord, str] | None:
        """A record by which the item is stored elsewhere than the copy that lies here, and where."""
        pointer = self.local.read_pointer(item_id) if self.local.here(kind, item_id) is not None else None
        if pointer is None or pointer.artifact_file_id is None:
            return None
        origin = self._origin(kind, item_id)
        if origin is None or origin.record is None or origin.file_id == pointer.artifact_file_id:
            return None
        return origin.record, origin.file_id

    def _may_go(self, kind: ArtifactKind, item_id: str, theirs: Manifest | None) -> bool:
        """Whether the copy here could be replaced now. Gigabytes are not fetched to find out that it cannot."""
        answers: list[bool] = []

        def ask(folder: Path) -> bool:
            answers.append(self._is_unchanged(kind, item_id, folder, theirs))
            return False

        self.local.remove(kind, item_id, if_still=ask)
        return any(answers)  # none for a copy that is in use

    def _is_unchanged(self, kind: ArtifactKind, item_id: str, folder: Path, theirs: Manifest | None) -> bool:
        """Whether the copy is as it was stored, and has nothing that theirs lacks; None is not known yet."""
        pointer = self.local.read_pointer(item_id)
        ours = stored_form((folder / MANIFEST).read_bytes(), kind=kind, item_id=item_id)
        is_as_stored = pointer is not None and ours.manifest_sha256 == pointer.stored_manifest_sha256
        return is_as_stored and is_all(ours, folder) and (theirs is None or has_all_of(theirs, ours.manifest))


@dataclass(frozen=True, slots=True)
class _Origin:
    file_id: str
    record: RunRecord | None
    """Where it was the record that said so."""


_KINDS: dict[RunKind, ArtifactKind] = {RunKind.TRAIN: "models", RunKind.TOKENIZER: "tokenizers"}
"""Of runs that have an artifact of their own."""


def _pointer_of(record: RunRecord, file_id: str, path: Path, *, kind: ArtifactKind) -> RunPointer:
    manifest = Manifest.model_validate_json(path.read_bytes())
    sha256 = sha256_of(path)
    return RunPointer(
        run_id=record.run_id,
        kind=kind,
        status=manifest.status,
        artifact_path=f"{kind}/{record.run_id}",
        manifest_sha256=sha256,
        user_id=record.user_id,
        family=record.family,
        created_at=manifest.created_at,
        finished_at=manifest.finished_at,
        artifact_file_id=file_id,
        stored_manifest_sha256=sha256,
    )
