"""Answers of models, told piece by piece and kept, and the conversations they belong to: what every store promises."""

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.inference import (
    MOST_TURNS,
    GivenBack,
    InferenceKind,
    InferenceStatus,
)
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.inference_rules import UNANSWERED_SECONDS
from tests.contract.inference_stores import (
    LEASE_SECONDS,
    RUN_ID,
    SETTINGS,
    TIMINGS,
    TOO_LARGE,
    InferenceUnderTest,
    conversation,
    ids,
    key_of,
    new_request,
)
from tests.contract.refusals import expect

# ---------------------------------------------------------------- answers


def test_an_answer_is_kept_with_its_times(asked: InferenceUnderTest) -> None:
    request_id = asked.submit()
    record = asked.take_one("a")
    assert asked.complete("a", record, "42")
    answered = asked.get(request_id)
    assert answered.status is InferenceStatus.COMPLETED
    assert (answered.result, answered.timings) == ('{"answer":"42"}', TIMINGS)
    assert (answered.problem, answered.owner, answered.tries) == (None, "a", 1)
    assert answered.finished_at_ms is not None
    assert answered.finished_at_ms >= record.created_at_ms


def test_an_answer_given_twice_stays_as_it_was(asked: InferenceUnderTest) -> None:
    request_id = asked.submit()
    record = asked.take_one("a")
    asked.complete("a", record, "first")
    assert asked.complete("a", record, "second")
    assert not asked.complete("b", record, "third")
    assert not asked.inference.fail("a", record, TOO_LARGE)
    assert asked.get(request_id).result == '{"answer":"first"}'


def test_a_request_fails_with_its_reason(asked: InferenceUnderTest) -> None:
    request_id = asked.submit()
    record = asked.take_one("a")
    assert asked.inference.fail("a", record, TOO_LARGE)
    assert asked.inference.fail("a", record, TOO_LARGE)
    failed = asked.get(request_id)
    assert (failed.status, failed.problem) == (InferenceStatus.FAILED, TOO_LARGE)
    assert (failed.result, failed.timings) == (None, None)
    assert failed.finished_at_ms is not None


def test_an_answer_is_kept_for_a_while(asked: InferenceUnderTest) -> None:
    request_id = asked.submit()
    record = asked.take_one("a")
    asked.complete("a", record)
    asked.expire(key_of(record), SETTINGS.result_ttl_seconds - 60.0)
    assert asked.get(request_id).status is InferenceStatus.COMPLETED
    asked.expire(key_of(record), 61.0)
    with expect(ErrorCode.REQUEST_NOT_FOUND):
        asked.get(request_id)


def test_whoever_waits_hears_of_each_news(asked: InferenceUnderTest) -> None:
    first, second = asked.submit(), asked.submit()
    one, two = asked.take("a")
    asked.announced()
    asked.tell("a", one, "a piece")
    assert asked.announced() == [first]
    asked.complete("a", one)
    assert asked.announced() == [first]
    asked.inference.fail("a", two, TOO_LARGE)
    assert asked.announced() == [second]


def test_pieces_are_numbered_as_they_come(asked: InferenceUnderTest) -> None:
    asked.submit()
    record = asked.take_one("a")
    asked.tell("a", record, "one", "two")
    asked.tell("a", record, "two", "four")
    assert asked.told(record) == [(1, "one"), (2, "two"), (3, "two"), (4, "four")]
    some = asked.inference.pieces_after(record, after=1, limit=2)
    assert [(one.seq, one.piece.text) for one in some] == [(2, "two"), (3, "two")]
    assert asked.inference.pieces_after(record, after=4, limit=2) == ()
    assert len(asked.inference.pieces_after(record, after=-3, limit=1)) == 1
    asked.complete("a", record)
    assert len(asked.told(record)) == 4


def test_a_request_that_is_not_there_has_told_nothing(asked: InferenceUnderTest) -> None:
    asked.submit()
    record = asked.take_one("a")
    other = record.model_copy(update={"request": new_request()})
    asked.tell("a", other, "lost")
    assert asked.told(other) == []


# ---------------------------------------------------------------- conversations


def test_a_conversation_is_kept_with_the_answer(asked: InferenceUnderTest) -> None:
    chat = new_ulid()
    asked.submit(conversation_id=chat)
    said = conversation(chat, "Hello.", "Ä?")
    assert asked.inference.complete("a", asked.take_one("a"), result={}, timings=TIMINGS, conversation=said)
    assert asked.inference.conversation(RUN_ID, chat) == said
    for run_id, other in ((RUN_ID, new_ulid()), (new_ulid(), chat)):
        with expect(ErrorCode.REQUEST_NOT_FOUND):
            asked.inference.conversation(run_id, other)


def test_a_conversation_is_kept_for_a_while_after_its_last_turn(asked: InferenceUnderTest) -> None:
    chat = new_ulid()
    key = f"chat:conversation:{RUN_ID}:{chat}"
    for words in ("one", "two"):
        asked.submit(conversation_id=chat)
        record = asked.take_one("a")
        asked.inference.complete(
            "a", record, result={}, timings=TIMINGS, conversation=conversation(chat, words)
        )
        asked.expire(key, SETTINGS.conversation_ttl_seconds - 60.0)
        assert asked.inference.conversation(RUN_ID, chat).turns[0].content == words
    asked.expire(key, 61.0)
    with expect(ErrorCode.REQUEST_NOT_FOUND):
        asked.inference.conversation(RUN_ID, chat)


def test_one_message_of_a_conversation_is_answered_at_a_time(asked: InferenceUnderTest) -> None:
    chat, other = new_ulid(), new_ulid()
    first = asked.submit(conversation_id=chat)
    with expect(ErrorCode.CONFLICT) as caught:
        asked.submit(conversation_id=chat)
    assert first in caught.value.message
    assert caught.value.faults[0].pointer == "/conversation_id"
    record = asked.take_one("a")
    with expect(ErrorCode.CONFLICT):
        asked.submit(conversation_id=chat)
    asked.inference.give_back("a", (record,), why=GivenBack.STOPPED)
    with expect(ErrorCode.CONFLICT):
        asked.submit(conversation_id=chat)
    asked.submit(conversation_id=other)
    assert asked.inference.depth() == 2


def test_after_an_answer_or_a_failure_the_next_message_may_come(asked: InferenceUnderTest) -> None:
    chat = new_ulid()
    asked.submit(conversation_id=chat)
    asked.inference.fail("a", asked.take_one("a"), TOO_LARGE)
    asked.submit(conversation_id=chat)
    asked.complete("a", asked.take_one("a"))
    asked.submit(conversation_id=chat)
    record = asked.take_one("a", lease_seconds=LEASE_SECONDS)
    asked.pass_time(LEASE_SECONDS + 0.01)
    asked.inference.reap(most_deaths=1)
    asked.submit(conversation_id=chat)
    with expect(ErrorCode.REQUEST_NOT_FOUND):
        asked.inference.conversation(RUN_ID, chat)
    assert asked.get(record.request.request_id, InferenceKind.CHAT).status is InferenceStatus.FAILED


def test_only_a_conversation_that_is_there_is_gone_on_with(asked: InferenceUnderTest) -> None:
    chat = new_ulid()

    def refused() -> AppError:
        with expect(ErrorCode.CONFIG_INVALID) as caught:
            asked.submit(conversation_id=chat, goes_on=True)
        return caught.value

    def answer() -> None:
        said = conversation(chat, "Hello.", "Ah?")
        asked.inference.complete("a", asked.take_one("a"), result={}, timings=TIMINGS, conversation=said)

    assert [fault.pointer for fault in refused().faults] == ["/conversation_id"]
    first = asked.submit(conversation_id=chat)
    with expect(ErrorCode.CONFLICT) as caught:
        asked.submit(conversation_id=chat, goes_on=True)
    assert first in caught.value.message
    asked.inference.fail("a", asked.take_one("a"), TOO_LARGE)
    assert "its first message failed" in refused().message
    asked.submit(conversation_id=chat)
    answer()
    asked.submit(conversation_id=chat, goes_on=True)
    answer()
    asked.expire(f"chat:conversation:{RUN_ID}:{chat}", SETTINGS.conversation_ttl_seconds + 1.0)
    assert "too long" in refused().message


def test_the_newest_turns_of_a_conversation_are_kept(asked: InferenceUnderTest) -> None:
    chat = new_ulid()
    asked.submit(conversation_id=chat)
    said = conversation(chat, *map(str, range(MOST_TURNS + 2)))
    asked.inference.complete("a", asked.take_one("a"), result={}, timings=TIMINGS, conversation=said)
    kept = asked.inference.conversation(RUN_ID, chat)
    assert kept == said.model_copy(update={"turns": said.turns[2:]})


def test_a_message_that_expired_does_not_block_its_conversation(asked: InferenceUnderTest) -> None:
    chat = new_ulid()
    record = asked.get(asked.submit(conversation_id=chat), InferenceKind.CHAT)
    asked.expire(key_of(record), UNANSWERED_SECONDS + 1.0)
    again = asked.submit(conversation_id=chat)
    assert ids(asked.take()) == [again]
