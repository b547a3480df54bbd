"""What names prove: label values, generators and label columns that say by themselves who wrote a text."""

import re

from model_trainer.core.contracts.detector import Label

_WORDS = re.compile(r"[^\W\d_]+")
_HUMAN = frozenset({"human", "humans", "real", "original", "authentic", "genuine", "person", "people"})
_AI = frozenset(
    {"ai", "machine", "generated", "llm", "llms", "fake", "bot", "synthetic", "model", "sampled"}
    | {
        "chatgpt",
        "gpt",
        "gptj",
        "llama",
        "claude",
        "gemini",
        "mistral",
        "mixtral",
        "davinci",
        "palm",
        "cohere",
    }
    | {"mpt", "qwen", "deepseek", "vicuna", "alpaca", "bloom", "bloomz", "opt", "neox", "dolly", "flan"}
)
_NEITHER = frozenset({"non", "not", "no", "un", "or", "and", "vs"})
_NEGATED: dict[str, Label] = {"not ai": 0, "non ai": 0, "not generated": 0, "not human": 1, "non human": 1}
_AI_COLUMNS = frozenset(
    {"ai", "generated", "machine", "fake", "synthetic", "bot", "llm"}
    | {"ai generated", "machine generated", "llm generated", "ai written", "machine written"}
)
_HUMAN_COLUMNS = frozenset({"human", "human written", "real"})
_YES = frozenset({"1", "true", "yes"})
_NO = frozenset({"0", "false", "no"})


def plain(name: str) -> str:
    """A column's name as lists of names have it: isAI, is-ai and "Is AI" are all is_ai."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[^a-z0-9]+", "_", parted.lower()).strip("_")


def meaning_of_name(value: str) -> Label | None:
    """0 where the value clearly says human, 1 where it clearly says AI; None where it says neither, or both."""
    words: list[str] = _WORDS.findall(value.casefold())
    if " ".join(words) in _NEGATED:
        return _NEGATED[" ".join(words)]
    if _NEITHER.intersection(words):
        return None
    human, machine = bool(_HUMAN.intersection(words)), bool(_AI.intersection(words))
    if human == machine:
        return None
    return 0 if human else 1


def meaning_in_column(column: str, value: str) -> Label | None:
    """What yes or no means in a column whose name is a question: is_ai, human_written; None elsewhere."""
    question = plain(column).removeprefix("is_").replace("_", " ")
    if question in _AI_COLUMNS:
        yes = 1
    elif question in _HUMAN_COLUMNS:
        yes = 0
    else:
        return None
    answer = value.casefold()
    if answer in _YES:
        return 1 if yes else 0
    if answer in _NO:
        return 0 if yes else 1
    return None
