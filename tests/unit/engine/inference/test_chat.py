"""Prompts of conversations: as transformers would write them, cut to the context by whole turns."""

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tokenizers import Tokenizer as Fast
from tokenizers.models import WordLevel
from transformers import AutoTokenizer

from model_trainer.core.contracts.inference import Turn
from model_trainer.core.contracts.tokenizer import TokenizerInfo
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.inference.chat import ChatPrompt, chat_prompt
from tests.unit.engine.inference.toys import ByteTokenizer

CHATML = (
    "{{ bos_token }}{{ pad_token }}{% for message in messages %}\n"
    "  {{ '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>' }}\n"
    "{% endfor %}\n"
    "{% if add_generation_prompt %}<|im_start|>assistant{{ eos_token }}{% endif %}"
)


class Marked(ByteTokenizer):
    """With special tokens that a format uses."""

    def inspect(self) -> TokenizerInfo:
        marks = ("<|endoftext|>", "<|im_end|>", "[PAD]")
        return super().inspect().model_copy(update={"special_tokens": marks})


def said(*contents: str) -> list[Turn]:
    return [
        Turn(role="assistant" if place % 2 else "user", content=content)
        for place, content in enumerate(contents)
    ]


def prompt_of(
    folder: Path,
    turns: list[Turn],
    *,
    system: str | None = None,
    context: int | None = None,
    max_new_tokens: int = 10,
    template: object = None,
) -> ChatPrompt:
    config: dict[str, object] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|endoftext|>",
        "bos_token": "<|begin|>",
    }
    if template is not None:
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return chat_prompt(
        turns, system, tokenizer=Marked(), folder=folder, context=context, max_new_tokens=max_new_tokens
    )


def test_a_plain_prompt_has_a_line_for_each_turn_and_ends_where_the_model_speaks(tmp_path: Path) -> None:
    prompt = prompt_of(tmp_path, said("Hi.", "Hello.", "Who?"), system="Be kind.")
    assert prompt == ChatPrompt(
        text="Be kind.\n\nUser: Hi.\nAssistant: Hello.\nUser: Who?\nAssistant:",
        dropped_turns=0,
        template="plain",
        stop_sequences=("\nUser:",),
    )


def test_a_plain_prompt_without_system_text_begins_with_the_user(tmp_path: Path) -> None:
    assert prompt_of(tmp_path, said("Hi.")).text == "User: Hi.\nAssistant:"


@pytest.mark.parametrize("system", [None, "Be kind."])
def test_a_template_writes_what_transformers_writes(tmp_path: Path, system: str | None) -> None:
    prompt = prompt_of(tmp_path, said(" Hi. ", "<b>", "Who?"), system=system, template=CHATML)
    Fast(WordLevel({"<u>": 0}, unk_token="<u>")).save(str(tmp_path / "tokenizer.json"))
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    messages = [turn.model_dump() for turn in said(" Hi. ", "<b>", "Who?")]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    expected = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert prompt.text == expected
    assert prompt.template == "tokenizer"
    assert prompt.stop_sequences == ("<|endoftext|>", "<|im_end|>")


def test_turns_are_left_out_from_the_oldest_on_and_the_system_text_stays(tmp_path: Path) -> None:
    turns = said("one", "two", "three", "four", "five")
    whole = len(prompt_of(tmp_path, turns, system="S").text)
    texts = {}
    for context in range(60, whole + 20):
        prompt = prompt_of(tmp_path, turns, system="S", context=context)
        assert len(prompt.text) + 10 <= context or prompt.dropped_turns == 4
        assert prompt.text.startswith("S\n\nUser: ")
        assert prompt.text.endswith("User: five\nAssistant:")
        texts[prompt.dropped_turns] = prompt.text
        assert (prompt.dropped_turns == 0) == (context >= whole + 10)
    assert texts == {
        0: "S\n\nUser: one\nAssistant: two\nUser: three\nAssistant: four\nUser: five\nAssistant:",
        2: "S\n\nUser: three\nAssistant: four\nUser: five\nAssistant:",
        4: "S\n\nUser: five\nAssistant:",
    }


def test_a_template_is_cut_by_whole_turns_too(tmp_path: Path) -> None:
    turns = said("one", "two", "three", "four", "five")
    shorter = prompt_of(tmp_path, turns[2:], system="S", template=CHATML)
    room = len(shorter.text) + 10
    assert prompt_of(tmp_path, turns, system="S", template=CHATML, context=room).text == shorter.text
    cut = prompt_of(tmp_path, turns, system="S", template=CHATML, context=room - 1)
    assert cut.text == prompt_of(tmp_path, turns[4:], system="S", template=CHATML).text
    assert cut.dropped_turns == 4


def test_room_is_kept_for_the_answer_but_never_more_than_half_the_context(tmp_path: Path) -> None:
    turns = said("a" * 20, "b" * 20, "c" * 20)
    whole = len(prompt_of(tmp_path, turns).text)
    for context, max_new_tokens, dropped in (
        (whole + 40, 40, 0),
        (whole + 40, 41, 2),
        (2 * whole, 512, 0),
        (2 * whole - 2, 512, 2),
    ):
        prompt = prompt_of(tmp_path, turns, context=context, max_new_tokens=max_new_tokens)
        assert prompt.dropped_turns == dropped


def test_the_last_message_alone_may_fill_the_context_and_no_more(tmp_path: Path) -> None:
    turns = said("a", "b", "c" * 30)
    alone = len("User: " + "c" * 30 + "\nAssistant:")
    assert prompt_of(tmp_path, turns, context=alone).dropped_turns == 2
    with pytest.raises(AppError, match=f"has {alone} tokens .* the model sees {alone - 1} at once") as caught:
        prompt_of(tmp_path, turns, context=alone - 1)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert [fault.pointer for fault in caught.value.faults] == ["/message"]


def test_a_model_without_a_context_is_told_everything(tmp_path: Path) -> None:
    turns = said(*["word " * 50] * 99)
    assert prompt_of(tmp_path, turns, context=None, max_new_tokens=512).dropped_turns == 0


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ messages[9].content }}", "has no element 9"),
        ("{% for", "end of template"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{% set _ = messages.append(1) %}", "'append' of 'list' object is unsafe"),
        ("{{ 'a' * 1000000000000 }}", "multiplies nothing but numbers"),
        ("{{ undefined_function() }}", "undefined"),
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}xxxxxxxxxxxxxxx{% endfor %}{% endfor %}",
            "more than",
        ),
    ],
)
def test_a_template_that_fails_is_refused_with_its_reason(tmp_path: Path, template: str, words: str) -> None:
    with pytest.raises(AppError, match=words) as caught:
        prompt_of(tmp_path, said("Hi."), template=template)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert [fault.pointer for fault in caught.value.faults] == ["/message"]


@pytest.mark.parametrize(
    "template",
    [
        "{% set x = 'a' | center(9000000000000000) %}{{ x }}",
        "{{ '%0500000000d' % 1 }}",
        "{{ '{:0500000000d}'.format(1) }}",
        "{{ messages[0].content | center(500000000) }}",
        "{{ 'a'.ljust(500000000) }}",
        "{% set ns = namespace(x='aaaaaaaa') %}{% for _ in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for _ in range(40) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    ],
)
def test_a_template_gets_no_more_memory_than_its_share(tmp_path: Path, template: str) -> None:
    with pytest.raises(AppError, match="takes more than 256 MB of memory") as caught:
        prompt_of(tmp_path, said("Hi."), template=template)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert [fault.pointer for fault in caught.value.faults] == ["/message"]
    assert len(bytearray(400_000_000)) == 400_000_000  # the share was the template's alone


def test_what_was_said_does_not_come_into_the_log(tmp_path: Path) -> None:
    template = "{{ ('{' ~ messages[0].content ~ '}').format() }}"
    with capture_logs() as logs, pytest.raises(AppError, match="KeyError: 'my secret'"):
        prompt_of(tmp_path, said("my secret"), template=template)
    assert [line["detail"] for line in logs] == ["KeyError"]


@pytest.mark.parametrize("damage", ["missing", "cut", "not a text"])
def test_a_damaged_configuration_is_refused(tmp_path: Path, damage: str) -> None:
    if damage == "not a text":
        with pytest.raises(AppError) as caught:
            prompt_of(tmp_path, said("Hi."), template=[1])
    else:
        if damage == "cut":
            (tmp_path / "tokenizer_config.json").write_text("{")
        with pytest.raises(AppError, match="Train the tokenizer again") as caught:
            chat_prompt(
                said("Hi."), None, tokenizer=Marked(), folder=tmp_path, context=None, max_new_tokens=1
            )
    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT
