"""What the tokenizer specs refuse before anything is trained."""

import json

import pytest
from pydantic import ValidationError

from model_trainer.core.contracts.tokenizer import TokenizerSpec
from model_trainer.tokenizers.bpe.config import BpeSpec
from model_trainer.tokenizers.char.config import CharSpec
from model_trainer.tokenizers.sentencepiece.config import SentencePieceSpec


@pytest.mark.parametrize("token", ["<|endoftext|>", "<s>", "</s>", "[PAD]", "{user}", "|end|"])
def test_special_tokens_between_brackets_are_accepted(token: str) -> None:
    spec = BpeSpec.model_validate_json(json.dumps({"corpus_path": "x", "special_tokens": [token]}))
    assert spec.special_tokens == (token,)


@pytest.mark.parametrize(
    "token", ["", "EOS", "'s", "\n", "<>", "<12>", "<a b>", "<é>", "▁the", "<" + "x" * 63 + ">"]
)
@pytest.mark.parametrize("spec", [BpeSpec, CharSpec, SentencePieceSpec])
def test_special_tokens_that_text_could_spell_are_refused(spec: type[TokenizerSpec], token: str) -> None:
    with pytest.raises(ValidationError, match="special_tokens"):
        spec.model_validate_json(json.dumps({"corpus_path": "x", "special_tokens": [token]}))


@pytest.mark.parametrize(
    ("spec", "options", "fault"),
    [
        (BpeSpec, {"vocab_size": 256}, "at least 257"),
        (BpeSpec, {"method": "char"}, "method"),
        (BpeSpec, {"model_type": "bpe"}, "model_type"),
        (CharSpec, {"vocab_size": 3, "special_tokens": ["<a>", "<b>"]}, "one character"),
        (CharSpec, {"special_tokens": ["<unk>"]}, "<unk>"),
        (SentencePieceSpec, {"vocab_size": 258}, "at least 259"),
        (SentencePieceSpec, {"special_tokens": ["<unk>"]}, "<unk>"),
        (SentencePieceSpec, {"special_tokens": ["<0xAF>"]}, "<0xAF>"),
        (SentencePieceSpec, {"min_frequency": 2}, "min_frequency"),
        (SentencePieceSpec, {"model_type": "word"}, "model_type"),
        (SentencePieceSpec, {"character_coverage": 0.0}, "character_coverage"),
    ],
)
def test_what_a_kind_cannot_do_is_refused_with_the_field(
    spec: type[TokenizerSpec], options: dict[str, object], fault: str
) -> None:
    with pytest.raises(ValidationError, match=fault):
        spec.model_validate_json(json.dumps({"corpus_path": "x", **options}))


@pytest.mark.parametrize("spec", [BpeSpec, CharSpec, SentencePieceSpec])
@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{% for message in messages %}", "not a chat template: line 1: "),
        ("{{ messages | nonsense }}", "no filter called nonsense"),
        ("", "at least 1 character"),
        ("x" * 20_001, "at most 20000 characters"),
    ],
)
def test_a_chat_template_that_cannot_be_one_is_refused(
    spec: type[TokenizerSpec], template: str, fault: str
) -> None:
    body = json.dumps({"corpus_path": "x", "chat_template": template})
    with pytest.raises(ValidationError, match=f"chat_template\n.*{fault}"):
        spec.model_validate_json(body)


def test_a_chat_template_stays_as_it_was_written() -> None:
    template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    spec = BpeSpec.model_validate_json(json.dumps({"corpus_path": "x", "chat_template": template}))
    assert spec.chat_template == template
    assert BpeSpec(corpus_path="x").chat_template is None
