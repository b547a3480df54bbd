"""The parent's loop: who is answered, who is tried again, who has failed; whatever its child does."""

import time
from collections.abc import Iterator

import pytest

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.inference import (
    Conversation,
    InferenceKind,
    InferenceRequest,
    InferenceStatus,
    Piece,
    Turn,
)
from model_trainer.core.contracts.run import Problem
from model_trainer.core.errors import ErrorCode
from model_trainer.worker.inference.frames import Answered, Batch, Done, Frame, Refused, Told
from tests.unit.worker.inference.bench import (
    RUN_ID,
    Room,
    answer,
    answer_all,
    request,
    settings,
)


def message(conversation_id: str, text: str) -> InferenceRequest:
    """One that continues a conversation."""
    spec = {"message": text, "conversation_id": conversation_id}
    return request(InferenceKind.CHAT, conversation_id=conversation_id, spec=spec)


def problem_of(room: Room, asked: InferenceRequest) -> Problem:
    problem = room.record(asked).problem
    assert problem is not None
    return problem


def test_requests_for_the_same_model_are_answered_together_with_their_times() -> None:
    room = Room([answer_all])
    first, other, second = request(), request(batch_key="other"), request()
    for one in (first, other, second):
        room.submit(one)
    room.now += 2
    room.serve_until_ended(first, other, second)
    sizes = [[order.request_id for order in batch.orders] for batch in room.children[0].batches]
    assert sizes == [[first.request_id, second.request_id], [other.request_id]]
    record = room.record(first)
    assert record.result == '{"said":"yes"}'
    assert record.timings is not None
    assert (record.timings.queued, record.timings.load, record.timings.model) == (2000.0, 1.0, 2.0)
    assert record.timings.total > 2000
    assert room.children[0].ends == ["let go"]
    assert room.alive > 0


def test_no_batch_is_larger_than_the_settings_allow() -> None:
    room = Room([answer_all], settings=settings(max_batch=2))
    asked = [room.submit(request()) for _ in range(5)]
    room.serve_until_ended(*asked)
    assert [len(batch.orders) for batch in room.children[0].batches] == [2, 2, 1]


def test_pieces_are_told_before_the_answer_and_belong_to_their_request() -> None:
    def stream(batch: Batch) -> Iterator[Frame]:
        first, second = (order.request_id for order in batch.orders)
        yield Told(request_id=first, piece=Piece(sequence=0, text="on"))
        yield Told(request_id=second, piece=Piece(sequence=0, text="two"))
        yield Told(request_id=first, piece=Piece(sequence=1, text="e"))
        yield answer(first, {})
        yield Told(request_id=first, piece=Piece(sequence=1, text="too late"))
        yield answer(second, {})
        yield Done()

    room = Room([stream])
    first, second = room.submit(request()), room.submit(request())
    room.serve_until_ended(first, second)
    told = room.store.pieces_after(room.record(first), after=0, limit=10)
    assert [(row.piece.sequence, row.piece.text) for row in told] == [(0, "on"), (1, "e")]
    assert [row.piece.text for row in room.store.pieces_after(room.record(second), after=0, limit=9)] == [
        "two"
    ]


def test_what_the_child_refuses_has_failed_with_its_reason() -> None:
    def refuse(batch: Batch) -> Iterator[Frame]:
        problem = Problem(code=ErrorCode.CONFIG_INVALID, message="Too long.")
        yield Refused(request_id=batch.orders[0].request_id, problem=problem)
        yield Done()

    room = Room([refuse])
    asked = room.submit(request())
    room.serve_until_ended(asked)
    assert (room.record(asked).status, problem_of(room, asked).message) == (
        InferenceStatus.FAILED,
        "Too long.",
    )


def test_a_batch_may_end_within_the_grace_when_the_worker_is_told_to_stop() -> None:
    room = Room([])

    def stop_first(batch: Batch) -> Iterator[Frame | None]:
        room.stop.set()
        for _ in range(20):
            yield None
        yield from answer_all(batch)

    room.scripts.append(stop_first)
    asked = room.submit(request())
    room.server.serve(room.stop)
    assert room.record(asked).status is InferenceStatus.COMPLETED


def test_what_is_unfinished_after_the_grace_goes_back_in_line_as_it_was() -> None:
    room = Room([], stop_grace_seconds=0.05)

    def stop_first(_batch: Batch) -> Iterator[Frame]:
        room.stop.set()
        yield from ()

    room.scripts.append(stop_first)
    first, second = room.submit(request()), room.submit(request())
    room.server.serve(room.stop)
    assert room.record(first).status is room.record(second).status is InferenceStatus.QUEUED
    assert room.children[0].ends == ["killed", "let go"]
    taken = room.store.take("worker-2", most=8, lease_seconds=1, wait_seconds=0)
    assert len(taken) == 2  # and not alone: nobody is suspected of anything


def test_requests_of_a_worker_that_has_gone_silent_are_rescued() -> None:
    room = Room([answer_all])
    asked = room.submit(request())
    room.store.take("dead", most=1, lease_seconds=5, wait_seconds=0)
    room.now += 6
    room.serve_until_ended(asked)
    assert room.record(asked).status is InferenceStatus.COMPLETED


def test_a_store_that_is_away_is_asked_again_until_it_is_back() -> None:
    room = Room([answer_all])
    room.store.away = True
    asked = room.submit(request())

    def come_back() -> bool:
        if room.store.asked > 2:
            room.store.away = False
        return room.record(asked).status.is_terminal

    room.serve_until(come_back)
    assert room.record(asked).status is InferenceStatus.COMPLETED


def test_a_long_batch_is_held_for_as_long_as_it_takes() -> None:
    room = Room([], settings=settings(lease_seconds=3.0))

    def slow(batch: Batch) -> Iterator[Frame | None]:
        while room.clock_now < 20:
            room.now += 0.5
            room.clock_now += 0.5
            assert room.store.reap(most_deaths=3) == ()
            yield None
        yield from answer_all(batch)

    room.scripts.append(slow)
    asked = room.submit(request())
    room.serve_until_ended(asked)
    assert room.record(asked).tries == 1


def test_a_message_comes_with_what_was_said_before_and_the_answer_is_added() -> None:
    room = Room([])
    conversation_id = new_ulid()
    said = Conversation(
        conversation_id=conversation_id,
        run_id=RUN_ID,
        system=None,
        turns=(Turn(role="user", content="one"), Turn(role="assistant", content="two")),
    )
    more = said.model_copy(update={"turns": (*said.turns, Turn(role="user", content="three"))})

    def reply(batch: Batch) -> Iterator[Frame]:
        (order,) = batch.orders
        then = said if order.conversation is None else more
        yield Answered(request_id=order.request_id, result={}, load=0, model=1, conversation=then)
        yield Done()

    room.scripts.append(reply)
    first = room.submit(request(InferenceKind.CHAT, conversation_id=conversation_id, spec={"message": "one"}))
    room.serve_until_ended(first)
    assert room.store.conversation(RUN_ID, conversation_id) == said
    room.stop.clear()
    room.children[0].alive = True
    following = message(conversation_id, "three")
    room.submit(following)
    room.serve_until_ended(following)
    assert room.store.conversation(RUN_ID, conversation_id) == more


def test_a_message_to_a_conversation_that_has_expired_meanwhile_is_refused() -> None:
    room = Room([], settings=settings(conversation_ttl_seconds=10))
    conversation_id = new_ulid()
    said = Conversation(conversation_id=conversation_id, run_id=RUN_ID, system=None, turns=())

    def reply(batch: Batch) -> Iterator[Frame]:
        (order,) = batch.orders
        yield Answered(request_id=order.request_id, result={}, load=0, model=1, conversation=said)
        yield Done()

    room.scripts.append(reply)
    first = room.submit(request(InferenceKind.CHAT, conversation_id=conversation_id, spec={"message": "one"}))
    room.serve_until_ended(first)
    asked = room.submit(message(conversation_id, "and?"))
    room.now += 11
    room.stop.clear()
    room.children[0].alive = True
    room.serve_until_ended(asked)
    assert problem_of(room, asked).code is ErrorCode.REQUEST_NOT_FOUND
    assert len(room.children[0].batches) == 1


def test_what_cannot_be_written_down_is_left_to_the_store_and_others_go_on() -> None:
    room = Room([], settings=settings(lease_seconds=0.3))

    def answer_into_the_void(batch: Batch) -> Iterator[Frame]:
        first, second = (order.request_id for order in batch.orders)
        room.store.deaf_to = (first,)
        yield answer(first, {})
        yield answer(first, {"said": "twice"})
        yield answer(second, {})
        yield Done()

    room.scripts.append(answer_into_the_void)
    first, second = room.submit(request()), room.submit(request())
    room.serve_until_ended(second)
    assert room.record(second).status is InferenceStatus.COMPLETED
    assert room.record(first).status is InferenceStatus.RUNNING
    room.now += 1
    assert room.store.reap(most_deaths=3) == (first.request_id,)


def test_a_renewal_that_fails_is_no_reason_to_give_up() -> None:
    room = Room([], settings=settings(lease_seconds=3.0))

    def slow(batch: Batch) -> Iterator[Frame | None]:
        room.store.away = True
        while room.store.renewals_refused < 1:
            room.clock_now += 0.5
            yield None
        room.store.away = False
        yield from answer_all(batch)

    room.scripts.append(slow)
    asked = room.submit(request())
    room.serve_until_ended(asked)
    assert room.record(asked).status is InferenceStatus.COMPLETED


def test_a_fault_of_our_own_ends_the_worker_and_its_child() -> None:
    room = Room([answer_all])

    def broken(_batch: Batch) -> Iterator[Frame]:
        yield from ()
        raise RuntimeError("a defect")

    room.scripts[0] = broken
    room.submit(request())
    with pytest.raises(RuntimeError):
        room.server.serve(room.stop)
    assert room.children[0].ends == ["let go"]


def test_an_outage_is_waited_for_once_however_many_answers_there_are() -> None:
    room = Room([], settings=settings(lease_seconds=1.2))

    def answer_into_the_void(batch: Batch) -> Iterator[Frame]:
        room.store.deaf_to = [order.request_id for order in batch.orders]
        yield from answer_all(batch)

    room.scripts.append(answer_into_the_void)
    asked = [room.submit(request()) for _ in range(6)]
    began = time.monotonic()
    room.serve_until(lambda: len(room.store.unheard) == 6)
    assert time.monotonic() - began < 5  # and not six leases
    first, *others = asked
    assert room.store.unheard[first.request_id] > 1
    assert [room.store.unheard[one.request_id] for one in others] == [1] * 5
