"""What a run needs besides itself, kept from being removed under it: files of the store, and its tokenizer."""

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.files import references_in
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.ports.runs import RunStore
from model_trainer.core.ports.store import ArtifactStore, References

TOKENIZER_FIELD = "tokenizer_id"
LABELS_FIELD = "metadata"
"""Says whatever its author likes, also digests."""


def thing_of_file(file_id: str) -> str:
    """A file, as References name it."""
    return f"file:{file_id}"


def thing_of_tokenizer(tokenizer_id: str) -> str:
    """A tokenizer, as References name it."""
    return f"tokenizer:{tokenizer_id}"


def things_needed(spec: JsonObject) -> tuple[str, ...]:
    """What a run with this spec refers to: its files, then its tokenizer."""
    tokenizer_id = _tokenizer_of(spec)
    tokenizers = () if tokenizer_id is None else (thing_of_tokenizer(tokenizer_id),)
    return (*map(thing_of_file, _files_of(spec)), *tokenizers)


class Needs:
    """Refers to what runs need, and looks whether it is there."""

    def __init__(self, *, references: References, store: ArtifactStore, runs: RunStore) -> None:
        self._references = references
        self._store = store
        self._runs = runs

    def secure(self, run_id: str, spec: JsonObject) -> None:
        """From here on nothing that the run needs is removed.

        Raises TOKENIZER_NOT_FOUND and DATA_NOT_FOUND, naming the field, for what has gone, and CONFLICT for a file that is
        being removed.
        """
        self._secure_tokenizer(run_id, spec)
        file_ids = _files_of(spec)
        if file_ids:
            self._references.refer(run_id, [thing_of_file(file_id) for file_id in file_ids])
        # Only now: what was there before anybody referred to it may have been removed meanwhile.
        for file_id in file_ids:
            if self._store.find(file_id) is None:
                raise _no_file(file_id, spec)

    def let_go(self, run_id: str, spec: JsonObject) -> None:
        """The run was not made after all."""
        things = things_needed(spec)
        if things:
            self._references.release(run_id, things)

    def _secure_tokenizer(self, run_id: str, spec: JsonObject) -> None:
        tokenizer_id = _tokenizer_of(spec)
        if tokenizer_id is None:
            return
        try:
            self._references.refer(run_id, [thing_of_tokenizer(tokenizer_id)])
            self._runs.get(tokenizer_id)
        except AppError as error:
            if error.code not in (ErrorCode.CONFLICT, ErrorCode.RUN_NOT_FOUND):
                raise
            message = (
                f"There is no tokenizer {tokenizer_id} any more. GET /tokenizers lists those that are there."
            )
            fault = FieldFault(f"/{TOKENIZER_FIELD}", message)
            raise AppError(ErrorCode.TOKENIZER_NOT_FOUND, message, faults=[fault]) from error


def _files_of(spec: JsonObject) -> tuple[str, ...]:
    return references_in({name: value for name, value in spec.items() if name != LABELS_FIELD})


def _tokenizer_of(spec: JsonObject) -> str | None:
    tokenizer_id = spec.get(TOKENIZER_FIELD)
    return tokenizer_id if isinstance(tokenizer_id, str) else None


def _no_file(file_id: str, spec: JsonObject) -> AppError:
    message = f"The store has no file {file_id}. Upload it with POST /files, then order the run again."
    faults = [
        FieldFault(f"/{name}", message)
        for name, value in spec.items()
        if name != LABELS_FIELD and file_id in references_in(value)
    ]
    return AppError(ErrorCode.DATA_NOT_FOUND, message, faults=faults)
