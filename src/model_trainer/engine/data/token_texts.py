"""The text behind each token of a tokenizer.json, with the space that begins a word."""

from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel

_WORD_STARTS = "\u2581"
"""SentencePiece's mark for a space."""


def token_texts(path: Path, *, vocab_size: int) -> list[str]:
    """By token id; empty for special tokens and ids without a token."""
    tokenizer = Tokenizer.from_file(str(path))
    texts = [""] * vocab_size
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    decoder: object = tokenizer.decoder
    bytes_to_text = ByteLevel() if isinstance(decoder, ByteLevel) else None
    for token, place in tokenizer.get_vocab().items():
        if token in special or place >= vocab_size:
            continue
        texts[place] = (
            token.replace(_WORD_STARTS, " ") if bytes_to_text is None else bytes_to_text.decode([token])
        )
    return texts
