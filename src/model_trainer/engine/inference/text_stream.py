"""Tokens become text piece by piece: nothing is told that a later token could still change or cut off."""

from collections.abc import Sequence

from model_trainer.core.ports.tokenizers import Tokenizer

_UNFINISHED = ("\ufffd", "\ue000")
"""How text ends whose last character may be cut: U+FFFD stands for its first bytes, and SentencePiece's tokenizers spell
U+2581 and U+E000 as two characters of which the first is U+E000."""
_LONGEST_WAIT = 64
"""Tokens. No character has so many: what has not become text by then are bytes that never will."""


class TextStream:
    """The text of one sequence. All that push() and finish() give, put together, is that text."""

    def __init__(self, tokenizer: Tokenizer, *, stop_sequences: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop_sequences = stop_sequences
        self._ids: list[int] = []
        self._held = ""
        self.stopped = False
        """Whether a stop sequence was found: nothing more comes."""

    def push(self, token: int) -> str:
        """The text that is certain now."""
        self._ids.append(token)
        text = self._tokenizer.decode(self._ids)
        if text.endswith(_UNFINISHED) and len(self._ids) < _LONGEST_WAIT:
            return ""
        self._ids = []
        return self._tellable(text)

    def finish(self) -> str:
        """The rest: no token comes any more."""
        told = self._tellable(self._tokenizer.decode(self._ids)) if self._ids else ""
        rest, self._held, self._ids = self._held, "", []
        return told + rest

    def _tellable(self, text: str) -> str:
        """`text` is held back as far as it may begin a stop sequence, and cut where one stands."""
        self._held += text
        found = [
            (begin + len(stop), begin)
            for stop in self._stop_sequences
            if (begin := self._held.find(stop)) >= 0
        ]
        if found:
            self.stopped = True
            told, self._held = self._held[: min(found)[1]], ""
            return told
        kept = self._length_of_a_beginning()
        told, self._held = self._held[: len(self._held) - kept], self._held[len(self._held) - kept :]
        return told

    def _length_of_a_beginning(self) -> int:
        """Of the longest end of the held text that a stop sequence begins with."""
        longest = max(map(len, self._stop_sequences), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stop_sequences):
                return length
        return 0
