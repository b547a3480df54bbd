"""SentencePiece (Kudo & Richardson 2018, arXiv 1808.06226) trains; its model runs as tokenizer.json.

So transformers' AutoTokenizer gives the very same tokens. tokenizer.model is left beside it for the library itself.
"""

import io
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import assert_never

from sentencepiece import (
    SentencePieceNormalizer,
    SentencePieceProcessor,
    SentencePieceTrainer,
    set_min_log_level,
)

from model_trainer.core.compute.machine import usable_cpus
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.tokenizer import Normalisation, TokenizerSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import write_atomically
from model_trainer.core.ports.tokenizers import Tokenizer
from model_trainer.tokenizers.huggingface import (
    TokenizerFacts,
    load_tokenizer,
    vocabulary_too_large,
    write_folder,
)
from model_trainer.tokenizers.kind import Texts, TrainingReport
from model_trainer.tokenizers.sentencepiece.config import UNKNOWN, SentencePieceSpec
from model_trainer.tokenizers.sentencepiece.convert import ESCAPES, convert
from model_trainer.tokenizers.sentencepiece.sample import SENTENCE_CHARACTERS, Sample, sample_sentences

MODEL_FILE = "tokenizer.model"
_BYTE_SPELLING = "<0x123456789ABCDEF>"
_ONLY_ERRORS = 2


class SentencePieceBackend:
    """Trains and loads SentencePiece tokenizers."""

    def train(
        self, texts: Texts, spec: TokenizerSpec, *, num_bytes: int, folder: Path, report: TrainingReport
    ) -> JsonObject:
        """Trains on a bounded sample. Raises VOCAB_TOO_LARGE, CONFIG_INVALID (too small), TOKENIZER_TRAIN_FAILED."""
        if not isinstance(spec, SentencePieceSpec):
            raise AppError(ErrorCode.CONFIG_INVALID, "This is not a specification for method sentencepiece.")
        sample = sample_sentences(
            _normalised(texts, spec.normalisation),
            sample_bytes=spec.sample_bytes,
            num_bytes=num_bytes,
            seed=spec.seed,
            report=report,
        )
        if not sample.sentences:
            raise AppError(ErrorCode.DATA_EMPTY, "There is no text to train on. Put text into the corpus.")
        report(0.2, "learning pieces")
        model = _train(sample, spec)
        pieces = SentencePieceProcessor(model_proto=model)
        write_atomically(folder / MODEL_FILE, model)
        write_folder(
            folder,
            document=convert(pieces, spec, model_type=spec.model_type),
            facts=TokenizerFacts.of(spec, unknown_token=UNKNOWN, lossless=True),
            chat_template=spec.chat_template,
        )
        report(1.0, "tokenizer written")
        return {
            "vocab_size": pieces.get_piece_size(),
            "model_type": spec.model_type,
            "sample_sentences": len(sample.sentences),
            "sample_bytes": sample.num_bytes,
            "sample_fraction": sample.fraction,
            "sample_seed": spec.seed,
        }

    def load(self, folder: Path) -> Tokenizer:
        """The tokenizer in `folder`; raises ARTIFACT_CORRUPT."""
        return load_tokenizer(folder)


def _train(sample: Sample, spec: SentencePieceSpec) -> bytes:
    set_min_log_level(_ONLY_ERRORS)
    # What converts to a piece that text must never match is kept spellable by ordinary pieces.
    spelling = "".join(sorted(set("".join((_BYTE_SPELLING, UNKNOWN, *spec.special_tokens)))))
    special_tokens: list[str] = list(spec.special_tokens)
    written = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(sample.sentences),
            model_writer=written,
            model_type=spec.model_type,
            vocab_size=spec.vocab_size,
            character_coverage=spec.character_coverage,
            required_chars=spelling if spec.model_type == "unigram" else "",
            normalizer=SentencePieceNormalizer(
                norm_map=ESCAPES,
                add_dummy_prefix=False,
                remove_extra_whitespaces=False,
                escape_whitespaces=True,
            ),
            byte_fallback=True,
            allow_whitespace_only_pieces=True,
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            control_symbols=special_tokens,
            max_sentence_length=4 * SENTENCE_CHARACTERS,
            num_threads=spec.threads or usable_cpus(),
            minloglevel=_ONLY_ERRORS,
        )
    except RuntimeError as error:
        raise _translated(error, spec) from error
    return written.getvalue()


def _translated(error: RuntimeError, spec: SentencePieceSpec) -> AppError:
    text = str(error)
    if most := re.search(r"set it to a value <= (\d+)", text):
        return vocabulary_too_large(spec.vocab_size, int(most[1]))
    if least := re.search(r"smaller than required_chars\. \d+ vs (\d+)", text):
        return AppError(
            ErrorCode.CONFIG_INVALID,
            f"vocab_size {spec.vocab_size} is too small for the characters of this text. "
            f"Ask for more than {least[1]}, or for a lower character_coverage.",
            facts={"least": int(least[1])},
        )
    return AppError(
        ErrorCode.TOKENIZER_TRAIN_FAILED,
        "SentencePiece could not train on this text; the log has its own words.",
        facts={"detail": text},
    )


def _normalised(texts: Texts, normalisation: Normalisation) -> Texts:
    """Training text as tokenizer.json will normalise it; the model file itself normalises nothing."""

    def one_pass(change: Callable[[str], str]) -> Texts:
        return lambda: map(change, texts())

    match normalisation:
        case "none":
            return texts
        case "nfc":
            return one_pass(lambda text: unicodedata.normalize("NFC", text))
        case "nfkc":
            return one_pass(lambda text: unicodedata.normalize("NFKC", text))
        case "lowercase":
            return one_pass(str.lower)
        case _:
            assert_never(normalisation)
