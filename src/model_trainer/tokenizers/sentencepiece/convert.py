"""A SentencePiece model written as a tokenizer.json that cuts text alike. Knows no folder.

SentencePiece writes a space as U+2581 and cannot tell that from a real U+2581. So U+2581 itself is written as
U+E000 1, and U+E000 (private use) as U+E000 0: a prefix code, undone by the decoder, and nothing is lost.
"""

from typing import Protocol

from pydantic import JsonValue

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.tokenizer import TokenizerSpec
from model_trainer.tokenizers.huggingface import normalisers, replacement, tokenizer_document
from model_trainer.tokenizers.sentencepiece.config import UNKNOWN

SPACE = "\u2581"
_ESCAPE = "\ue000"
ESCAPES = ((SPACE, f"{_ESCAPE}1"), (_ESCAPE, f"{_ESCAPE}0"))
_NEVER = -1e5
"""Score of pieces that text must not match: `tokenizers` looks byte, special and unknown tokens up like any piece."""


class PieceModel(Protocol):
    """The part of `sentencepiece.SentencePieceProcessor` that is read here."""

    def get_piece_size(self) -> int: ...
    def id_to_piece(self, token_ids: list[int], /) -> list[str]: ...
    def get_score(self, token_ids: list[int], /) -> list[float]: ...
    def is_byte(self, token_ids: list[int], /) -> list[bool]: ...
    def is_control(self, token_ids: list[int], /) -> list[bool]: ...
    def is_unknown(self, token_ids: list[int], /) -> list[bool]: ...


def convert(pieces: PieceModel, spec: TokenizerSpec, *, model_type: str) -> str:
    """The text of a tokenizer.json with the same pieces, the same ids and the same segmentation."""
    ids = list(range(pieces.get_piece_size()))
    texts = pieces.id_to_piece(ids)
    unlearnt = zip(pieces.is_byte(ids), pieces.is_control(ids), pieces.is_unknown(ids), strict=True)
    scored = zip(ids, pieces.get_score(ids), unlearnt, strict=True)
    scores = {one: score for one, score, kinds in scored if not any(kinds)}
    model = _bpe(texts, scores) if model_type == "bpe" else _unigram(texts, scores)
    escapes = [
        replacement(_ESCAPE, f"{_ESCAPE}0"),
        replacement(SPACE, f"{_ESCAPE}1"),
        replacement(" ", SPACE),
    ]
    return tokenizer_document(
        normaliser=[*normalisers(spec.normalisation), *escapes],
        pre_tokenizer=None,
        model=model,
        decoder={
            "type": "Sequence",
            "decoders": [
                replacement(SPACE, " "),
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                replacement(f"{_ESCAPE}1", SPACE),
                replacement(f"{_ESCAPE}0", _ESCAPE),
            ],
        },
        special_ids={token: texts.index(token) for token in (UNKNOWN, *spec.special_tokens)},
    )


def _unigram(texts: list[str], scores: dict[int, float]) -> JsonObject:
    vocab: list[JsonValue] = [[text, scores.get(one, _NEVER)] for one, text in enumerate(texts)]
    return {"type": "Unigram", "unk_id": texts.index(UNKNOWN), "byte_fallback": True, "vocab": vocab}


def _bpe(texts: list[str], scores: dict[int, float]) -> JsonObject:
    """Every way to put a piece together from two others is a merge, in the order in which pieces were learnt."""
    learnt = {texts[one] for one in scores}
    merges: list[JsonValue] = []
    for one in sorted(scores, key=scores.__getitem__, reverse=True):
        text = texts[one]
        merges += [
            [left, right]
            for cut in range(1, len(text))
            if (left := text[:cut]) in learnt and (right := text[cut:]) in learnt
        ]
    vocab: dict[str, JsonValue] = {text: one for one, text in enumerate(texts)}
    return {
        "type": "BPE",
        "unk_token": UNKNOWN,
        "fuse_unk": True,
        "byte_fallback": True,
        "vocab": vocab,
        "merges": merges,
    }
