"""Byte-level BPE (Sennrich et al. 2016, arXiv 1508.07909; over bytes as in GPT-2) by the `tokenizers` library."""

from collections.abc import Iterator
from contextvars import Context, copy_context
from itertools import chain
from pathlib import Path

from tokenizers import Tokenizer as Fast
from tokenizers.trainers import BpeTrainer

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.tokenizer import TokenizerSpec
from model_trainer.core.ports.tokenizers import Tokenizer
from model_trainer.tokenizers.bpe.config import NUM_BYTES
from model_trainer.tokenizers.huggingface import (
    TokenizerFacts,
    limit_threads,
    load_tokenizer,
    normalisers,
    tokenizer_document,
    vocabulary_too_large,
    write_folder,
)
from model_trainer.tokenizers.kind import Texts, TrainingReport

_READING_SHARE = 0.8
"""Of the time; the rest goes into merging pairs, which cannot be interrupted."""
_REPORT_EVERY_BYTES = 1 << 20
_BYTE_LEVEL: JsonObject = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}


class BpeBackend:
    """Trains and loads byte-level BPE."""

    def train(
        self, texts: Texts, spec: TokenizerSpec, *, num_bytes: int, folder: Path, report: TrainingReport
    ) -> JsonObject:
        """Streams the text through the library's trainer. Raises VOCAB_TOO_LARGE."""
        limit_threads(spec.threads)
        fast = Fast.from_str(_untrained(spec))
        special_tokens: list[str] = list(spec.special_tokens)
        trainer = BpeTrainer(
            vocab_size=spec.vocab_size,
            min_frequency=spec.min_frequency,
            special_tokens=special_tokens,
            initial_alphabet=_byte_characters(),
            show_progress=False,
        )
        fast.train_from_iterator(reported(texts, num_bytes=num_bytes, report=report), trainer=trainer)
        possible = fast.get_vocab_size()
        if possible < spec.vocab_size:
            raise vocabulary_too_large(spec.vocab_size, possible)
        write_folder(
            folder,
            document=fast.to_str(),
            facts=TokenizerFacts.of(spec, unknown_token=None, lossless=True),
            chat_template=spec.chat_template,
        )
        report(1.0, "tokenizer written")
        return {"vocab_size": possible}

    def load(self, folder: Path) -> Tokenizer:
        """The tokenizer in `folder`; raises ARTIFACT_CORRUPT."""
        return load_tokenizer(folder)


def _byte_characters() -> list[str]:
    """The 256 characters that GPT-2's byte level writes bytes as: printable bytes as themselves, the others above."""
    printable = list(chain(range(0x21, 0x7F), range(0xA1, 0xAD), range(0xAE, 0x100)))
    others = range(0x100, 0x100 + NUM_BYTES - len(printable))
    return [chr(code) for code in chain(printable, others)]


def _untrained(spec: TokenizerSpec) -> str:
    return tokenizer_document(
        normaliser=normalisers(spec.normalisation),
        pre_tokenizer=_BYTE_LEVEL,
        model={"type": "BPE", "vocab": {}, "merges": []},
        decoder=_BYTE_LEVEL,
        special_ids={},
    )


def reported(texts: Texts, *, num_bytes: int, report: TrainingReport) -> Iterator[str]:
    """The text as it is, telling on the way how much of it has gone by.

    The library pulls the text from a thread of its own; reports are made in the context of who called this, so that
    what is bound to it (the run of a log line) stays bound.
    """
    return _reported(texts, num_bytes, report, copy_context())


def _reported(texts: Texts, num_bytes: int, report: TrainingReport, context: Context) -> Iterator[str]:
    done = told = 0
    for text in texts():
        yield text
        done += len(text.encode())
        if done - told >= _REPORT_EVERY_BYTES:
            told = done
            context.run(report, _READING_SHARE * min(1.0, done / max(1, num_bytes)), "counting words")
    context.run(report, _READING_SHARE, "merging pairs")
