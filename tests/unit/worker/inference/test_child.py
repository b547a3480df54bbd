"""The child's loop, with somebody else at both ends: what is answered, what is put apart, what ends the process."""

import weakref
from collections import deque
from collections.abc import Callable, Sequence

import pytest

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.inference import Piece
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.worker.inference.answering import Tell
from model_trainer.worker.inference.child import answer_batches
from model_trainer.worker.inference.frames import (
    Apart,
    Batch,
    Done,
    Frame,
    Order,
    Refused,
    Told,
    parse_frame,
)
from tests.unit.worker.inference.bench import RUN_ID, answer, order_of, request

OTHER = new_ulid()


class Line:
    """A pipe whose other end has said everything already."""

    def __init__(self, *batches: Batch) -> None:
        self._heard = deque(batch.model_dump_json().encode() for batch in batches)
        self.said: list[Frame] = []

    def recv_bytes(self) -> bytes:
        if not self._heard:
            raise EOFError
        return self._heard.popleft()

    def send_bytes(self, data: bytes, /) -> None:
        self.said.append(parse_frame(data))


class Answers:
    """Answers as it is told to, with these models loaded."""

    def __init__(
        self, how: Callable[[Sequence[Order], Tell], None], loaded: tuple[str, ...] = (RUN_ID,)
    ) -> None:
        self.answer = how
        self.loaded = loaded
        self.forgotten = 0

    def forget_models(self) -> tuple[str, ...]:
        self.forgotten += 1
        loaded, self.loaded = self.loaded, ()
        return loaded


def orders(number: int = 1) -> list[Order]:
    return [order_of(request()) for _ in range(number)]


def served(
    batch: Sequence[Order],
    how: Callable[[Sequence[Order], Tell], None],
    *,
    loaded: tuple[str, ...] = (RUN_ID,),
) -> tuple[list[Frame], Answers]:
    line, answers = Line(Batch(orders=tuple(batch))), Answers(how, loaded)
    answer_batches(line, answers)
    return line.said, answers


def test_each_batch_ends_with_a_word_that_it_has_ended() -> None:
    batch = orders(2)

    def how(asked: Sequence[Order], tell: Tell) -> None:
        for order in asked:
            tell(Told(request_id=order.request_id, piece=Piece(sequence=0, text="a")))
            tell(answer(order.request_id, {"n": 1}))

    line = Line(Batch(orders=tuple(batch)), Batch(orders=tuple(orders())))
    answer_batches(line, Answers(how))
    assert [frame.frame for frame in line.said] == ["told", "answered"] * 2 + [
        "done",
        "told",
        "answered",
        "done",
    ]


def test_a_fault_in_a_request_that_was_alone_is_its_own() -> None:
    def how(_asked: Sequence[Order], _tell: Tell) -> None:
        raise AppError(ErrorCode.DIVERGED, "No numbers.")

    batch = orders()
    (refused, done), answers = served(batch, how)
    assert isinstance(refused, Refused)
    assert (refused.request_id, refused.problem.code) == (batch[0].request_id, ErrorCode.DIVERGED)
    assert isinstance(done, Done)
    assert answers.forgotten == 0


def test_a_fault_among_several_puts_apart_those_that_are_open() -> None:
    batch = orders(3)

    def how(asked: Sequence[Order], tell: Tell) -> None:
        tell(answer(asked[1].request_id, {}))
        raise AppError(ErrorCode.DIVERGED, "No numbers.")

    (_, apart, _), _ = served(batch, how)
    assert apart == Apart(request_ids=(batch[0].request_id, batch[2].request_id))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 TB"),
        AppError(ErrorCode.OUT_OF_MEMORY, "Use a smaller batch_size."),
    ],
)
def test_without_memory_the_models_go_and_the_process_stays(error: Exception) -> None:
    def how(_asked: Sequence[Order], _tell: Tell) -> None:
        raise error

    (refused, _), answers = served(orders(), how)
    assert isinstance(refused, Refused)
    assert refused.problem.code is ErrorCode.OUT_OF_MEMORY
    assert "batch_size" not in refused.problem.message
    assert answers.forgotten == 1


@pytest.mark.parametrize(
    ("number", "tries", "loaded", "said"),
    [
        (1, 1, (RUN_ID, OTHER), "apart"),  # it may well fit where the others were
        (1, 1, (OTHER,), "apart"),  # its own could not even be loaded
        (1, 1, (RUN_ID,), "refused"),
        (1, 1, (), "refused"),
        (1, 2, (RUN_ID, OTHER), "apart"),
        (1, 3, (RUN_ID, OTHER), "refused"),
        (2, 1, (RUN_ID,), "apart"),
    ],
)
def test_who_is_alone_is_at_fault_for_want_of_memory_when_no_other_model_had_it(
    number: int, tries: int, loaded: tuple[str, ...], said: str
) -> None:
    def how(_asked: Sequence[Order], _tell: Tell) -> None:
        raise MemoryError

    changes: dict[str, object] = {"tries": tries}
    batch = [Order(record=order.record.model_copy(update=changes)) for order in orders(number)]
    (frame, _), answers = served(batch, how, loaded=loaded)
    assert frame.frame == said
    assert answers.forgotten == 1


def test_memory_is_given_back_when_nothing_of_the_fault_is_held_any_more() -> None:
    class Model:
        """What a frame of the fault holds."""

    watched: list[weakref.ref[Model]] = []

    def how(_asked: Sequence[Order], _tell: Tell) -> None:
        model = Model()
        watched.append(weakref.ref(model))
        raise MemoryError

    class Watching(Answers):
        def forget_models(self) -> tuple[str, ...]:
            assert [one() for one in watched] == [None]
            return super().forget_models()

    answers = Watching(how)
    answer_batches(Line(Batch(orders=tuple(orders()))), answers)
    assert answers.forgotten == 1


@pytest.mark.parametrize("error", [RuntimeError("shapes do not fit"), KeyError("secret path")])
def test_what_nobody_foresaw_is_told_without_details_and_ends_the_process(error: Exception) -> None:
    def how(_asked: Sequence[Order], _tell: Tell) -> None:
        raise error

    line = Line(Batch(orders=tuple(orders())))
    with pytest.raises(type(error)):
        answer_batches(line, Answers(how))
    (refused,) = line.said
    assert isinstance(refused, Refused)
    assert refused.problem.code is ErrorCode.INTERNAL
    assert refused.problem.exception is None
    assert "secret" not in refused.problem.message
