"""Text as it comes: nothing told is ever taken back, and all that was told is the text."""

from itertools import product

import pytest

from model_trainer.engine.inference.text_stream import TextStream
from tests.unit.engine.inference.toys import ByteTokenizer


def told(data: bytes, *stops: str) -> tuple[list[str], bool]:
    """The pieces that a text gives byte by byte, and whether a stop sequence ended it."""
    stream = TextStream(ByteTokenizer(), stop_sequences=stops)
    pieces: list[str] = []
    for byte in data:
        pieces.append(stream.push(byte))
        if stream.stopped:
            return pieces, True
    return [*pieces, stream.finish()], stream.stopped


def test_each_token_is_told_at_once_where_nothing_can_change_it() -> None:
    assert told(b"abc") == (["a", "b", "c", ""], False)


def test_a_character_of_several_tokens_is_told_when_it_is_whole() -> None:
    assert told("a€b".encode()) == (["a", "", "", "€", "b", ""], False)


def test_bytes_that_never_become_a_character_are_told_in_the_end() -> None:
    assert told(b"a\xe2\x82") == (["a", "", "", "\ufffd"], False)


def test_bytes_without_end_that_are_no_text_do_not_hold_everything_back() -> None:
    pieces, _ = told(b"\xff" * 200)
    assert [place for place, piece in enumerate(pieces) if piece] == [63, 127, 191, 200]
    assert "".join(pieces) == "\ufffd" * 200


def test_a_mark_that_may_be_half_an_escape_waits_for_its_other_half() -> None:
    pieces, _ = told("\ue000x".encode())
    assert pieces == ["", "", "", "\ue000x", ""]


@pytest.mark.parametrize(
    ("text", "stops", "left"),
    [
        ("one\nUser: two", ["\nUser:"], "one"),
        ("aab", ["ab"], "a"),
        ("aaab", ["aab"], "a"),
        ("abcabd!", ["abd"], "abc"),
        ("xabcdef", ["abcdef", "cd"], "xab"),
        ("xabc", ["bc", "abc"], "x"),
        ("stop", ["stop"], ""),
        ("a€€b", ["€b"], "a€"),
        ("a€€b", ["€"], "a"),
    ],
)
def test_the_text_ends_before_the_stop_sequence_that_is_complete_first(
    text: str, stops: list[str], left: str
) -> None:
    pieces, stopped = told(text.encode(), *stops)
    assert stopped
    assert "".join(pieces) == left


def test_what_may_begin_a_stop_sequence_is_held_back_and_told_when_it_does_not() -> None:
    pieces, stopped = told(b"a\nUs!", "\nUser:")
    assert pieces == ["a", "", "", "", "\nUs!", ""]
    assert not stopped


def test_a_beginning_at_the_very_end_is_told_in_the_end() -> None:
    assert told(b"a\nUse", "\nUser:") == (["a", "", "", "", "", "\nUse"], False)


def test_a_stop_sequence_in_what_was_held_back_as_a_cut_character_still_counts() -> None:
    stream = TextStream(ByteTokenizer(), stop_sequences=["\ufffd"])
    assert [stream.push(byte) for byte in b"a\xe2"] == ["a", ""]
    assert not stream.stopped
    assert stream.finish() == ""
    assert stream.stopped


def test_where_a_text_is_cut_into_tokens_does_not_change_what_is_told() -> None:
    class Lettered(ByteTokenizer):
        """Token n is the n-th of these pieces."""

        def decode(self, ids: object) -> str:
            assert isinstance(ids, list)
            return "".join(PIECES[each] for each in ids)

    for stops in (("ab",), ("ba", "aab"), ("bb", "abab"), ("cab", "c"), ("cab", "a")):
        for ids in product(range(len(PIECES)), repeat=3):
            text = "".join(PIECES[each] for each in ids)
            stream = TextStream(Lettered(), stop_sequences=stops)
            whole = ""
            for token in ids:
                whole += "" if stream.stopped else stream.push(token)
            whole += stream.finish()
            letters, stopped = told(text.encode(), *stops)
            assert (whole, stream.stopped) == ("".join(letters), stopped), (text, stops)


PIECES = ["a", "b", "c", "ab", "ba", "aab", "cab"]
