"""Prompts that go on: what ends them, what is told on the way, and that nobody depends on neighbours."""

import pytest

from model_trainer.core.contracts.inference import GeneratedSequence, SamplingSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.inference.generation import Ask, generate
from tests.unit.engine.inference.toys import ByteTokenizer, ToyDecoder, saying, table

GREEDY = SamplingSpec(temperature=0)


def one(text: str | bytes, sampling: SamplingSpec, *, then: int = 256) -> tuple[GeneratedSequence, list[str]]:
    """What comes of a model that is sure what to say, and the pieces that were told."""
    pieces: list[str] = []
    decoder = ToyDecoder(saying(text, prompt_tokens=2, then=then))
    [generated] = generate(
        decoder,
        ByteTokenizer(),
        [Ask("hi", seed=1, num_sequences=1)],
        sampling=sampling,
        on_piece=lambda ask, sequence, piece: pieces.append(piece),
    )
    assert generated.prompt_tokens == 2
    assert decoder.num_forwards == generated.outputs[0].steps, "nothing is read that nobody needs"
    return generated.outputs[0], pieces


def test_an_end_of_text_ends_a_sequence_and_counts_as_a_step() -> None:
    made, pieces = one(" you", GREEDY)
    assert made == GeneratedSequence(text=" you", steps=5, eos_terminated=True, finish_reason="eos")
    assert pieces == [" ", "y", "o", "u"]


def test_an_end_of_text_that_is_not_to_stop_is_not_drawn() -> None:
    sampling = GREEDY.model_copy(update={"stop_on_eos": False, "max_new_tokens": 6})
    made, _ = one("abcd", sampling)
    assert (made.steps, made.eos_terminated, made.finish_reason) == (6, False, "length")
    assert made.text.startswith("abcd")
    assert "\ufffd" not in made.text


def test_the_most_tokens_end_a_sequence() -> None:
    made, pieces = one(" you", GREEDY.model_copy(update={"max_new_tokens": 2}))
    assert made == GeneratedSequence(text=" y", steps=2, eos_terminated=False, finish_reason="length")
    assert pieces == [" ", "y"]


def test_a_stop_sequence_ends_a_sequence_and_is_no_part_of_it() -> None:
    made, pieces = one("one\nUser: two", GREEDY.model_copy(update={"stop_sequences": ("\nUser:",)}))
    assert made == GeneratedSequence(text="one", steps=9, eos_terminated=False, finish_reason="stop_sequence")
    assert pieces == ["o", "n", "e"]


def test_a_stop_sequence_may_be_complete_with_the_last_token() -> None:
    sampling = GREEDY.model_copy(update={"stop_sequences": ("bc",), "max_new_tokens": 3})
    made, _ = one("abc", sampling)
    assert (made.text, made.finish_reason) == ("a", "stop_sequence")


@pytest.mark.parametrize("most", [2, 512])
def test_a_stop_sequence_in_the_rest_of_the_text_is_the_reason_of_its_end(most: int) -> None:
    sampling = GREEDY.model_copy(update={"stop_sequences": ("\ufffd",), "max_new_tokens": most})
    made, _ = one(b"a\xe2", sampling)
    assert (made.text, made.finish_reason, made.eos_terminated) == ("a", "stop_sequence", False)


@pytest.mark.parametrize("most", [3, 512])
def test_what_was_held_back_is_told_at_the_end(most: int) -> None:
    sampling = GREEDY.model_copy(update={"stop_sequences": ("\nUser:",), "max_new_tokens": most})
    made, pieces = one("a\nU", sampling)
    assert made.text == "a\nU"
    assert pieces == ["a", "\nU"]


def test_pieces_of_each_sequence_are_its_text() -> None:
    told: dict[tuple[int, int], str] = {}

    def on_piece(ask: int, sequence: int, text: str) -> None:
        assert text
        told[ask, sequence] = told.get((ask, sequence), "") + text

    generated = generate(
        ToyDecoder(table(257)),
        ByteTokenizer(),
        [Ask("a", seed=1, num_sequences=3), Ask("bcd", seed=2, num_sequences=2)],
        sampling=SamplingSpec(max_new_tokens=80, temperature=2.0, top_k=0, stop_sequences=("aa", "\ufffdz")),
        on_piece=on_piece,
    )
    assert [each.prompt_tokens for each in generated] == [1, 3]
    for ask, each in enumerate(generated):
        for sequence, made in enumerate(each.outputs):
            assert told.get((ask, sequence), "") == made.text
    assert [len(each.outputs) for each in generated] == [3, 2]


def test_what_an_ask_gets_depends_on_its_seed_and_not_on_its_neighbours() -> None:
    sampling = SamplingSpec(max_new_tokens=40, temperature=1.5, top_k=0, repetition_penalty=1.1, seed=5)
    asks = [
        Ask("a", seed=1, num_sequences=2),
        Ask("bcd", seed=1, num_sequences=1),
        Ask("a", seed=2, num_sequences=1),
    ]
    together = generate(ToyDecoder(table(257)), ByteTokenizer(), asks, sampling=sampling)
    for ask, expected in zip(asks, together, strict=True):
        other = sampling.model_copy(update={"seed": 6})
        assert generate(ToyDecoder(table(257)), ByteTokenizer(), [ask], sampling=other) == [expected]
    texts = [made.text for each in together for made in each.outputs]
    assert len(set(texts)) == 4


def test_the_context_is_told() -> None:
    for context in (4, None):
        decoder = ToyDecoder(table(257), context=context)
        [made] = generate(
            decoder, ByteTokenizer(), [Ask("abcd", 1, 1)], sampling=SamplingSpec(max_new_tokens=1)
        )
        assert made.context == context


@pytest.mark.parametrize(
    ("prompt", "words"), [("", "at least one character"), ("abcde", "has 5 tokens, and the model sees 4")]
)
@pytest.mark.parametrize("pointer", ["/prompt_text", "/prompt_path"])
def test_a_prompt_that_cannot_be_read_is_refused_before_anything_is_drawn(
    prompt: str, words: str, pointer: str
) -> None:
    decoder = ToyDecoder(table(257), context=4)
    asks = [Ask("ab", 1, 1), Ask(prompt, 1, 1, pointer=pointer)]
    with pytest.raises(AppError, match=words) as caught:
        generate(decoder, ByteTokenizer(), asks, sampling=GREEDY)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert [fault.pointer for fault in caught.value.faults] == [pointer]
    assert decoder.num_forwards == 0


def test_the_field_is_prompt_text_where_nothing_else_is_said() -> None:
    with pytest.raises(AppError) as caught:
        generate(ToyDecoder(table(257)), ByteTokenizer(), [Ask("", 1, 1)], sampling=GREEDY)
    assert [fault.pointer for fault in caught.value.faults] == ["/prompt_text"]
