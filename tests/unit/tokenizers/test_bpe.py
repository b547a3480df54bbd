"""Byte-level BPE: what is its own beside the contract of all kinds."""

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path

import pytest

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.tokenizers.bpe import TOKENIZER
from model_trainer.tokenizers.bpe.backend import reported
from model_trainer.tokenizers.bpe.config import BpeSpec

WORDS = "the cat sat on the mat and the dog sat on the log\n" * 50


def test_more_entries_than_the_text_can_give_are_refused_with_the_number_it_can(
    train: Callable[..., JsonObject], tmp_path: Path
) -> None:
    with pytest.raises(AppError) as error:
        train(TOKENIZER, BpeSpec(corpus_path="x", vocab_size=4000), [WORDS])
    assert error.value.code == ErrorCode.VOCAB_TOO_LARGE
    assert [fault.pointer for fault in error.value.faults] == ["/vocab_size"]
    possible = error.value.facts["possible"]
    assert isinstance(possible, int)
    assert list(tmp_path.iterdir()) == []
    assert train(TOKENIZER, BpeSpec(corpus_path="x", vocab_size=possible), [WORDS]) == {
        "vocab_size": possible
    }


def test_rare_pairs_stay_out(train: Callable[..., JsonObject], tmp_path: Path) -> None:
    rare = WORDS + "zzzz " * 3
    train(TOKENIZER, BpeSpec(corpus_path="x", vocab_size=270, min_frequency=20), [rare])
    assert len(TOKENIZER.backend().load(tmp_path).encode("zz")) == 2


def test_special_tokens_come_first_and_in_order(train: Callable[..., JsonObject], tmp_path: Path) -> None:
    train(TOKENIZER, BpeSpec(corpus_path="x", vocab_size=270, special_tokens=("<eot>", "<pad>")), [WORDS])
    tokenizer = TOKENIZER.backend().load(tmp_path)
    assert tokenizer.decode([0, 1]) == "<eot><pad>"


def test_without_special_tokens_nothing_ends_a_text(train: Callable[..., JsonObject], tmp_path: Path) -> None:
    train(TOKENIZER, BpeSpec(corpus_path="x", vocab_size=270, special_tokens=()), [WORDS])
    assert TOKENIZER.backend().load(tmp_path).inspect().end_of_text_id is None


def test_progress_is_reported_while_text_goes_by(tmp_path: Path) -> None:
    seen: list[float] = []

    def texts() -> Iterator[str]:
        return iter([WORDS * 10] * 100)

    TOKENIZER.backend().train(
        texts,
        BpeSpec(corpus_path="x", vocab_size=270),
        num_bytes=len(WORDS) * 1000,
        folder=tmp_path,
        report=lambda fraction, message: seen.append(fraction),
    )
    assert seen == sorted(seen)
    assert len(seen) >= 3
    assert seen[-1] == 1


def test_reports_are_made_in_the_context_of_the_caller(tmp_path: Path) -> None:
    bound: ContextVar[str] = ContextVar("bound", default="lost")
    bound.set("kept")
    seen: set[str] = set()
    TOKENIZER.backend().train(
        lambda: iter([WORDS * 1000]),
        BpeSpec(corpus_path="x", vocab_size=270),
        num_bytes=len(WORDS) * 1000,
        folder=tmp_path,
        report=lambda fraction, message: seen.add(bound.get()),
    )
    assert seen == {"kept"}


def test_text_goes_by_unchanged_and_is_reported_once_a_mebibyte() -> None:
    seen: list[tuple[float, str]] = []
    pages = [WORDS * 250] * 20
    size = len(WORDS) * 250 * 20
    passed = reported(
        lambda: iter(pages), num_bytes=size, report=lambda fraction, message: seen.append((fraction, message))
    )
    assert list(passed) == pages
    assert [fraction for fraction, _ in seen] == sorted(fraction for fraction, _ in seen)
    assert len(seen) == 10 + 1  # every second page of 625,000 bytes, and the end
    assert seen[-1] == (0.8, "merging pairs")


def test_any_number_of_threads_gives_the_same_bytes(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, inspect\n"
        "from model_trainer.tokenizers.bpe import TOKENIZER\n"
        "from model_trainer.tokenizers.bpe.config import BpeSpec\n"
        "text = inspect.getsource(inspect)\n"
        "texts = [text[at:at + 4096] for at in range(0, len(text), 4096)]\n"
        "spec = BpeSpec(corpus_path='x', vocab_size=600, threads=int(sys.argv[1]))\n"
        "TOKENIZER.backend().train(lambda: iter(texts), spec, num_bytes=len(text), folder=pathlib.Path(sys.argv[2]),\n"
        "                          report=lambda fraction, message: None)\n"
    )
    digests = set()
    for threads in ("1", "3"):
        folder = tmp_path / threads
        folder.mkdir()
        subprocess.run([sys.executable, "-c", program, threads, str(folder)], check=True)
        digests.add(hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest())
    assert len(digests) == 1
