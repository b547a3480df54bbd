"""Can this question be answered at all? What is asked before it is put in line; the worker reads files and counts tokens."""

from typing import assert_never

from model_trainer.api.validators.detector import check_texts
from model_trainer.core.contracts.inference import (
    BYTES_A_CHARACTER,
    LONGEST_DETAILED_TEXT,
    LONGEST_PROMPT,
    LONGEST_TEXT,
    PLAIN_SUFFIXES,
    ChatSpec,
    GenerateSpec,
    ScoreSpec,
    most_guesses,
)
from model_trainer.core.contracts.prediction import PredictSpec
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.ports.storage import CorpusRoot
from model_trainer.orchestrators.inference import AskSpec


def check_question(spec: AskSpec, *, corpora: CorpusRoot) -> None:
    """Raises what is wrong with a question, naming the field."""
    match spec:
        case GenerateSpec():
            _check_prompt(spec, corpora)
        case ScoreSpec():
            _check_score(spec, corpora)
        case ChatSpec():
            _check_says_something(spec.message, pointer="/message")
        case PredictSpec():
            check_texts(spec)
        case _:
            assert_never(spec)


def check_text_file(corpora: CorpusRoot, path: str, *, pointer: str, most_characters: int) -> None:
    """Raises, naming the field at `pointer`, for a path that is not one file of plain text, or one that is too long."""
    source = corpora.look_up(path, suffixes=PLAIN_SUFFIXES, pointer=pointer)
    if len(source.names) != 1:
        raise _invalid(pointer, f"holds {len(source.names)} files; name one of them")
    if source.num_bytes > most_characters * BYTES_A_CHARACTER:
        why = f"is longer than {most_characters:,} characters ({source.num_bytes:,} bytes); take a part of it"
        raise _invalid(pointer, why)


def _check_prompt(spec: GenerateSpec, corpora: CorpusRoot) -> None:
    if spec.prompt_path is not None:
        check_text_file(corpora, spec.prompt_path, pointer="/prompt_path", most_characters=LONGEST_PROMPT)
    if spec.prompt_text is not None:
        _check_says_something(spec.prompt_text, pointer="/prompt_text")


def _check_score(spec: ScoreSpec, corpora: CorpusRoot) -> None:
    is_detailed = spec.detail_level == "per_char"
    most = LONGEST_DETAILED_TEXT if is_detailed else LONGEST_TEXT
    if spec.path is not None:
        check_text_file(corpora, spec.path, pointer="/path", most_characters=most)
    if spec.text is not None:
        _check_says_something(spec.text, pointer="/text")
        if len(spec.text) > most:
            why = f"is longer than {most:,} characters, the most with detail_level per_char; ask for summary, or send parts"
            raise _invalid("/text", why)
        if spec.top_k > most_guesses(len(spec.text)):
            fitting = most_guesses(len(spec.text))
            why = f"is more than an answer holds: at most {fitting} with a text of this length; ask for fewer, or send parts"
            raise _invalid("/top_k", why)


def _check_says_something(text: str, *, pointer: str) -> None:
    if text.isspace():
        raise _invalid(pointer, "holds nothing but white space; put a word there")


def _invalid(pointer: str, why: str) -> AppError:
    fault = FieldFault(pointer, why)
    return AppError(ErrorCode.CONFIG_INVALID, f"{pointer.strip('/')} {why}.", faults=[fault])
