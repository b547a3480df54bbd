"""Where bytes live for good: files by digest, uploads on their way there, and who refers to what."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from model_trainer.core.contracts.files import FilePage, NewUpload, StoredFile, Upload


class ArtifactStore(Protocol):
    """Files by the SHA-256 of their content. What is there is whole and never changes.

    Adapters raise STORE_UNAVAILABLE when the store cannot be reached or refuses to work, DISK_FULL where it has no room.
    """

    @property
    def is_local(self) -> bool:
        """Whether its bytes lie on a disk of this machine."""
        ...

    def find(self, file_id: str) -> StoredFile | None:
        """A file that is there; None for one that is not."""
        ...

    def put(self, path: Path, *, file_id: str, num_bytes: int) -> StoredFile:
        """Stores the first `num_bytes` of a file that this machine has; at once when the store has them already.

        Returns when the store has acknowledged them. A put that was interrupted is taken up where the store allows it. Raises
        DIGEST_MISMATCH when the bytes are not those of `file_id`: nothing is stored then.
        """
        ...

    def read(self, file_id: str, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to `stop`, in pieces; memory does not grow with the file. Raises FILE_NOT_FOUND before the
        first piece. Whoever reads all of a file checks its digest."""
        ...

    def delete(self, file_id: str) -> None:
        """Removes a file; a file that is not there is no fault."""
        ...

    def list_files(self, *, prefix: str = "", after: str | None = None, limit: int) -> FilePage:
        """Files whose id starts with `prefix`, in the order of their ids, behind `after`."""
        ...

    def check(self) -> None:
        """Raises STORE_UNAVAILABLE, with the way out, when it cannot be worked with."""
        ...


class Uploads(Protocol):
    """Files that come in parts: kept beside the store until they are whole."""

    def begin(self, new: NewUpload) -> Upload:
        """A place for a file to come."""
        ...

    def find(self, upload_id: str) -> Upload:
        """How far it has come; raises FILE_NOT_FOUND."""
        ...

    def append(self, upload_id: str, *, offset: int) -> "Part":
        """Opens the upload for its next part. Raises FILE_NOT_FOUND, and CONFLICT, naming the right one, for an offset where it
        does not stand, or while another part is coming."""
        ...

    def whole(self, upload_id: str) -> AbstractContextManager[tuple[Path, str, int]]:
        """Inside: where the bytes lie, their digest and number; nobody takes them away meanwhile. The upload is gone when the
        inside ends well, and stays when it raises.

        Raises FILE_NOT_FOUND; CONFLICT when bytes are missing, or somebody else is at it; DIGEST_MISMATCH when it is not
        the file that was announced: the upload is gone then."""
        ...

    def abort(self, upload_id: str) -> None:
        """Forgets an upload and its bytes. Raises FILE_NOT_FOUND; CONFLICT while somebody has it as a whole."""
        ...


class Part(Protocol):
    """A part while it comes."""

    def write(self, data: bytes) -> None:
        """Appends; raises REQUEST_TOO_LARGE beyond the announced or the largest allowed size, DISK_FULL."""
        ...

    def close(self) -> Upload:
        """Ends the part, durably: what was written counts, also when the sender broke off."""
        ...


class References(Protocol):
    """Who needs a file or a tokenizer, so that nothing is removed under a run that has begun to use it.

    A thing is `file:<file_id>` or `tokenizer:<tokenizer_id>`.
    """

    def refer(self, run_id: str, things: Sequence[str]) -> None:
        """Says, before a run is submitted, what it will need. Raises CONFLICT for a thing that is being removed: nothing is
        said then."""
        ...

    def release(self, run_id: str, things: Sequence[str]) -> None:
        """Takes that back: the run was never made, or has been forgotten."""
        ...

    def referred_by(self, thing: str, *, limit: int) -> tuple[str, ...]:
        """Some of the runs that need it, sorted."""
        ...

    def begin_removal(self, thing: str, *, owner: str, seconds: float) -> tuple[str, ...]:
        """Nobody can refer to the thing for the next seconds; or, when somebody does already, nothing happens and some of
        those runs are returned. `owner` is a word of this removal's own: CONFLICT is raised while another one goes on."""
        ...

    def end_removal(self, thing: str, *, owner: str) -> None:
        """It is gone, or stays: who refers to it now is told by looking. The removal of another owner goes on."""
        ...
