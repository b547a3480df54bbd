"""The prompt of a conversation: by the tokenizer's chat template or as plain lines, cut to the context by whole turns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from jinja2 import TemplateError
from pydantic import ConfigDict, ValidationError

from model_trainer.core.chat_templates import Render, compiled
from model_trainer.core.compute.memory_limit import at_most_more
from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.inference import Turn
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.tokenizers import Tokenizer

_log = get_logger(__name__)
_CONFIG_FILE = "tokenizer_config.json"
_MOST_BYTES = 256_000_000
"""Memory that a template may take beside what this process has."""
_LONGEST_PROMPT = 4_000_000
"""Characters of a rendered prompt: all that 200 turns are likely to be, and little enough to tokenize."""
_SPEAKERS = {"user": "User", "assistant": "Assistant"}
_PLAIN_STOP = "\nUser:"


class _TokenizerConfig(Contract):
    model_config = ConfigDict(extra="ignore", strict=False)
    chat_template: str | None = None
    bos_token: str | None = None
    eos_token: str | None = None
    unk_token: str | None = None
    pad_token: str | None = None


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """What a model is to continue as the assistant."""

    text: str
    dropped_turns: int
    """Of the oldest."""
    template: Literal["tokenizer", "plain"]
    stop_sequences: tuple[str, ...]
    """Where the model would begin to speak for others; to be put beside those that were asked for."""


def chat_prompt(
    turns: Sequence[Turn],
    system: str | None,
    *,
    tokenizer: Tokenizer,
    folder: Path,
    context: int | None,
    max_new_tokens: int,
) -> ChatPrompt:
    """The prompt for the assistant's next turn; the last of `turns` is the user's.

    Where it is too long for the context, turns are left out from the oldest on, a user's with the answer to it; the system
    text stays. Room is kept for `max_new_tokens`, at most half the context; the last turn alone may take all of it.

    Args:
        folder: the tokenizer's, whose tokenizer_config.json may hold a chat template.
        context: tokens the model sees at once; None for a model that knows no such limit.

    Raises CONFIG_INVALID naming /message when even the last turn is too long, or the template refuses the conversation;
    ARTIFACT_CORRUPT when tokenizer_config.json cannot be read.
    """
    style = _style_of(folder, tokenizer)
    num_pairs = len(turns) // 2

    def length_without(pairs: int) -> int:
        return len(tokenizer.encode(style.prompt(turns[2 * pairs :], system)))

    dropped = 0
    if context is not None:
        room = context - min(max_new_tokens, context // 2)
        dropped = _fewest(num_pairs, lambda pairs: length_without(pairs) <= room)
        if dropped == num_pairs and (length := length_without(dropped)) > context:
            raise _refused(
                f"The message has {length} tokens together with the system text and what stands around it, and the model sees "
                f"{context} at once. Send a shorter message, or begin a new conversation with a shorter system text."
            )
    text = style.prompt(turns[2 * dropped :], system)
    return ChatPrompt(
        text=text, dropped_turns=2 * dropped, template=style.name, stop_sequences=style.stops(text)
    )


def _fewest(most: int, fits: Callable[[int], bool]) -> int:
    """The smallest number that fits, by halving; `most` when none below it does."""
    least = 0
    while least < most:
        middle = (least + most) // 2
        least, most = (least, middle) if fits(middle) else (middle + 1, most)
    return least


class _Style(Protocol):
    """A way to write conversations down."""

    @property
    def name(self) -> Literal["tokenizer", "plain"]: ...

    def prompt(self, turns: Sequence[Turn], system: str | None) -> str: ...

    def stops(self, prompt: str) -> tuple[str, ...]: ...


def _style_of(folder: Path, tokenizer: Tokenizer) -> _Style:
    path = folder / _CONFIG_FILE
    try:
        config = _TokenizerConfig.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        message = f"{path.name} of the model's tokenizer cannot be read ({type(error).__name__}). Train the tokenizer again."
        raise AppError(ErrorCode.ARTIFACT_CORRUPT, message, facts={"file": path.name}) from error
    if config.chat_template is None:
        return _Plain()
    return _Templated(config.chat_template, config, tokenizer.inspect().special_tokens)


class _Plain:
    """A line a turn, for models that learnt no format: any text has seen such lines."""

    name: Literal["plain"] = "plain"

    def prompt(self, turns: Sequence[Turn], system: str | None) -> str:
        lines = [f"{_SPEAKERS[turn.role]}: {turn.content}" for turn in turns]
        return "\n".join([*([] if system is None else [f"{system}\n"]), *lines, f"{_SPEAKERS['assistant']}:"])

    def stops(self, prompt: str) -> tuple[str, ...]:
        return (_PLAIN_STOP,)


class _Templated:
    """The tokenizer's own template, with the names that transformers gives it."""

    name: Literal["tokenizer"] = "tokenizer"

    def __init__(self, template: str, config: _TokenizerConfig, special_tokens: Sequence[str]) -> None:
        self._template = template
        self._render: Render | None = None
        self._special_tokens = special_tokens
        self._values: Mapping[str, object] = {
            "bos_token": config.bos_token,
            "eos_token": config.eos_token,
            "unk_token": config.unk_token,
            "pad_token": config.pad_token,
        }

    def prompt(self, turns: Sequence[Turn], system: str | None) -> str:
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        if system is not None:
            messages.insert(0, {"role": "system", "content": system})
        tokens = {name: token for name, token in self._values.items() if token is not None}
        values = {
            **tokens,
            "messages": messages,
            "tools": None,
            "documents": None,
            "add_generation_prompt": True,
        }
        try:
            with at_most_more(_MOST_BYTES):
                return self._rendered(values)
        except TemplateError as error:
            raise _unrenderable(error.message or type(error).__name__) from error
        except MemoryError as error:
            raise _unrenderable(f"it takes more than {_MOST_BYTES // 1_000_000} MB of memory") from error
        except AppError:
            raise
        except Exception as error:
            # A template is a program: it can fail in any way, and its words may be what somebody said.
            _log.warning("chat_template_failed", detail=type(error).__name__)
            raise _unrenderable(f"{type(error).__name__}: {error}") from error

    def _rendered(self, values: Mapping[str, object]) -> str:
        if self._render is None:
            self._render = compiled(self._template)  # which computes what is constant
        return _joined(self._render(values))

    def stops(self, prompt: str) -> tuple[str, ...]:
        """Marks of the format come back as text: special tokens in a text are text."""
        return tuple(token for token in self._special_tokens if token in prompt)


def _joined(text: Iterator[str]) -> str:
    pieces: list[str] = []
    length = 0
    for piece in text:
        pieces.append(piece)
        length += len(piece)
        if length > _LONGEST_PROMPT:
            raise _unrenderable(f"it writes more than {_LONGEST_PROMPT} characters")
    return "".join(pieces)


def _unrenderable(why: str) -> AppError:
    return _refused(
        f"The tokenizer's chat template does not take this conversation: {why[:300].rstrip('.')}. Change the conversation, or use "
        "generate with a prompt of your own."
    )


def _refused(message: str) -> AppError:
    return AppError(ErrorCode.CONFIG_INVALID, message, faults=[FieldFault("/message", message)])
