"""A corpus, read as a stream: checked, digested, cut into passages, dealt to splits. Torch-free; knows no tokens."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from model_trainer.core.contracts.base import dump_json
from model_trainer.core.contracts.corpus import (
    CorpusDigest,
    CorpusFile,
    EncodingErrors,
    SplitName,
    SplitPlan,
)
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import open_regular
from model_trainer.core.ports.storage import CorpusSource
from model_trainer.engine.data.documents import FileReading, Piece, format_of, is_blank
from model_trainer.engine.data.splits import (
    PassageDealer,
    deal_files,
    share_of,
    too_small,
    wanted_splits,
)

PASSAGE_CHARACTERS = 8192
"""About as long is a passage: short enough for even splits, long enough to learn from what hangs together."""
MAX_PASSAGE_CHARACTERS = 1 << 20
"""A line without an end is cut here, so that memory stays bounded."""
_MIN_PASSAGES = 64
_PASSAGES_IN_SMALLEST_SPLIT = 4
_MAX_PEEKED_FILES = 64

ScanReport = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Passage:
    """Text that is learnt from in one go."""

    text: str
    continues: bool
    """It follows the previous passage of its split without a gap; otherwise an end-of-text token goes between."""


def scan_corpus(source: CorpusSource, *, encoding_errors: EncodingErrors, report: ScanReport) -> CorpusDigest:
    """Reads everything once: checks encoding and format, counts, hashes.

    `report(bytes_done, bytes_total)` is called about once a MiB and may raise to stop. Raises
    DATA_ENCODING_INVALID, DATA_FORMAT_UNSUPPORTED, DATA_EMPTY.
    """
    done = documents = characters = replaced = 0
    has_text = False
    files: list[CorpusFile] = []

    def heard(num_bytes: int) -> None:
        nonlocal done
        done += num_bytes
        report(done, source.num_bytes)

    for name in source.names:
        with open_regular(source.base / name, below=source.base) as file:
            reading = FileReading(file, name=name, encoding_errors=encoding_errors, heard=heard)
            for piece in reading.pieces():
                documents += piece.starts_document
                characters += len(piece.text)
                has_text = has_text or not is_blank(piece.text)
        replaced += reading.num_replaced
        files.append(CorpusFile(path=name, num_bytes=reading.num_bytes, sha256=reading.sha256))
    if not has_text:
        raise _empty(source)
    rows = dump_json([[file.path, file.num_bytes, file.sha256] for file in files])
    return CorpusDigest(
        sha256=hashlib.sha256(rows.encode()).hexdigest(),
        num_bytes=done,
        num_files=len(files),
        num_documents=documents,
        num_characters=characters,
        num_replaced=replaced,
        files=tuple(files),
    )


def peek_corpus(source: CorpusSource, *, encoding_errors: EncodingErrors, max_bytes: int = 65536) -> None:
    """A bounded first look, cheap enough for a request: raises what scan_corpus would, for what it sees."""
    left = max_bytes
    nothing_seen = True
    for name in source.names[:_MAX_PEEKED_FILES]:
        if left <= 0:
            return
        with open_regular(source.base / name, below=source.base) as file:
            reading = FileReading(file, name=name, encoding_errors=encoding_errors, heard=lambda _: None)
            nothing_seen = not reading.shows_text(left) and nothing_seen
            left -= file.tell()
    if nothing_seen and left > 0 and len(source.names) <= _MAX_PEEKED_FILES:
        raise _empty(source)


def passages(
    source: CorpusSource, digest: CorpusDigest, *, plan: SplitPlan, split: SplitName
) -> Iterator[Passage]:
    """The text of one split, in the order of the corpus.

    What is read is hashed again. Raises DATA_CHANGED when the corpus is not what `digest` says, DATA_TOO_SMALL
    when a split that should hold something got nothing.
    """
    if share_of(plan, split) <= 0:
        return
    last = -1
    for index, dealt in enumerate(_dealt(source, digest, plan, only=split)):
        if dealt.split == split:
            yield Passage(dealt.text, continues=not dealt.starts_document and last == index - 1)
            last = index
    if last < 0:
        raise _no_passage(split)


def check_splits(source: CorpusSource, digest: CorpusDigest, *, plan: SplitPlan) -> None:
    """Raises DATA_TOO_SMALL when a wanted split would stay empty; reads no further than it must."""
    missing = set(wanted_splits(plan))
    for dealt in _dealt(source, digest, plan, only=None):
        missing.discard(dealt.split)
        if not missing:
            return
    raise _no_passage(*sorted(missing))


def texts(
    source: CorpusSource, digest: CorpusDigest, *, plan: SplitPlan, split: SplitName
) -> Callable[[], Iterator[str]]:
    """Gives a fresh pass over a split's text each time it is called: what tokenizers train on."""

    def one_pass() -> Iterator[str]:
        return (passage.text for passage in passages(source, digest, plan=plan, split=split))

    return one_pass


@dataclass(frozen=True, slots=True)
class _Dealt:
    text: str
    starts_document: bool
    split: SplitName


def _dealt(
    source: CorpusSource, digest: CorpusDigest, plan: SplitPlan, *, only: SplitName | None
) -> Iterator[_Dealt]:
    """All passages with their splits. By files, those of other splits than `only` are not read at all."""
    _check_sizes(source, digest)
    if plan.split_by == "file":
        by_file = deal_files(digest.files, plan)
        for file in digest.files:
            split = by_file[file.path]
            if only in (None, split):
                for piece in _cut(_verified_pieces(source, file, plan), target=PASSAGE_CHARACTERS):
                    yield _Dealt(piece.text, piece.starts_document, split)
        return
    dealer = PassageDealer(plan)
    target = _passage_characters(digest, plan)
    for file in digest.files:
        # A row is meant to stay whole: it is cut only where a passage would be too long anyway.
        wish = target if format_of(file.path) == "text" else PASSAGE_CHARACTERS
        for piece in _cut(_verified_pieces(source, file, plan), target=wish):
            yield _Dealt(piece.text, piece.starts_document, dealer.deal())


def _passage_characters(digest: CorpusDigest, plan: SplitPlan) -> int:
    """Shorter passages for a small corpus or a small holdout, so that every split gets a few."""
    smallest = min(share_of(plan, split) for split in wanted_splits(plan))
    num_passages = max(_MIN_PASSAGES, round(_PASSAGES_IN_SMALLEST_SPLIT / smallest))
    return max(1, min(PASSAGE_CHARACTERS, digest.num_characters // num_passages))


def _verified_pieces(source: CorpusSource, file: CorpusFile, plan: SplitPlan) -> Iterator[Piece]:
    """A file's text; whatever is wrong with it now was not so when it was scanned."""
    try:
        with open_regular(source.base / file.path, below=source.base) as opened:
            reading = FileReading(
                opened, name=file.path, encoding_errors=plan.encoding_errors, heard=lambda _: None
            )
            yield from reading.pieces()
    except AppError as error:
        raise _changed(file.path) from error
    if reading.sha256 != file.sha256:
        raise _changed(file.path)


def _cut(pieces: Iterable[Piece], *, target: int) -> Iterator[Piece]:
    """Pieces cut anew: at the first line end after `target` characters, whatever blocks the text came in."""
    rest, starts = "", True
    for piece in pieces:
        if piece.starts_document:
            if rest:
                yield Piece(rest, starts)
            rest, starts = "", True
        rest += piece.text
        begin = 0
        while end := _passage_end(rest, begin, target):
            yield Piece(rest[begin:end], starts)
            begin, starts = end, False
        rest = rest[begin:]
    if rest:
        yield Piece(rest, starts)


def _passage_end(text: str, begin: int, target: int) -> int:
    """Where the passage that begins there ends; 0 when that takes more text to say."""
    limit = begin + MAX_PASSAGE_CHARACTERS
    line_end = text.find("\n", begin + target - 1, limit)
    if line_end >= 0:
        return line_end + 1
    if len(text) <= limit:
        return 0
    space = text.rfind(" ", limit - MAX_PASSAGE_CHARACTERS // 2, limit)
    return space + 1 if space >= 0 else limit


def _check_sizes(source: CorpusSource, digest: CorpusDigest) -> None:
    """A cheap look before anything is read: the same names, the same sizes."""
    known = {file.path: file.num_bytes for file in digest.files}
    for name in sorted(known.keys() ^ set(source.names)):
        raise _changed(name)
    for name, num_bytes in known.items():
        path = source.base / name
        if not path.is_file() or path.stat().st_size != num_bytes:
            raise _changed(name)


def _changed(name: str) -> AppError:
    return AppError(
        ErrorCode.DATA_CHANGED,
        f"{name} is not what it was when this job read the corpus first. Leave a corpus alone while a job runs, "
        "and start the job again.",
        facts={"file": name},
    )


def _empty(source: CorpusSource) -> AppError:
    return AppError(
        ErrorCode.DATA_EMPTY,
        f"There is no text in {source.corpus_path}. Put text into its files, or name another corpus.",
    )


def _no_passage(*splits: SplitName) -> AppError:
    return too_small(f"no passage is left for {' and '.join(splits)}")
