"""Is the corpus there, is it text, and can it give what is asked for? A bounded look; the worker reads it all."""

from model_trainer.core.contracts.corpus import CorpusDigest, EncodingErrors, SplitName, SplitPlan
from model_trainer.core.contracts.run import Worker
from model_trainer.core.contracts.tokenizer import TokenizerSpec
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.ports.storage import CorpusRoot, CorpusSource
from model_trainer.engine.data.corpus import passages, peek_corpus, scan_corpus
from model_trainer.engine.data.splits import too_small, wanted_splits

BYTE_ALPHABET = 256
COMPRESSED = ".parquet"
PARQUET_EXTRA = "parquet"
SMALL_CORPUS_BYTES = 1 << 16
SMALL_CORPUS_FILES = 64
"""So much is read whole by a request; as much as the first look reads of a larger corpus."""

_TOKENS_OF_A_SPACE = 3
"""SentencePiece spells a space it did not learn with three byte tokens. Any other ASCII character is one token at most."""
_TOKENS_OF_A_FURTHER_BYTE = 11
"""Normalisation makes up to eleven bytes of one that is not ASCII (NFKC of U+FDFA), and a token stands for one or more."""


def check_corpus(
    corpora: CorpusRoot, corpus_path: str, *, encoding_errors: EncodingErrors, workers: tuple[Worker, ...]
) -> CorpusSource:
    """The corpus' files, after a first look where they are near; every refusal names the field `corpus_path`.

    Parquet is refused when workers are alive and none can read it; with no worker alive that stays open.
    """
    try:
        source = corpora.look_up(corpus_path)
        if source.is_near:
            peek_corpus(source, encoding_errors=encoding_errors)
        check_readable(source, workers=workers)
    except AppError as error:
        raise _at_field(error, "/corpus_path") from error
    return source


def check_readable(source: CorpusSource, *, workers: tuple[Worker, ...]) -> None:
    """Raises DATA_FORMAT_UNSUPPORTED for Parquet files when workers are alive and none can read them."""
    if workers and is_compressed(source) and not any(PARQUET_EXTRA in one.extras for one in workers):
        raise AppError(
            ErrorCode.DATA_FORMAT_UNSUPPORTED,
            "This corpus has Parquet files, which no worker can read: "
            'pip install "model-trainer[parquet]" where the workers run, or write the text as .jsonl.',
        )


def is_compressed(source: CorpusSource) -> bool:
    """Whether its files may hold more text than they have bytes."""
    return any(name.lower().endswith(COMPRESSED) for name in source.names)


def check_vocabulary(spec: TokenizerSpec, source: CorpusSource) -> None:
    """Raises VOCAB_TOO_LARGE for more entries than the corpus has bytes to make them from.

    Each entry beyond bytes and special tokens stands for text that occurs, so a corpus of n bytes gives at most n.
    """
    if not spec.vocab_size_is_exact or is_compressed(source):
        return
    most = BYTE_ALPHABET + len(spec.special_tokens) + source.num_bytes
    if spec.vocab_size > most:
        message = f"vocab_size {spec.vocab_size} is more than {source.num_bytes} bytes of text can give; ask for less."
        fault = FieldFault(pointer="/vocab_size", message=f"at most {most} for this corpus")
        raise AppError(ErrorCode.VOCAB_TOO_LARGE, message, faults=[fault])


def check_size(source: CorpusSource, plan: SplitPlan, *, window: int) -> None:
    """Raises DATA_TOO_SMALL when a split is certain to stay empty, or to hold no window and the token after it.

    A small corpus is read whole and dealt as the worker will deal it; of a larger one the files are counted.

    Args:
        window: tokens of a training window; 0 where any text will do.
    """
    try:
        wanted = wanted_splits(plan)
        if plan.split_by == "file" and len(source.names) < len(wanted):
            raise too_small(f"{len(source.names)} file(s) cannot make {len(wanted)} splits")
        if _is_small(source):
            digest = scan_corpus(source, encoding_errors=plan.encoding_errors, report=_unheard)
            for split in wanted:
                _check_split(source, digest, plan, split=split, window=window)
    except AppError as error:
        raise _at_field(error, "/corpus_path") from error


def _is_small(source: CorpusSource) -> bool:
    in_reach = (
        source.is_near and source.num_bytes <= SMALL_CORPUS_BYTES and len(source.names) <= SMALL_CORPUS_FILES
    )
    return in_reach and not is_compressed(source)


def _check_split(
    source: CorpusSource, digest: CorpusDigest, plan: SplitPlan, *, split: SplitName, window: int
) -> None:
    most = sum(_most_tokens(passage.text) for passage in passages(source, digest, plan=plan, split=split))
    needed = min(window + 1, 2) if split == "test" else window + 1
    if most < needed:
        message = (
            f"The corpus is too small: its {split} text has {most} tokens at most and needs {needed}. "
            f"Add text, ask for a smaller max_seq_len, or change the fractions."
        )
        raise AppError(ErrorCode.DATA_TOO_SMALL, message)


def _most_tokens(text: str) -> int:
    """More tokens than any tokenizer makes of a passage, an end-of-text token before it included."""
    num_ascii = len(text.encode("ascii", "ignore"))
    num_further = len(text.encode()) - num_ascii
    spaces = text.count(" ") * (_TOKENS_OF_A_SPACE - 1)
    return 1 + num_ascii + spaces + num_further * _TOKENS_OF_A_FURTHER_BYTE


def _unheard(_done: int, _total: int) -> None:
    """Nobody waits for the progress of so little."""


def _at_field(error: AppError, pointer: str) -> AppError:
    """The same error, with the field it is about."""
    faults = error.faults or (FieldFault(pointer=pointer, message=error.message),)
    return AppError(error.code, error.message, facts=error.facts, faults=faults)
