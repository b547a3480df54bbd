import os
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from model_trainer.core.config.settings import CleanupSettings
from model_trainer.core.contracts.corpus import CorpusDigest, SplitPlan
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.storage import CorpusSource
from model_trainer.engine.data.corpus import passages, scan_corpus
from model_trainer.engine.data.token_blocks import pack, pack_whole
from model_trainer.engine.data.token_splits import TokenSplits
from model_trainer.maintenance.leftovers import LeftoverCleaner
from tests.unit.engine.evaluation.toys import ByteTokenizer

PLAN = SplitPlan(
    split_by="line", validation_fraction=0.2, test_fraction=0.1, seed=3, encoding_errors="strict"
)


class Corpus:
    """A scanned folder of text and a cache beside it."""

    def __init__(self, folder: Path, text: str) -> None:
        self.base = folder / "corpus"
        self.base.mkdir()
        (self.base / "a.txt").write_text(text)
        self.cache = folder / "cache"
        self.source = CorpusSource(
            corpus_path="corpus", base=self.base, names=("a.txt",), num_bytes=len(text.encode())
        )
        self.digest: CorpusDigest = scan_corpus(self.source, encoding_errors="strict", report=lambda *_: None)
        self.reports: list[tuple[float, str]] = []

    def pack(
        self,
        *,
        plan: SplitPlan = PLAN,
        tokenizer: ByteTokenizer | None = None,
        block_size: int = 16,
        threads: int = 2,
    ) -> TokenSplits:
        return pack(
            self.source,
            self.digest,
            plan=plan,
            tokenizer=tokenizer or ByteTokenizer(),
            cache=self.cache,
            block_size=block_size,
            threads=threads,
            report=lambda share, message: self.reports.append((share, message)),
        )

    def stream(self, split: str, *, plan: SplitPlan = PLAN) -> list[int]:
        """What the stream of a split must be, made the plain way."""
        ids: list[int] = []
        name = next(each for each in ("train", "validation", "test") if each == split)
        for passage in passages(self.source, self.digest, plan=plan, split=name):
            ids += [] if passage.continues else [256]
            ids += list(passage.text.encode())
        return ids

    def entries(self) -> list[str]:
        return sorted(path.name for path in self.cache.iterdir()) if self.cache.exists() else []


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return Corpus(tmp_path, "".join(f"line {number} says naïve things\n" for number in range(400)))


def test_streams_hold_the_passages_with_an_end_of_text_before_each_document(corpus: Corpus) -> None:
    splits = corpus.pack()
    assert splits.train.tokens().tolist() == corpus.stream("train")
    assert splits.validation.tokens().tolist() == corpus.stream("validation")
    assert splits.test.tokens().tolist() == corpus.stream("test")
    num_bytes = sum(split.facts.num_bytes for split in (splits.train, splits.validation, splits.test))
    assert num_bytes == corpus.digest.num_bytes


@pytest.mark.parametrize("threads", [1, 5])
def test_threads_do_not_change_a_byte(tmp_path: Path, threads: int) -> None:
    corpus = Corpus(tmp_path, "".join(f"line {number}\n" * 40 for number in range(6000)))
    tokenizer = ByteTokenizer()
    splits = corpus.pack(tokenizer=tokenizer, threads=threads)
    assert tokenizer.num_batches > 3
    assert splits.train.tokens().tolist() == corpus.stream("train")


def test_packing_the_same_again_comes_from_the_cache(corpus: Corpus) -> None:
    first = corpus.pack()
    header = first.train.path.parent / "header.json"
    os.utime(header, (1000, 1000))
    tokenizer = ByteTokenizer()
    assert corpus.pack(tokenizer=tokenizer) == first
    assert tokenizer.num_batches == 0
    assert header.stat().st_mtime > 1000, "the clean-up sees that it was used"


def test_corpus_tokenizer_plan_and_block_size_each_make_an_entry_of_its_own(
    corpus: Corpus, tmp_path: Path
) -> None:
    corpus.pack()
    corpus.pack(block_size=17)
    corpus.pack(tokenizer=ByteTokenizer(end_of_text=False))
    corpus.pack(plan=PLAN.model_copy(update={"seed": 4}))
    (tmp_path / "other").mkdir()
    other = Corpus(tmp_path / "other", "other text\n" * 400)
    other.cache = corpus.cache
    other.pack()
    assert len(corpus.entries()) == 5


def test_a_vocabulary_beyond_16_bits_takes_32(corpus: Corpus) -> None:
    splits = corpus.pack(tokenizer=ByteTokenizer(vocab_size=70_000))
    assert splits.train.path.stat().st_size == 4 * splits.train.facts.num_tokens
    assert splits.train.tokens().tolist() == corpus.stream("train")


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: (entry / "train.bin").write_bytes(b""),
        lambda entry: (entry / "train.bin").write_bytes(b"\xff" + (entry / "train.bin").read_bytes()[1:]),
        lambda entry: (entry / "test.bin").unlink(),
        lambda entry: (entry / "header.json").unlink(),
        lambda entry: (entry / "header.json").write_text("{}"),
        lambda entry: (entry / "header.json").write_text(
            (entry / "header.json").read_text().replace('"num_words": ', '"num_words": 1')
        ),
        lambda entry: (entry / "header.json").write_text(
            (entry / "header.json").read_text().replace('"train":', '"trains":')
        ),
    ],
    ids=["cut", "flipped", "missing", "no header", "empty header", "changed header", "other header"],
)
def test_a_damaged_entry_is_packed_anew(corpus: Corpus, damage: object) -> None:
    assert callable(damage)
    first = corpus.pack()
    damage(first.train.path.parent)
    tokenizer = ByteTokenizer()
    again = corpus.pack(tokenizer=tokenizer)
    assert tokenizer.num_batches > 0
    assert again == first
    assert again.train.tokens().tolist() == corpus.stream("train")
    assert len(corpus.entries()) == 1


def test_an_entry_under_a_name_that_is_not_its_own_is_packed_anew(corpus: Corpus) -> None:
    first, second = corpus.pack(), corpus.pack(block_size=17)
    shutil.rmtree(second.train.path.parent)
    shutil.copytree(first.train.path.parent, second.train.path.parent)
    tokenizer = ByteTokenizer()
    corpus.pack(block_size=17, tokenizer=tokenizer)
    assert tokenizer.num_batches > 0


def test_progress_is_told_and_ends_at_one(corpus: Corpus) -> None:
    corpus.pack()
    shares = [share for share, _ in corpus.reports]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert corpus.reports[0][1] == "Tokenising the train text"


def test_a_cancelled_packing_leaves_nothing_behind(corpus: Corpus) -> None:
    def stop(_share: float, _message: str) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        pack(
            corpus.source,
            corpus.digest,
            plan=PLAN,
            tokenizer=ByteTokenizer(),
            cache=corpus.cache,
            block_size=16,
            threads=2,
            report=stop,
        )
    assert corpus.entries() == []
    assert not any(thread.name.startswith("tokenise") for thread in threading.enumerate())


def test_a_corpus_that_changed_leaves_nothing_behind(corpus: Corpus) -> None:
    path = corpus.base / "a.txt"
    path.write_text(path.read_text().replace("says", "sang"))
    with pytest.raises(AppError) as caught:
        corpus.pack()
    assert caught.value.code is ErrorCode.DATA_CHANGED
    assert corpus.entries() == []


def test_a_failing_tokenizer_ends_packing(corpus: Corpus) -> None:
    class Failing(ByteTokenizer):
        def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        corpus.pack(tokenizer=Failing())
    assert corpus.entries() == []


@pytest.mark.parametrize(
    ("changes", "block_size", "words"),
    [
        ({}, 100_000, "The train text has"),
        ({"validation_fraction": 0.01}, 3000, "a larger holdout_fraction"),
        ({}, 3000, "The validation text has"),
    ],
)
def test_less_than_one_window_is_refused_with_the_way_out(
    corpus: Corpus, changes: dict[str, float], block_size: int, words: str
) -> None:
    with pytest.raises(AppError, match=words) as caught:
        corpus.pack(plan=PLAN.model_copy(update=changes), block_size=block_size)
    assert caught.value.code is ErrorCode.DATA_TOO_SMALL
    assert [fault.pointer for fault in caught.value.faults] == ["/corpus_path", "/max_seq_len"]
    assert corpus.entries() == []


def test_a_text_from_outside_without_a_second_token_is_refused_and_no_window_blamed(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, "a")
    with pytest.raises(AppError, match="needs at least 2") as caught:
        pack_whole(
            corpus.source,
            corpus.digest,
            tokenizer=ByteTokenizer(end_of_text=False),
            cache=corpus.cache,
            encoding_errors="strict",
            threads=1,
            report=lambda *_: None,
        )
    assert [fault.pointer for fault in caught.value.faults] == ["/corpus_path"]


def test_a_test_text_may_be_shorter_than_a_window(corpus: Corpus) -> None:
    plan = PLAN.model_copy(update={"validation_fraction": 0.4, "test_fraction": 0.02})
    splits = corpus.pack(plan=plan, block_size=2000)
    assert 0 < splits.test.facts.num_tokens < 2000


def test_a_split_that_nobody_asked_for_is_empty(corpus: Corpus) -> None:
    splits = corpus.pack(plan=PLAN.model_copy(update={"test_fraction": 0.0}))
    assert splits.test.facts.num_tokens == 0
    assert splits.test.tokens().tolist() == []


def test_a_text_from_outside_is_packed_whole(corpus: Corpus) -> None:
    split = pack_whole(
        corpus.source,
        corpus.digest,
        tokenizer=ByteTokenizer(),
        cache=corpus.cache,
        encoding_errors="strict",
        threads=1,
        report=lambda *_: None,
    )
    assert split.facts.num_bytes == corpus.digest.num_bytes
    assert (
        bytes(each for each in split.tokens().tolist() if each < 256) == (corpus.base / "a.txt").read_bytes()
    )
    assert split.end_of_text_id == 256


def test_two_processes_packing_the_same_text_end_with_one_entry(corpus: Corpus) -> None:
    class Rival(ByteTokenizer):
        """Another process finishes first, while this one still tokenises."""

        def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
            corpus.pack()
            return super().encode_batch(texts)

    splits = corpus.pack(tokenizer=Rival(), threads=1)
    assert splits.train.tokens().tolist() == corpus.stream("train")
    assert len(corpus.entries()) == 1


def test_a_cache_that_cannot_be_written_is_an_error(corpus: Corpus) -> None:
    class Thief(ByteTokenizer):
        """Somebody removes the folder that is being written."""

        def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
            for path in corpus.cache.iterdir():
                path.rename(corpus.base.parent / "gone")
            return super().encode_batch(texts)

    with pytest.raises(FileNotFoundError):
        corpus.pack(tokenizer=Thief(), threads=1)


def test_what_stands_in_the_way_of_an_entry_is_an_error(corpus: Corpus) -> None:
    entry = corpus.pack().train.path.parent
    shutil.rmtree(entry)

    class Blocking(ByteTokenizer):
        """A file takes the entry's name, while the entry is being written."""

        def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
            entry.touch()
            return super().encode_batch(texts)

    with pytest.raises(NotADirectoryError):
        corpus.pack(tokenizer=Blocking(), threads=1)
    assert corpus.entries() == [entry.name]


def _clean(cache: Path) -> int:
    """The clean-up, two days from now."""
    cleaner = LeftoverCleaner(
        roots=(),
        passing=(cache,),
        policy=CleanupSettings(enabled=True, verify_upload=True, dry_run=False, grace_period_seconds=86_400),
        now=lambda: time.time() + 2 * 86_400,
    )
    return cleaner.clean()


def test_a_cache_entry_stays_for_as_long_as_a_job_uses_a_split_of_it(corpus: Corpus) -> None:
    validation = corpus.pack().validation
    again = corpus.pack()
    assert _clean(corpus.cache) == 0
    assert again.train.path.exists()
    del again
    assert _clean(corpus.cache) == 0
    assert validation.path.exists()
    del validation
    assert _clean(corpus.cache) == 1
    assert corpus.entries() == []


def test_a_split_outlives_its_file(corpus: Corpus) -> None:
    """Where locks do not reach, as on some network disks, the map does."""
    splits = corpus.pack()
    shutil.rmtree(corpus.cache)
    assert splits.validation.tokens().tolist() == corpus.stream("validation")


def test_each_use_of_a_split_marks_its_entry_as_used(corpus: Corpus) -> None:
    split = corpus.pack().train
    entry = split.path.parent
    os.utime(entry, (1000, 1000))
    split.tokens()
    assert entry.stat().st_mtime > 1000
