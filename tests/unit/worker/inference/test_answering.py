"""Real small models, asked: together as alone, piece by piece, in conversations; and what is refused."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.inference import (
    ChatReply,
    Conversation,
    Generated,
    InferenceKind,
    Scored,
    Turn,
)
from model_trainer.core.contracts.prediction import Predictions
from model_trainer.core.errors import ErrorCode
from model_trainer.engine.devices import select_device
from model_trainer.engine.protocols import Choose
from model_trainer.worker.inference.frames import Told
from model_trainer.worker.inference.loaded import AskedModel, InUse, LoadedModels
from tests.unit.engine.inference.toys import ByteTokenizer, ToyDecoder, table
from tests.unit.worker.inference.shop import SENTENCE, Desk, Shop, Yes, asked, chat, result_of

GENERATE, SCORE, CHAT, PREDICT = (
    InferenceKind.GENERATE,
    InferenceKind.SCORE,
    InferenceKind.CHAT,
    InferenceKind.PREDICT,
)


@pytest.fixture
def desk(shop: Shop) -> Desk:
    return Desk(shop)


@pytest.mark.parametrize("family", ["gpt2", "char_lstm"])
def test_requests_that_are_answered_together_get_what_each_gets_alone(
    shop: Shop, desk: Desk, family: str
) -> None:
    run = shop.gpt2 if family == "gpt2" else shop.char_lstm
    batch = [
        asked(GENERATE, run, prompt_text="the cat", seed=1, max_new_tokens=20),
        asked(GENERATE, run, prompt_text="a small bird", seed=2, max_new_tokens=20, num_return_sequences=3),
    ]
    together = [result_of(Generated, frame) for frame in desk.answered(*batch)]
    alone = [result_of(Generated, desk.answered(order)[0]) for order in batch]
    assert together == alone
    assert [len(result.outputs) for result in together] == [1, 3]
    assert together[0].prompt_tokens == 7


def test_only_who_asked_for_a_stream_gets_pieces_and_they_are_the_text(shop: Shop, desk: Desk) -> None:
    streamed = asked(GENERATE, shop.gpt2, prompt_text="the", max_new_tokens=9, stream=True)
    whole = asked(GENERATE, shop.gpt2, prompt_text="the", max_new_tokens=9)
    first, second = desk.answered(streamed, whole)
    text = result_of(Generated, first).outputs[0].text
    assert text == result_of(Generated, second).outputs[0].text == desk.pieces(streamed)
    assert desk.pieces(whole) == ""


def test_requests_that_draw_differently_are_not_mixed_up(shop: Shop, desk: Desk) -> None:
    batch = [asked(GENERATE, shop.gpt2, prompt_text="the cat", max_new_tokens=number) for number in (3, 5, 3)]
    answers = {frame.request_id: result_of(Generated, frame) for frame in desk.answered(*batch)}
    assert [answers[order.request_id].outputs[0].steps for order in batch] == [3, 5, 3]


@pytest.mark.parametrize(
    ("most_rows", "together"), [(1, [3, 1, 2, 1]), (3, [3, 3, 1]), (4, [4, 3]), (9, [7])]
)
def test_so_many_sequences_are_drawn_at_a_time_and_those_of_one_request_always_are(
    shop: Shop, most_rows: int, together: list[int], tmp_path: Path
) -> None:
    sizes: list[int] = []

    class Counting(ToyDecoder):
        def decode(self, prompts: Sequence[Sequence[int]], choose: Choose) -> None:
            sizes.append(len(prompts))
            super().decode(prompts, choose)

    model = AskedModel(Counting(table(257)), ByteTokenizer(), tmp_path, eval_stride=8)
    batch = [
        asked(GENERATE, shop.char_lstm, prompt_text="hi", num_return_sequences=number, max_new_tokens=3)
        for number in (3, 1, 2, 1)
    ]
    answers = Desk(shop, OneModel(shop, model), most_rows=most_rows).answered(*batch)
    assert sizes == together
    assert [len(result_of(Generated, frame).outputs) for frame in answers] == [3, 1, 2, 1]


def test_messages_of_several_conversations_are_answered_in_portions_too(shop: Shop, desk: Desk) -> None:
    batch = [chat(shop.char_lstm, new_ulid(), message="hi", seed=seed, max_new_tokens=9) for seed in range(5)]
    whole = [frame.result["reply"] for frame in desk.answered(*batch)]
    in_portions = Desk(shop, most_rows=2).answered(*batch)
    assert [frame.result["reply"] for frame in in_portions] == whole


def test_a_prompt_may_lie_in_a_file(shop: Shop, desk: Desk) -> None:
    by_path = asked(GENERATE, shop.gpt2, prompt_path="short.txt", max_new_tokens=5)
    by_text = asked(GENERATE, shop.gpt2, prompt_text="the cat", max_new_tokens=5)
    first, second = desk.answered(by_path, by_text)
    assert first.result == second.result


def test_a_prompt_that_is_wrong_is_refused_by_itself(shop: Shop, desk: Desk) -> None:
    long = asked(GENERATE, shop.gpt2, prompt_text="the cat " * 9)
    missing = asked(GENERATE, shop.gpt2, prompt_path="missing.txt")
    fine = asked(GENERATE, shop.gpt2, prompt_text="the cat", max_new_tokens=2)
    refused = desk.refused(long, missing, fine)
    assert [(one.problem.code, one.problem.faults[0].pointer) for one in refused] == [
        (ErrorCode.CONFIG_INVALID, "/prompt_text"),
        (ErrorCode.DATA_NOT_FOUND, "/prompt_path"),
    ]
    assert [one.problem.exception for one in refused] == [None, None]
    assert len([one for one in desk.told if one.frame == "answered"]) == 1


def test_a_file_that_is_too_long_for_the_model_is_named_by_its_own_field(shop: Shop, desk: Desk) -> None:
    (refused,) = desk.refused(asked(GENERATE, shop.gpt2, prompt_path="long.txt"))
    assert refused.problem.faults[0].pointer == "/prompt_path"


def test_nothing_is_generated_when_all_prompts_are_wrong(shop: Shop, desk: Desk) -> None:
    order = asked(GENERATE, shop.gpt2, prompt_text="the cat " * 9)
    assert [one.frame for one in desk.ask(order)] == ["refused"]


def test_texts_are_scored_from_the_request_and_from_files_with_the_recipes_stride(
    shop: Shop, desk: Desk
) -> None:
    first, second = desk.answered(
        asked(SCORE, shop.gpt2, text=SENTENCE, detail_level="per_char", top_k=2),
        asked(SCORE, shop.gpt2, path="sentence.md", detail_level="per_char", top_k=2),
    )
    assert first.result == second.result
    scored = result_of(Scored, first)
    assert scored.stride == 8
    assert scored.tokens is not None
    assert "".join(SENTENCE[token.start : token.end] for token in scored.tokens) == SENTENCE


def test_a_text_that_cannot_be_scored_leaves_the_others_alone(shop: Shop, desk: Desk) -> None:
    frames = desk.ask(asked(SCORE, shop.char_lstm, path="no.txt"), asked(SCORE, shop.char_lstm, text="the"))
    assert [frame.frame for frame in frames] == ["refused", "answered"]


def test_a_conversation_begins_and_goes_on_with_all_that_was_said(shop: Shop, desk: Desk) -> None:
    name = new_ulid()
    history = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "yes"}]
    first = chat(
        shop.char_lstm,
        name,
        message="the cat",
        system="be kind",
        history=history,
        max_new_tokens=6,
        stream=True,
    )
    (answered,) = desk.answered(first)
    reply = result_of(ChatReply, answered)
    said = answered.conversation
    assert said is not None
    assert (said.conversation_id, said.run_id, said.system) == (name, shop.char_lstm.run_id, "be kind")
    assert [turn.content for turn in said.turns] == ["hello", "yes", "the cat", reply.reply]
    assert (reply.conversation_id, reply.template, reply.dropped_turns) == (name, "plain", 0)
    assert desk.pieces(first).strip() == reply.reply
    following = chat(shop.char_lstm, name, conversation=said, message="and?", max_new_tokens=6)
    (answered,) = desk.answered(following)
    assert answered.conversation is not None
    assert [turn.role for turn in answered.conversation.turns] == ["user", "assistant"] * 3
    assert answered.conversation.system == "be kind"


class OneModel(LoadedModels):
    """Always the same model."""

    def __init__(self, shop: Shop, model: AskedModel) -> None:
        super().__init__(
            shop.parts, device=select_device("cpu"), memory_bytes=1, use_threads=shop.threads.append, cpus=1
        )
        self._model = model

    @contextmanager
    def use(self, run_id: str) -> Iterator[InUse]:
        yield InUse(self._model, 0.0)


def next_logits(read: Sequence[int]) -> list[float]:
    """Of a model that answers for itself and then goes on with what the user says next."""
    _, _, said = bytes(read).rpartition(b"Assistant:")
    wanted = b" yes, indeed\nUser: more"[len(said)]
    return [50.0 if token == wanted else 0.0 for token in range(257)]


@pytest.mark.parametrize(("stops", "reply"), [((), "yes, indeed"), ((",",), "yes")])
def test_a_reply_ends_where_the_model_would_speak_for_the_user_or_where_it_was_told_to(
    shop: Shop, stops: tuple[str, ...], reply: str, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{}")
    model = AskedModel(ToyDecoder(next_logits), ByteTokenizer(), tmp_path, eval_stride=8)
    order = chat(
        shop.char_lstm,
        new_ulid(),
        message="hi",
        stop_sequences=list(stops),
        max_new_tokens=20,
        temperature=0.0,
    )
    (answered,) = Desk(shop, OneModel(shop, model)).answered(order)
    assert result_of(ChatReply, answered).reply == reply
    assert result_of(ChatReply, answered).finish_reason == "stop_sequence"


def test_a_message_without_a_reply_leaves_an_empty_turn(shop: Shop, desk: Desk) -> None:
    stops = sorted(set(SENTENCE))
    wanted = [letter for letter in stops if letter.strip()][:8]
    for seed in range(40):
        order = chat(
            shop.char_lstm, new_ulid(), message="hi", stop_sequences=wanted, max_new_tokens=1, seed=seed
        )
        (answered,) = desk.answered(order)
        assert answered.conversation is not None
        if not answered.conversation.turns[-1].content:
            break
    else:
        pytest.fail("no reply was empty")


def test_a_message_longer_than_the_context_is_refused(shop: Shop, desk: Desk) -> None:
    said = Conversation(
        conversation_id=new_ulid(),
        run_id=shop.gpt2.run_id,
        system=None,
        turns=(Turn(role="user", content="a"), Turn(role="assistant", content="")),
    )
    (refused,) = desk.refused(
        chat(shop.gpt2, said.conversation_id, conversation=said, message="the cat " * 9, max_new_tokens=2)
    )
    assert (refused.problem.code, refused.problem.faults[0].pointer) == (ErrorCode.CONFIG_INVALID, "/message")


def test_texts_of_several_requests_are_judged_together_by_decision(shop: Shop, desk: Desk) -> None:
    first = asked(PREDICT, shop.detector, texts=["the cat sat", "a bird"])
    (real,) = desk.answered(first)
    like = result_of(Predictions, real).predictions[0]
    judge = Yes(like)
    faked = Desk(shop, shop.models(load_bundle=lambda _: judge))
    batch = [
        asked(PREDICT, shop.detector, texts=["one"]),
        asked(PREDICT, shop.detector, texts=["one two", "one two three"], decision="half"),
        asked(PREDICT, shop.detector, texts=["1 2 3 4"]),
    ]
    answers = {frame.request_id: result_of(Predictions, frame) for frame in faked.answered(*batch)}
    assert judge.calls == [(["one", "1 2 3 4"], None), (["one two", "one two three"], "half")]
    assert [[one.num_words for one in answers[order.request_id].predictions] for order in batch] == [
        [1],
        [2, 3],
        [4],
    ]
    assert answers[batch[0].request_id].run_id == shop.detector.run_id


def test_each_kind_of_model_is_asked_what_it_can_answer(shop: Shop, desk: Desk) -> None:
    asked_wrongly = [
        asked(GENERATE, shop.detector, prompt_text="a"),
        asked(SCORE, shop.detector, text="a"),
        chat(shop.detector, new_ulid(), message="a"),
        asked(PREDICT, shop.gpt2, texts=["a"]),
    ]
    for order, wanted in zip(asked_wrongly, [*["language model"] * 3, "text detector"], strict=True):
        (refused,) = desk.refused(order)
        assert refused.problem.code is ErrorCode.CONFLICT
        assert f"trained no {wanted}" in refused.problem.message


def test_a_model_that_is_not_there_is_told_to_all_who_asked(shop: Shop, desk: Desk) -> None:
    nobody = shop.gpt2.model_copy(update={"run_id": new_ulid()})
    refused = desk.refused(asked(GENERATE, nobody, prompt_text="a"), asked(GENERATE, nobody, prompt_text="b"))
    assert [one.problem.code for one in refused] == [ErrorCode.ARTIFACT_NOT_FOUND] * 2


def test_a_request_of_another_version_is_refused(shop: Shop, desk: Desk) -> None:
    (refused,) = desk.refused(asked(GENERATE, shop.gpt2, prompt_text="a", beams=4))
    assert refused.problem.code is ErrorCode.CONFLICT
    assert refused.problem.faults[0].pointer == "/beams"


def test_the_time_of_the_model_is_told_apart_from_that_of_loading(shop: Shop, desk: Desk) -> None:
    order = asked(GENERATE, shop.gpt2, prompt_text="a", max_new_tokens=2)
    (cold,) = desk.answered(order)
    (warm,) = desk.answered(order)
    assert (cold.load > 0, warm.load) == (True, 0)
    assert cold.model > 0
    desk.answering.forget_models()
    assert desk.answered(order)[0].load > 0
    assert not [one for one in desk.told if isinstance(one, Told)]
