"""Is the corpus there, is it text, and can it give what is asked for? A bounded look; the worker reads it all."""

from model_trainer.core.contracts.corpus import EncodingErrors
from model_trainer.core.contracts.tokenizer import TokenizerSpec
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.ports.storage import CorpusRoot, CorpusSource
from model_trainer.engine.data.corpus import peek_corpus

BYTE_ALPHABET = 256
COMPRESSED = ".parquet"


def check_corpus(corpora: CorpusRoot, corpus_path: str, *, encoding_errors: EncodingErrors) -> CorpusSource:
    """The corpus' files, after a first look; every refusal names the field `corpus_path`."""
    try:
        source = corpora.locate(corpus_path)
        peek_corpus(source, encoding_errors=encoding_errors)
    except AppError as error:
        raise _at_field(error, "/corpus_path") from error
    return source


def check_vocabulary(spec: TokenizerSpec, source: CorpusSource) -> None:
    """Raises VOCAB_TOO_LARGE for more entries than the corpus has bytes to make them from.

    Each entry beyond bytes and special tokens stands for text that occurs, so a corpus of n bytes gives at most n.
    """
    if not spec.vocab_size_is_exact or any(name.endswith(COMPRESSED) for name in source.names):
        return
    most = BYTE_ALPHABET + len(spec.special_tokens) + source.num_bytes
    if spec.vocab_size > most:
        message = f"vocab_size {spec.vocab_size} is more than {source.num_bytes} bytes of text can give; ask for less."
        fault = FieldFault(pointer="/vocab_size", message=f"at most {most} for this corpus")
        raise AppError(ErrorCode.VOCAB_TOO_LARGE, message, faults=[fault])


def _at_field(error: AppError, pointer: str) -> AppError:
    """The same error, with the field it is about."""
    faults = error.faults or (FieldFault(pointer=pointer, message=error.message),)
    return AppError(error.code, error.message, facts=error.facts, faults=faults)
