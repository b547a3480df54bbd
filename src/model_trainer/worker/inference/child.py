"""The child's loop: batches in, answers out, until its parent hangs up. One process, one thread, one batch at a time."""

from collections.abc import Sequence
from typing import Protocol

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.worker.inference.answering import Tell
from model_trainer.worker.inference.frames import Answered, Apart, Batch, Done, Order, Refused, Told, refusal
from model_trainer.worker.outcomes import as_app_error

log = get_logger(__name__)

MOST_TRIES = 3
"""A request that was taken so often is not sent back any more because models were loaded that it did not need."""


class Line(Protocol):
    """The child's end of the pipe."""

    def send_bytes(self, data: bytes, /) -> None:
        """One frame to the parent."""
        ...

    def recv_bytes(self) -> bytes:
        """The parent's next frame; raises EOFError when it has hung up."""
        ...


class Answers(Protocol):
    """What answers (worker.inference.answering.Answering)."""

    def answer(self, orders: Sequence[Order], tell: Tell) -> None:
        """Answers requests of one kind to one run; raises AppError for what concerns all that are not answered by then."""
        ...

    def forget_models(self) -> tuple[str, ...]:
        """Gives the memory of all loaded models back; returns the ids of their runs."""
        ...


def answer_batches(line: Line, answers: Answers) -> None:
    """Works until the parent hangs up.

    What nobody foresaw is told and raised: this process ends then, for nobody knows what such a fault has left behind (a
    CUDA context never works again), and the parent has another one at once.
    """
    while True:
        try:
            data = line.recv_bytes()
        except EOFError:
            return
        _Work(line, Batch.model_validate_json(data).orders).do(answers)
        line.send_bytes(Done().model_dump_json().encode())


class _Work:
    """Requests of one kind to one run, those that are not answered yet."""

    def __init__(self, line: Line, orders: Sequence[Order]) -> None:
        self._line = line
        self._orders = orders
        self._open = {order.request_id: order for order in orders}

    def do(self, answers: Answers) -> None:
        """Answers them, says why not, or raises what nobody foresaw when it has been told."""
        try:
            self._answer(answers)
        except Exception as error:
            self._end(_as_told(error))
            log.error("inference_failed")
            raise

    def _answer(self, answers: Answers) -> None:
        fault = self._fault(answers)
        if fault is None:
            return
        if fault.code is ErrorCode.OUT_OF_MEMORY and self._others_filled_the_memory(answers):
            self._put_apart()
        else:
            self._end(fault)

    def _fault(self, answers: Answers) -> AppError | None:
        """What went wrong and is foreseen. The frames in which it did, and what they hold, are gone by then."""
        try:
            answers.answer(self._orders, self._tell)
        except (AppError, MemoryError, RuntimeError) as error:
            told = _as_told(error)
            if told.code is ErrorCode.INTERNAL:
                raise
            return told
        return None

    def _others_filled_the_memory(self, answers: Answers) -> bool:
        """Whether models were loaded that are not asked here. None is by now."""
        record = self._orders[0].record
        log.warning("inference_out_of_memory", run_id=record.request.run_id)
        others = set(answers.forget_models()) - {record.request.run_id}
        return bool(others) and record.tries < MOST_TRIES

    def _tell(self, frame: Told | Answered | Refused) -> None:
        if not isinstance(frame, Told):
            del self._open[frame.request_id]
        self._line.send_bytes(frame.model_dump_json().encode())

    def _end(self, error: AppError) -> None:
        """Who was alone is at fault; one of several may be, and each that is open is tried by itself."""
        if len(self._orders) == 1:
            for request_id in list(self._open):
                self._tell(refusal(request_id, error))
        else:
            self._put_apart()

    def _put_apart(self) -> None:
        apart = Apart(request_ids=tuple(self._open))
        self._line.send_bytes(apart.model_dump_json().encode())


def _as_told(error: Exception) -> AppError:
    """What the asker is told: what nobody foresaw is for the log."""
    known = as_app_error(error, fallback=ErrorCode.INTERNAL)
    if known.code is ErrorCode.OUT_OF_MEMORY:
        message = "The inference worker ran out of memory. Ask for fewer sequences, a shorter text or a smaller model."
        return AppError(known.code, message)
    if known is error:
        return known
    message = "Something failed that should not have. The log of the inference worker has the details."
    return AppError(known.code, message)
