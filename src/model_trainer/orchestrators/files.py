"""Files by content: into the store, out of it, and away when nobody needs them. Knows no HTTP."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ulid import ULID

from model_trainer.core.contracts.files import FilePage, NewUpload, StoredFile, Upload
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.runs import RunStore
from model_trainer.core.ports.store import ArtifactStore, Part, References, Uploads
from model_trainer.orchestrators.needs import thing_of_file

REMOVAL_SECONDS = 300.0
"""Longer than any store takes to delete a file: until then no run can begin to need it."""
SUBMIT_SECONDS = 3600.0
"""A run that is not recorded so long after it got its id never will be."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that the store has now."""

    file: StoredFile
    is_new: bool


class FileOrchestrator:
    """The store and the uploads on their way there."""

    def __init__(
        self,
        *,
        store: ArtifactStore,
        uploads: Uploads,
        references: References,
        runs: RunStore,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock`: seconds since 1970."""
        self._store = store
        self._uploads = uploads
        self._references = references
        self._runs = runs
        self._clock = clock

    def find(self, file_id: str) -> StoredFile:
        """A file; raises FILE_NOT_FOUND."""
        found = self._store.find(file_id)
        if found is None:
            message = (
                f"The store has no file {file_id}. GET /files lists what is there; POST /files adds one."
            )
            raise AppError(ErrorCode.FILE_NOT_FOUND, message)
        return found

    def read(self, file_id: str, *, start: int, stop: int) -> Iterator[bytes]:
        """Bytes of a file, in pieces."""
        return self._store.read(file_id, start=start, stop=stop)

    def list_files(self, *, prefix: str, after: str | None, limit: int) -> FilePage:
        """Files in the order of their ids."""
        return self._store.list_files(prefix=prefix, after=after, limit=limit)

    def delete(self, file_id: str) -> None:
        """Removes a file; raises FILE_NOT_FOUND, and CONFLICT naming runs that need it, or while another removal goes on."""
        self.find(file_id)
        thing, owner = thing_of_file(file_id), new_ulid()
        needed_by = self._references.begin_removal(thing, owner=owner, seconds=REMOVAL_SECONDS)
        while needed_by and self._let_go_of_unborn(thing, needed_by):
            needed_by = self._references.begin_removal(thing, owner=owner, seconds=REMOVAL_SECONDS)
        if needed_by:
            named = ", ".join(needed_by)
            raise AppError(
                ErrorCode.CONFLICT,
                f"File {file_id} is needed by these runs, among others perhaps: {named}. It stays as long as they do.",
                facts={"num_runs": len(needed_by)},
            )
        try:
            self._store.delete(file_id)
        finally:
            self._references.end_removal(thing, owner=owner)

    def begin(self, new: NewUpload) -> Upload:
        """A place for a file to come."""
        return self._uploads.begin(new)

    def find_upload(self, upload_id: str) -> Upload:
        """How far an upload has come; raises FILE_NOT_FOUND."""
        return self._uploads.find(upload_id)

    def append(self, upload_id: str, *, offset: int) -> Part:
        """The upload's next part; raises FILE_NOT_FOUND, and CONFLICT where it does not stand at `offset`."""
        return self._uploads.append(upload_id, offset=offset)

    def complete(self, upload_id: str) -> Kept:
        """Puts a whole upload into the store. Raises FILE_NOT_FOUND; CONFLICT when bytes are missing, or it is being completed
        already; DIGEST_MISMATCH when it is not the file that was announced; what the store raises: the upload stays then,
        and can be completed again."""
        with self._uploads.whole(upload_id) as (path, file_id, num_bytes):
            is_new = self._store.find(file_id) is None
            stored = self._store.put(path, file_id=file_id, num_bytes=num_bytes)
        return Kept(file=stored, is_new=is_new)

    def abort(self, upload_id: str) -> None:
        """Forgets an upload and its bytes. Raises FILE_NOT_FOUND; CONFLICT while it is being completed."""
        self._uploads.abort(upload_id)

    def _let_go_of_unborn(self, thing: str, run_ids: tuple[str, ...]) -> bool:
        """Releases for runs that were never made, because who ordered them died on the way; whether there were any."""
        unborn = [run_id for run_id in run_ids if self._is_unborn(run_id)]
        for run_id in unborn:
            self._references.release(run_id, [thing])
        return bool(unborn)

    def _is_unborn(self, run_id: str) -> bool:
        if self._clock() - ULID.from_str(run_id).timestamp < SUBMIT_SECONDS:
            return False
        try:
            self._runs.get(run_id)
        except AppError as error:
            if error.code is not ErrorCode.RUN_NOT_FOUND:
                raise
            return True
        return False
