"""Packs a corpus into token streams, once: tokenised in parallel, cached by what they depend on, whole or absent.

Knows neither models nor batches. Memory is bounded by a few chunks of text, however large the corpus is.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from model_trainer.core.contracts.corpus import CorpusDigest, EncodingErrors, SplitName, SplitPlan
from model_trainer.core.entry_hold import EntryHold
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.files import disk_errors
from model_trainer.core.ports.storage import CorpusSource
from model_trainer.core.ports.tokenizers import Tokenizer
from model_trainer.engine.data.corpus import Passage, passages
from model_trainer.engine.data.splits import share_of
from model_trainer.engine.data.token_cache import (
    SPLIT_NAMES,
    PackedHeader,
    PackingKey,
    entry_of,
    file_name,
    read_entry,
    write_entry,
)
from model_trainer.engine.data.token_splits import (
    SplitFacts,
    SplitWriter,
    TokenSplit,
    TokenSplits,
    token_type_for,
)

Report = Callable[[float, str], None]
"""Told how far packing has come (0 to 1, and what it does); may raise to stop it."""

_CHUNK_CHARACTERS = 1 << 19
"""Text one thread tokenises at a time: enough to make hand-over cheap, little enough to report several times a second."""


def pack(
    source: CorpusSource,
    digest: CorpusDigest,
    *,
    plan: SplitPlan,
    tokenizer: Tokenizer,
    cache: Path,
    block_size: int,
    threads: int,
    report: Report,
) -> TokenSplits:
    """The corpus as three token streams, from the cache where it has been packed before.

    Each document begins with an end-of-text token, when the tokenizer has one. Raises DATA_TOO_SMALL when train
    or validation has less than one window (`block_size` tokens and the one after them), DATA_CHANGED when the
    corpus is not what `digest` says, DISK_FULL, and whatever `report` raises; none of these leaves anything behind. The clean-up
    leaves the streams alone for as long as the splits are referred to.
    """
    key = PackingKey(
        corpus_sha256=digest.sha256,
        tokenizer_sha256=tokenizer.inspect().sha256,
        plan=plan,
        block_size=block_size,
    )
    entry = entry_of(cache, key)
    hold = EntryHold.of(entry)  # before it is read, so that it cannot go meanwhile
    header = read_entry(entry, key)
    if header is None:
        packing = _Packing(source=source, digest=digest, tokenizer=tokenizer, threads=threads, report=report)
        header = write_entry(entry, lambda folder: packing.write(folder, key))
        hold = EntryHold.of(entry)
    report(1.0, "Token blocks are ready")
    end_of_text_id = tokenizer.inspect().end_of_text_id

    def split(name: SplitName) -> TokenSplit:
        return TokenSplit(
            path=entry / file_name(name),
            token_type=header.token_type,
            end_of_text_id=end_of_text_id,
            facts=header.splits[name],
            hold=hold,
        )

    return TokenSplits(train=split("train"), validation=split("validation"), test=split("test"))


def pack_whole(
    source: CorpusSource,
    digest: CorpusDigest,
    *,
    tokenizer: Tokenizer,
    cache: Path,
    encoding_errors: EncodingErrors,
    threads: int,
    report: Report,
) -> TokenSplit:
    """A corpus that is not split, as one token stream: text from outside, to be evaluated. Raises as pack() does."""
    plan = SplitPlan(
        split_by="file", validation_fraction=0.0, test_fraction=0.0, seed=0, encoding_errors=encoding_errors
    )
    splits = pack(
        source,
        digest,
        plan=plan,
        tokenizer=tokenizer,
        cache=cache,
        block_size=1,
        threads=threads,
        report=report,
    )
    return splits.train


class _Packing:
    """One pass of work over all splits: text in, token files out, progress told."""

    def __init__(
        self,
        *,
        source: CorpusSource,
        digest: CorpusDigest,
        tokenizer: Tokenizer,
        threads: int,
        report: Report,
    ) -> None:
        self._source = source
        self._digest = digest
        self._tokenizer = tokenizer
        self._threads = threads
        self._report = report
        self._bytes_done = 0

    def write(self, folder: Path, key: PackingKey) -> PackedHeader:
        """Writes every split's file into `folder`."""
        info = self._tokenizer.inspect()
        token_type = token_type_for(info.vocab_size)
        splits: dict[SplitName, SplitFacts] = {}
        for name in SPLIT_NAMES:
            path = folder / file_name(name)
            with disk_errors(path), path.open("xb") as file:
                writer = SplitWriter(file, token_type=token_type, end_of_text_id=info.end_of_text_id)
                self._write_split(name, key.plan, writer)
                file.flush()
                os.fsync(file.fileno())
            splits[name] = writer.facts()
            _refuse_too_small(name, splits[name], key)
        return PackedHeader(key=key, token_type=token_type, splits=splits)

    def _write_split(self, name: SplitName, plan: SplitPlan, writer: SplitWriter) -> None:
        texts = passages(self._source, self._digest, plan=plan, split=name)
        with closing(_encoded(texts, self._tokenizer, threads=self._threads)) as chunks:
            for chunk, ids in chunks:
                before = writer.num_bytes
                for passage, passage_ids in zip(chunk, ids, strict=True):
                    writer.add(passage.text, passage_ids, continues=passage.continues)
                self._bytes_done += writer.num_bytes - before
                share = self._bytes_done / max(1, self._digest.num_bytes)
                self._report(min(1.0, share), f"Tokenising the {name} text")


def _encoded(
    texts: Iterable[Passage], tokenizer: Tokenizer, *, threads: int
) -> Generator[tuple[list[Passage], list[list[int]]]]:
    """Chunks of passages with their ids, in order; at most one chunk more than there are threads is under way."""
    waiting: deque[tuple[list[Passage], Future[list[list[int]]]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="tokenise") as pool:
        try:
            for chunk in _chunks(texts):
                waiting.append((chunk, pool.submit(tokenizer.encode_batch, [each.text for each in chunk])))
                if len(waiting) > threads:
                    oldest, future = waiting.popleft()
                    yield oldest, future.result()
            while waiting:
                oldest, future = waiting.popleft()
                yield oldest, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _chunks(texts: Iterable[Passage]) -> Iterator[list[Passage]]:
    chunk: list[Passage] = []
    num_characters = 0
    for passage in texts:
        chunk.append(passage)
        # Each passage costs something besides its text, so that a million empty ones do not make one chunk.
        num_characters += len(passage.text) + 64
        if num_characters >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, num_characters = [], 0
    if chunk:
        yield chunk


def _refuse_too_small(name: SplitName, facts: SplitFacts, key: PackingKey) -> None:
    needed = 2 if name == "test" else key.block_size + 1
    if share_of(key.plan, name) <= 0 or facts.num_tokens >= needed:
        return
    advice = {
        "train": "Use a larger corpus, a smaller max_seq_len, or smaller holdout_fraction and test_fraction.",
        "validation": "Use a larger corpus, a smaller max_seq_len, or a larger holdout_fraction.",
        "test": "Use a larger corpus, or a larger test_fraction (0 for none).",
    }[name]
    faults = [FieldFault("/corpus_path", f"needs at least {needed} tokens of {name} text")]
    if needed > 2:  # what asks for more than one token and the next is the window
        faults.append(FieldFault("/max_seq_len", "shorter windows need fewer tokens"))
    raise AppError(
        ErrorCode.DATA_TOO_SMALL,
        f"The {name} text has {facts.num_tokens} tokens and needs at least {needed}. {advice}",
        facts={"split": name, "num_tokens": facts.num_tokens, "needed": needed},
        faults=faults,
    )
