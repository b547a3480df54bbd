"""Children that die or take too long: who is at fault, who is tried again, and what is given back."""

from collections.abc import Iterator

import pytest

from model_trainer.core.contracts.inference import (
    GivenBack,
    InferenceRequest,
    InferenceStatus,
)
from model_trainer.core.contracts.run import Problem
from model_trainer.core.errors import ErrorCode
from model_trainer.worker.inference.frames import Apart, Batch, Done, Frame
from tests.unit.worker.inference.bench import (
    Dies,
    Impatient,
    Room,
    answer,
    answer_all,
    request,
    settings,
)


def silent(_batch: Batch) -> Iterator[Frame]:
    yield from ()


def dies_at_once(_batch: Batch) -> Iterator[Frame]:
    yield from ()
    raise Dies


def problem_of(room: Room, asked: InferenceRequest) -> Problem:
    problem = room.record(asked).problem
    assert problem is not None
    return problem


def test_of_a_batch_that_kills_the_child_only_the_one_at_fault_fails() -> None:
    room = Room([])
    good, bad, fine = (room.submit(request()) for _ in range(3))

    def poisoned(batch: Batch) -> Iterator[Frame]:
        if any(order.request_id == bad.request_id for order in batch.orders):
            raise Dies
        yield from answer_all(batch)

    room.scripts.append(poisoned)
    room.serve_until_ended(good, bad, fine)
    assert room.record(good).status is room.record(fine).status is InferenceStatus.COMPLETED
    assert problem_of(room, bad).code is ErrorCode.WORKER_LOST
    assert "memory" in problem_of(room, bad).message
    assert room.record(bad).tries == 2
    assert len(room.children) == 3


def test_what_was_answered_before_the_child_died_stays_answered() -> None:
    def half(batch: Batch) -> Iterator[Frame]:
        yield answer(batch.orders[0].request_id, {"by": "the first"})
        raise Dies

    room = Room([half, answer_all])
    first, second = room.submit(request()), room.submit(request())
    room.serve_until_ended(first, second)
    assert room.record(first).result == '{"by":"the first"}'
    assert room.record(second).result == '{"said":"yes"}'


def test_a_request_whose_child_was_killed_from_outside_is_answered_by_the_next_one() -> None:
    room = Room([dies_at_once, answer_all])
    asked = room.submit(request())
    room.serve_until_ended(asked)
    assert room.record(asked).status is InferenceStatus.COMPLETED


def test_a_request_that_a_stopping_worker_gave_back_may_lose_a_child_like_any_other() -> None:
    room = Room([dies_at_once, answer_all])
    asked = room.submit(request())
    for _ in range(3):
        taken = room.store.take("worker-0", most=8, lease_seconds=9, wait_seconds=0)
        room.store.give_back("worker-0", taken, why=GivenBack.STOPPED)
    room.serve_until_ended(asked)
    assert room.record(asked).status is InferenceStatus.COMPLETED
    assert (room.record(asked).tries, room.record(asked).deaths) == (5, 1)


def test_a_request_that_was_put_apart_or_late_with_others_has_not_killed_anybody() -> None:
    room = Room([], settings=settings(request_timeout_seconds=0.2))

    def part(batch: Batch) -> Iterator[Frame]:
        if len(batch.orders) == 3:
            yield Apart(request_ids=tuple(order.request_id for order in batch.orders[:1]))

    room.scripts += [part, dies_at_once, answer_all]
    asked = [room.submit(request()) for _ in range(3)]
    room.serve_until_ended(*asked)
    records = [room.record(one) for one in asked]
    assert {record.status for record in records} == {InferenceStatus.COMPLETED}
    assert [record.deaths for record in records] == [1, 0, 0]


def test_nobody_is_at_fault_for_the_death_of_a_child_that_worked_for_several() -> None:
    def dies_of_two(batch: Batch) -> Iterator[Frame]:
        if len(batch.orders) > 1:
            raise Dies
        yield from answer_all(batch)

    room = Room([dies_of_two])
    first, second = room.submit(request()), room.submit(request())
    taken = room.store.take("worker-0", most=8, lease_seconds=9, wait_seconds=0)
    room.store.give_back("worker-0", taken, why=GivenBack.STOPPED)  # as a worker does that is told to stop
    room.serve_until_ended(first, second)
    assert room.record(first).status is room.record(second).status is InferenceStatus.COMPLETED
    assert (room.record(first).tries, room.record(first).deaths) == (3, 1)


def test_a_child_that_died_while_nothing_was_asked_is_replaced_first() -> None:
    room = Room([dies_at_once, answer_all])
    room.children[0].alive = False
    asked = room.submit(request())
    room.serve_until_ended(asked)
    assert room.children[0].batches == []
    assert room.record(asked).tries == 1


def test_a_child_that_dies_in_the_moment_it_is_spoken_to_is_replaced() -> None:
    room = Room([dies_at_once, answer_all])
    room.children[0].hears = False
    asked = room.submit(request())
    room.serve_until_ended(asked)
    assert (room.record(asked).status, room.record(asked).tries) == (InferenceStatus.COMPLETED, 2)


def test_a_request_that_takes_too_long_by_itself_fails_and_its_child_is_killed() -> None:
    room = Room([silent, answer_all], settings=settings(request_timeout_seconds=0.2))
    late = room.submit(request())
    room.serve_until_ended(late)
    assert problem_of(room, late).code is ErrorCode.JOB_TIMEOUT
    assert "INFERENCE__REQUEST_TIMEOUT_SECONDS" in problem_of(room, late).message
    assert room.children[0].ends[0] == "killed"
    fine = room.submit(request())
    room.stop.clear()
    room.serve_until_ended(fine)
    assert room.record(fine).status is InferenceStatus.COMPLETED


def test_of_several_that_take_too_long_together_each_is_tried_alone() -> None:
    room = Room([silent, answer_all], settings=settings(request_timeout_seconds=0.2))
    first, second = room.submit(request()), room.submit(request())
    room.serve_until_ended(first, second)
    assert [len(batch.orders) for batch in room.children[1].batches] == [1, 1]
    assert room.record(second).status is InferenceStatus.COMPLETED


def test_requests_that_did_not_get_on_together_are_tried_one_by_one() -> None:
    def part(batch: Batch) -> Iterator[Frame]:
        if len(batch.orders) > 1:
            yield Apart(request_ids=tuple(order.request_id for order in batch.orders))
            yield Done()
        else:
            yield from answer_all(batch)

    room = Room([part])
    first, second = room.submit(request()), room.submit(request())
    room.serve_until_ended(first, second)
    assert [len(batch.orders) for batch in room.children[0].batches] == [2, 1, 1]


def test_what_was_taken_goes_back_as_it_was_while_no_child_can_be_forked() -> None:
    room = Room([dies_at_once, answer_all])
    asked = room.submit(request())
    room.children[0].alive = False
    room.forks_to_refuse = 1
    room.stop = stop = Impatient()
    room.serve_until_ended(asked)
    record = room.record(asked)
    assert (record.status, record.deaths) == (InferenceStatus.COMPLETED, 0)
    assert stop.rested == [0.5]
    assert len(room.children) == 2
    stop.clear()
    room.children[1].alive = False
    room.forks_to_refuse = 3
    again = room.submit(request())
    room.serve_until_ended(again)
    assert stop.rested == [0.5, 0.5, 1.0]


def test_a_child_that_dies_between_two_looks_is_replaced_or_the_batch_goes_back() -> None:
    room = Room([answer_all])
    asked = room.submit(request())

    def die() -> None:
        if not room.forks_refused:
            room.children[0].alive = False
            room.forks_to_refuse = 1

    room.store.at_take = die
    room.serve_until_ended(asked)
    record = room.record(asked)
    assert (record.status, record.tries, record.deaths) == (InferenceStatus.COMPLETED, 2, 0)
    assert room.forks_refused == 1


def test_a_machine_that_refuses_every_fork_for_minutes_ends_the_worker_with_nothing_taken() -> None:
    room = Room([dies_at_once])
    asked = room.submit(request())
    room.children[0].alive = False
    room.forks_to_refuse = 1000
    stop = Impatient()
    with pytest.raises(BlockingIOError):
        room.server.serve(stop)
    assert (room.record(asked).status, room.record(asked).tries) == (InferenceStatus.QUEUED, 0)
    assert 500 < sum(stop.rested) < 700
    assert max(stop.rested) == 5.0
    assert room.alive > 0
