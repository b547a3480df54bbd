"""A data root where the files of the store can be named as well: `sha256:<file_id>.<suffix>` in the place of a path."""

from collections.abc import Iterator
from contextlib import contextmanager

from model_trainer.core.contracts.files import FileReference, parse_reference
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.ports.storage import (
    TEXT_SUFFIXES,
    CorpusRoot,
    CorpusSource,
    FetchReport,
    nobody_listens,
)
from model_trainer.infra.storage.corpus_cache import CachedFile, LocalCorpusCache

SCHEME = "sha256:"


class FiledCorpora:
    """Corpora of a root, and files of the store by their digest."""

    def __init__(self, corpora: CorpusRoot, *, cache: LocalCorpusCache) -> None:
        """
        Args:
            corpora: answers for paths.
            cache: brings files of the store.
        """
        self._corpora = corpora
        self._cache = cache

    def locate(
        self,
        corpus_path: str,
        *,
        suffixes: tuple[str, ...] = TEXT_SUFFIXES,
        pointer: str = "/corpus_path",
        report: FetchReport = nobody_listens,
    ) -> CorpusSource:
        """See CorpusRoot."""
        if not corpus_path.startswith(SCHEME):
            return self._corpora.locate(corpus_path, suffixes=suffixes, pointer=pointer, report=report)
        with _named(pointer):
            reference = _readable(corpus_path, suffixes)
            return _source(corpus_path, reference, self._cache.fetch(reference, report=report))

    def look_up(
        self,
        corpus_path: str,
        *,
        suffixes: tuple[str, ...] = TEXT_SUFFIXES,
        pointer: str = "/corpus_path",
    ) -> CorpusSource:
        """See CorpusRoot."""
        if not corpus_path.startswith(SCHEME):
            return self._corpora.look_up(corpus_path, suffixes=suffixes, pointer=pointer)
        with _named(pointer):
            reference = _readable(corpus_path, suffixes)
            found = self._cache.look(reference)
            if isinstance(found, CachedFile):
                return _source(corpus_path, reference, found)
            _require_bytes(found.num_bytes)
            return CorpusSource(
                corpus_path=corpus_path,
                base=self._cache.place_of_entry(reference),
                names=(reference.name,),
                num_bytes=found.num_bytes,
                is_near=False,
            )


def _readable(corpus_path: str, suffixes: tuple[str, ...]) -> FileReference:
    reference = parse_reference(corpus_path)
    if reference is None:
        raise AppError(
            ErrorCode.DATA_NOT_FOUND,
            "is no file of the store: write sha256: and the 64 digits of its file_id (lower case), then its suffix, such as "
            ".jsonl",
        )
    if reference.suffix not in suffixes:
        raise AppError(
            ErrorCode.DATA_FORMAT_UNSUPPORTED,
            f"names a file of type {reference.suffix}; supported are {', '.join(suffixes)}",
        )
    return reference


def _source(corpus_path: str, reference: FileReference, cached: CachedFile) -> CorpusSource:
    _require_bytes(cached.num_bytes)
    return CorpusSource(
        corpus_path=corpus_path,
        base=cached.path.parent,
        names=(reference.name,),
        num_bytes=cached.num_bytes,
        hold=cached.hold,
    )


def _require_bytes(num_bytes: int) -> None:
    if num_bytes == 0:
        raise AppError(ErrorCode.DATA_EMPTY, "is an empty file; upload one with text")


@contextmanager
def _named(pointer: str) -> Iterator[None]:
    """Inside, a refusal names the field; a store that is away or a full disk is nobody's field."""
    try:
        yield
    except AppError as error:
        if error.code in (ErrorCode.STORE_UNAVAILABLE, ErrorCode.DISK_FULL):
            raise
        message = f"{pointer.split('/')[1]} {error.message}."
        fault = FieldFault(pointer=pointer, message=error.message)
        raise AppError(error.code, message, facts=error.facts, faults=[fault]) from error
