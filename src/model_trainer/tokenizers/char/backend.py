"""Characters as tokens: counted in one pass, encoded by table; tokenizer.json says the same for transformers."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import assert_never

from pydantic import JsonValue, TypeAdapter, ValidationError
from tokenizers.normalizers import NFC, NFKC, Lowercase

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.tokenizer import Normalisation, TokenizerInfo, TokenizerSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.tokenizers import Tokenizer
from model_trainer.tokenizers.char.config import UNKNOWN
from model_trainer.tokenizers.huggingface import (
    TOKENIZER_FILE,
    TokenizerFacts,
    corrupt,
    info_of,
    load_tokenizer,
    normalisers,
    read_document,
    read_facts,
    tokenizer_document,
    write_folder,
)
from model_trainer.tokenizers.kind import Texts, TrainingReport

_vocab: TypeAdapter[dict[str, int]] = TypeAdapter(dict[str, int])
_REPORT_EVERY_BYTES = 1 << 20


class CharBackend:
    """Trains and loads character tokenizers."""

    def train(
        self, texts: Texts, spec: TokenizerSpec, *, num_bytes: int, folder: Path, report: TrainingReport
    ) -> JsonObject:
        """Counts the characters. Raises CONFIG_INVALID when min_frequency leaves none."""
        counts = _count(texts, spec.normalisation, num_bytes=num_bytes, report=report)
        room = spec.vocab_size - len(spec.special_tokens) - 1
        frequent = [character for character, count in counts.items() if count >= spec.min_frequency]
        if not frequent:
            raise AppError(
                ErrorCode.CONFIG_INVALID,
                f"No character occurs {spec.min_frequency} times. Lower min_frequency, or add text.",
            )
        # Stable, so that characters that occur equally often stay in the order of their code points.
        kept = sorted(sorted(frequent), key=counts.__getitem__, reverse=True)[:room]
        entries = [*spec.special_tokens, UNKNOWN, *sorted(kept)]
        write_folder(
            folder,
            document=_document(entries, spec),
            facts=TokenizerFacts.of(spec, unknown_token=UNKNOWN, lossless=False),
            chat_template=spec.chat_template,
        )
        report(1.0, "tokenizer written")
        return {
            "vocab_size": len(entries),
            "distinct_characters": len(counts),
            "characters_left_out": len(counts) - len(kept),
        }

    def load(self, folder: Path) -> Tokenizer:
        """The tokenizer in `folder`; raises ARTIFACT_CORRUPT."""
        facts = read_facts(folder)
        vocab = _vocab_of(folder)
        aligning = None if facts.normalisation == "none" else load_tokenizer(folder)
        return CharTokenizer(vocab, info_of(folder, facts, vocab), aligning=aligning)


class CharTokenizer:
    """Encodes by looking characters up, which is twenty times as fast as tokenizer.json's general machinery."""

    def __init__(self, vocab: dict[str, int], info: TokenizerInfo, *, aligning: Tokenizer | None) -> None:
        """`aligning`: the same tokenizer, run by the library; needed where normalising moves characters."""
        self._info = info
        self._aligning = aligning
        self._texts = {token_id: text for text, token_id in vocab.items()}
        self._normalise = _normaliser(info.normalisation)
        self._ids = _Ids({text: token_id for text, token_id in vocab.items() if len(text) == 1})
        self._ids.unknown_id = vocab[UNKNOWN]

    def inspect(self) -> TokenizerInfo:
        """What it is."""
        return self._info

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`; special tokens in the text are text."""
        return list(map(self._ids.__getitem__, self._normalise(text)))

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The same for many texts."""
        return [self.encode(text) for text in texts]

    def encode_with_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The ids of encode() and the characters of `text` that each stands for."""
        if self._aligning is not None:
            return self._aligning.encode_with_spans(text)
        return self.encode(text), [(place, place + 1) for place in range(len(text))]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; special tokens become their text."""
        return "".join(map(self._texts.__getitem__, ids))


class _Ids(dict[str, int]):
    """Character to id; what it does not hold is the unknown token."""

    unknown_id: int

    def __missing__(self, character: str) -> int:
        return self.unknown_id


def _count(
    texts: Texts, normalisation: Normalisation, *, num_bytes: int, report: TrainingReport
) -> Counter[str]:
    counts: Counter[str] = Counter()
    normalise = _normaliser(normalisation)
    done = reported = 0
    for text in texts():
        counts.update(normalise(text))
        done += len(text.encode())
        if done - reported >= _REPORT_EVERY_BYTES:
            reported = done
            report(min(1.0, done / max(1, num_bytes)), "counting characters")
    return counts


def _normaliser(normalisation: Normalisation) -> Callable[[str], str]:
    """The very functions that tokenizer.json names."""
    match normalisation:
        case "none":
            return str
        case "nfc":
            return NFC().normalize_str
        case "nfkc":
            return NFKC().normalize_str
        case "lowercase":
            return Lowercase().normalize_str
        case _:
            assert_never(normalisation)


def _document(entries: Sequence[str], spec: TokenizerSpec) -> str:
    vocab: dict[str, JsonValue] = {entry: place for place, entry in enumerate(entries)}
    specials = (*spec.special_tokens, UNKNOWN)
    return tokenizer_document(
        normaliser=normalisers(spec.normalisation),
        pre_tokenizer={
            "type": "Split",
            "pattern": {"Regex": r"[\s\S]"},
            "behavior": "Isolated",
            "invert": False,
        },
        model={"type": "WordLevel", "vocab": vocab, "unk_token": UNKNOWN},
        decoder={"type": "Fuse"},
        special_ids={token: place for place, token in enumerate(specials)},
    )


def _vocab_of(folder: Path) -> dict[str, int]:
    model = read_document(folder).get("model")
    try:
        return _vocab.validate_python(model.get("vocab") if isinstance(model, dict) else None)
    except ValidationError as error:
        raise corrupt(folder / TOKENIZER_FILE, "it holds no vocabulary of characters") from error
