"""What every kind of tokenizer must do: the suite runs over all that the registry finds."""

import inspect
import json
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest
import transformers
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.tokenizer import TokenizerSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.tokenizers import Tokenizer
from model_trainer.engine.inference.text_stream import TextStream
from model_trainer.registry import Registry
from model_trainer.tokenizers.kind import TokenizerBackend, TokenizerKind
from model_trainer.tokenizers.stats import measure

TEXT = "".join(inspect.getsource(module) for module in (textwrap, inspect))[:120_000]
PASSAGES = [TEXT[begin : begin + 4096] for begin in range(0, len(TEXT), 4096)]
SPECIAL_TOKENS = ["<|endoftext|>", "[PAD]"]
ODD_TEXTS = (
    "",
    " ",
    "\n",
    "\r\n\r",
    "\t \t\n  x  ",
    "\0",
    "\x01\x7f\x85",
    "e\u0301 \u00e9 \u1e9b\u0323",
    "naïve café — 中文 العربية हिन्दी",
    "👩‍👩‍👧‍👦🏳️‍🌈𝄞",
    "\ufeffbyte order mark \ufeff",
    "no\u00a0break\u2003spaces\u3000",
    "\u2581 low block \u2581\u2581",
    "\ue000 private \ue0000 \ue0001 \ue000\u2581",
    "\u2585 \u2047 \ufffd \uffff",
    "<|endoftext|>[PAD]<unk><s></s>",
    "<0x41><0xE2><0x96><0x81>",
    "İıſß ŒUVRE",
)
UNICODE = st.text(alphabet=st.characters(codec="utf-8"), max_size=60)
CASES = [*((name, {}) for name in Registry.discover().tokenizers()), ("sentencepiece", {"model_type": "bpe"})]


def no_report(fraction: float, message: str) -> None:
    assert 0 <= fraction <= 1
    assert message


@dataclass(frozen=True)
class Trained:
    kind: TokenizerKind
    spec: TokenizerSpec
    backend: TokenizerBackend
    folder: Path
    facts: JsonObject
    tokenizer: Tokenizer


def spec_of(kind: TokenizerKind, **options: object) -> TokenizerSpec:
    body = {**kind.example(), "vocab_size": 700, "special_tokens": SPECIAL_TOKENS, "threads": 1, **options}
    return kind.spec.model_validate_json(json.dumps(body))


def trained(kind: TokenizerKind, spec: TokenizerSpec, folder: Path) -> Trained:
    backend = kind.backend()
    facts = backend.train(
        lambda: iter(PASSAGES), spec, num_bytes=len(TEXT.encode()), folder=folder, report=no_report
    )
    return Trained(kind, spec, backend, folder, facts, backend.load(folder))


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join((case[0], *case[1].values())))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    name, options = request.param
    kind = Registry.discover().tokenizer(name)
    return trained(kind, spec_of(kind, **options), tmp_path_factory.mktemp(name))


def test_the_face_says_what_the_kind_is(case: Trained) -> None:
    assert isinstance(case.kind, TokenizerKind)
    assert isinstance(case.backend, TokenizerBackend)
    assert isinstance(case.tokenizer, Tokenizer)
    assert case.kind.title
    assert case.kind.extra
    assert case.kind.requires
    assert case.kind.spec.model_validate_json(json.dumps(case.kind.example())).method == case.kind.name


def test_it_says_what_it_is(case: Trained) -> None:
    info = case.tokenizer.inspect()
    assert info.method == case.kind.name
    assert info.special_tokens == tuple(SPECIAL_TOKENS)
    assert info.vocab_size == case.facts["vocab_size"]
    assert info.vocab_size <= 700
    assert info.end_of_text_id is not None
    assert case.tokenizer.decode([info.end_of_text_id]) == "<|endoftext|>"


def test_kinds_that_fall_back_to_bytes_promise_to_lose_nothing(case: Trained) -> None:
    """Without the promise the round trips below would prove nothing."""
    assert case.tokenizer.inspect().lossless or case.kind.name not in ("bpe", "sentencepiece")


def test_the_folder_holds_the_tokenizer_and_nothing_else(case: Trained) -> None:
    names = {path.name for path in case.folder.iterdir()}
    assert {"tokenizer.json", "tokenizer_config.json"} <= names
    assert names <= {"tokenizer.json", "tokenizer_config.json", "tokenizer.model"}


def test_the_same_text_seed_and_threads_give_the_same_bytes(case: Trained, tmp_path: Path) -> None:
    again = trained(case.kind, case.spec, tmp_path)
    for path in case.folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name
    assert again.tokenizer.inspect() == case.tokenizer.inspect()


def test_the_text_it_was_trained_on_comes_back_exactly(case: Trained) -> None:
    for passage in PASSAGES:
        assert case.tokenizer.decode(case.tokenizer.encode(passage)) == passage


def test_a_batch_is_encoded_like_its_texts_one_by_one(case: Trained) -> None:
    texts = [*PASSAGES[:5], *ODD_TEXTS]
    assert case.tokenizer.encode_batch(texts) == [case.tokenizer.encode(text) for text in texts]


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_odd_text_comes_back_exactly_or_the_kind_admits_that_it_does_not(case: Trained, text: str) -> None:
    ids = case.tokenizer.encode(text)
    if case.tokenizer.inspect().lossless:
        assert case.tokenizer.decode(ids) == text
    else:
        assert case.tokenizer.inspect().unknown_id in ids or case.tokenizer.decode(ids) == text


@given(text=UNICODE)
@settings(max_examples=300, deadline=None, database=None, derandomize=True)
def test_any_valid_unicode_comes_back_exactly_where_the_kind_says_so(case: Trained, text: str) -> None:
    ids = case.tokenizer.encode(text)
    assert case.tokenizer.decode(ids) == text or not case.tokenizer.inspect().lossless


def spans_agree(tokenizer: Tokenizer, text: str) -> None:
    """Each token has characters, in order, and every character is some token's."""
    ids, spans = tokenizer.encode_with_spans(text)
    assert ids == tokenizer.encode(text)
    assert len(spans) == len(ids)
    assert all(0 <= start < end <= len(text) for start, end in spans), text
    assert [start for start, _ in spans] == sorted(start for start, _ in spans), text
    assert {at for start, end in spans for at in range(start, end)} == set(range(len(text))), text


@given(text=UNICODE)
@example(text="\r\n\r\x01\x85")
@example(text="e\u0301 \u1e9b\u0323 A\u0300\u0301")
@settings(max_examples=300, deadline=None, database=None, derandomize=True)
def test_every_token_knows_the_characters_it_stands_for(case: Trained, text: str) -> None:
    spans_agree(case.tokenizer, text)
    if not case.tokenizer.inspect().lossless or set(text) & {"\u2581", "\ue000"}:
        return
    for token, (start, end) in zip(*case.tokenizer.encode_with_spans(text), strict=True):
        decoded = case.tokenizer.decode([token])
        # A token that begins or ends within a character has all of it.
        assert decoded.strip("\ufffd") in text[start:end]
        assert end - start == len(decoded) or "\ufffd" in decoded


@given(text=UNICODE)
@example(text="\u2581 \ue000 \ue0001 \ue0000 \u2581")
@example(text="€€\ufffd€ 👩‍👩‍👧‍👦")
@settings(max_examples=300, deadline=None, database=None, derandomize=True)
def test_text_told_token_by_token_is_the_whole_text(case: Trained, text: str) -> None:
    """What streaming needs: text that ends with a whole character is not changed by what comes after it."""
    stream = TextStream(case.tokenizer)
    ids = case.tokenizer.encode(text)
    pieces = [stream.push(token) for token in ids]
    assert "".join([*pieces, stream.finish()]) == case.tokenizer.decode(ids)


def test_special_tokens_in_the_text_are_text(case: Trained) -> None:
    info = case.tokenizer.inspect()
    ids = case.tokenizer.encode(" ".join([*SPECIAL_TOKENS, "end"]))
    special = {
        case.tokenizer.encode(token)[0] for token in SPECIAL_TOKENS if len(case.tokenizer.encode(token)) == 1
    }
    assert not special
    assert info.end_of_text_id not in ids


def test_automatic_tokenizers_of_transformers_agree_token_for_token(case: Trained) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(case.folder)
    for text in (*TEXT.splitlines(keepends=True), *PASSAGES, *ODD_TEXTS):
        ids = case.tokenizer.encode(text)
        assert theirs(text)["input_ids"] == ids, text
        assert theirs.decode(ids) == case.tokenizer.decode(ids), text
    assert theirs.eos_token_id == case.tokenizer.inspect().end_of_text_id
    assert set(SPECIAL_TOKENS) <= set(theirs.all_special_tokens)
    assert len(theirs) == case.tokenizer.inspect().vocab_size


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_they_still_agree_beside_a_model_that_has_a_tokenizer_class_of_its_own(
    case: Trained, architecture: str, tmp_path: Path
) -> None:
    for path in case.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": architecture}))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in (*PASSAGES[:3], *ODD_TEXTS):
        assert theirs(text)["input_ids"] == case.tokenizer.encode(text)


@pytest.mark.parametrize("normalisation", ["nfc", "nfkc", "lowercase"])
def test_normalising_tokenizers_agree_as_well_and_admit_their_loss(
    case: Trained, normalisation: str, tmp_path: Path
) -> None:
    options = {"model_type": "bpe"} if case.kind.name == "sentencepiece" else {}
    changed = trained(case.kind, spec_of(case.kind, normalisation=normalisation, **options), tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert not changed.tokenizer.inspect().lossless
    for text in (*PASSAGES[:3], *ODD_TEXTS):
        assert theirs(text)["input_ids"] == changed.tokenizer.encode(text), text
    composed = {"nfc": "e\u0301", "nfkc": "ﬁ", "lowercase": "Text"}[normalisation]
    plain = {"nfc": "é", "nfkc": "fi", "lowercase": "text"}[normalisation]
    assert changed.tokenizer.encode(composed) == changed.tokenizer.encode(plain)
    for text in (*PASSAGES[:3], *ODD_TEXTS, "A\u0300\u0301 e\u0301x ﬁﬂ \u1e9b\u0323"):
        spans_agree(changed.tokenizer, text)


def test_a_chat_template_is_where_transformers_looks_for_it(case: Trained, tmp_path: Path) -> None:
    template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant]{{ eos_token }}"
    trained(case.kind, case.spec.model_copy(update={"chat_template": template}), tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    prompt = theirs.apply_chat_template([{"role": "user", "content": "Hi."}], tokenize=False)
    assert prompt == "[user] Hi.\n[assistant]<|endoftext|>"
    assert (tmp_path / "tokenizer.json").read_bytes() == (case.folder / "tokenizer.json").read_bytes()
    assert "chat_template" not in (case.folder / "tokenizer_config.json").read_text()


def test_statistics_add_up(case: Trained) -> None:
    stats = measure(case.tokenizer, PASSAGES, measured_on="train")
    assert stats.num_characters == len(TEXT)
    assert stats.num_tokens == sum(len(case.tokenizer.encode(passage)) for passage in PASSAGES)
    assert (stats.coverage, stats.char_coverage, stats.oov_rate) == (1, 1, 0)
    assert 0 < stats.vocab_used_fraction <= 1


def test_a_report_that_raises_stops_the_training(case: Trained, tmp_path: Path) -> None:
    class Cancelled(Exception):
        pass

    def stop(fraction: float, message: str) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        case.backend.train(
            lambda: iter(PASSAGES), case.spec, num_bytes=len(TEXT), folder=tmp_path, report=stop
        )


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "binary"])
def test_a_damaged_file_is_refused(case: Trained, tmp_path: Path, name: str, damage: str) -> None:
    for path in case.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    match damage:
        case "missing":
            (tmp_path / name).unlink()
        case "cut":
            (tmp_path / name).write_bytes((case.folder / name).read_bytes()[:-2])
        case _:
            (tmp_path / name).write_bytes(b"\xff\x00")
    with pytest.raises(AppError) as refused:
        case.backend.load(tmp_path)
    assert refused.value.code == ErrorCode.ARTIFACT_CORRUPT


def test_a_special_token_that_is_gone_from_the_vocabulary_is_noticed(case: Trained, tmp_path: Path) -> None:
    for path in case.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = tmp_path / "tokenizer_config.json"
    config.write_text(config.read_text().replace("[PAD]", "[GONE]"))
    with pytest.raises(AppError, match="GONE"):
        case.backend.load(tmp_path)
