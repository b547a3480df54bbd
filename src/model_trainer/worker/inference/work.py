"""A batch, as the parent sees it: which requests are open, and what the store is told of each."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from model_trainer.core.contracts.inference import (
    Conversation,
    GivenBack,
    InferenceRecord,
    Piece,
    Timings,
)
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.inference import InferenceStore
from model_trainer.worker.inference.frames import Answered, Apart, Batch, Frame, Order, Refused, Told, refusal
from model_trainer.worker.recording import patiently

log = get_logger(__name__)

RENEWALS_A_LEASE = 3

Answer = TypeVar("Answer")


class Work:
    """Requests that this worker holds.

    A store that is away is waited for, for one lease in all; what it has not heard by then it gives to somebody else.
    """

    def __init__(
        self,
        store: InferenceStore,
        records: Sequence[InferenceRecord],
        *,
        owner: str,
        lease_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._owner = owner
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._began = clock()
        self._renew_at = self._began + lease_seconds / RENEWALS_A_LEASE
        self._away_since: float | None = None
        self._open = {record.request.request_id: record for record in records}
        self.records = tuple(records)
        """What was taken."""

    @property
    def seconds(self) -> float:
        """Since it began."""
        return self._clock() - self._began

    def batch(self) -> Batch:
        """The open requests for the child, each with what was said before. One of a conversation that has expired meanwhile
        is refused."""
        orders: list[Order] = []
        for record in self.records:
            try:
                orders.append(Order(record=record, conversation=self._conversation_of(record)))
            except AppError as error:
                self._refuse(refusal(record.request.request_id, error))
        return Batch(orders=tuple(orders))

    def note(self, frames: Sequence[Frame]) -> None:
        """Writes down what the child said; pieces that came one after the other go together."""
        pieces: dict[str, list[Piece]] = {}
        for frame in frames:
            match frame:
                case Told():
                    pieces.setdefault(frame.request_id, []).append(frame.piece)
                case Answered():
                    self._tell(frame.request_id, pieces.pop(frame.request_id, []))
                    self._complete(frame)
                case Refused():
                    self._refuse(frame)
                case Apart():
                    self._give_back(frame.request_ids, GivenBack.APART)
                case _:  # Done: whoever asked hears it too
                    continue
        for request_id, told in pieces.items():
            self._tell(request_id, told)

    def renew_if_due(self) -> None:
        """Holds the open requests for another lease, in good time."""
        if self._open and self._clock() >= self._renew_at:
            self._renew_at = self._clock() + self._lease_seconds / RENEWALS_A_LEASE
            try:
                self._store.renew(self._owner, tuple(self._open.values()), lease_seconds=self._lease_seconds)
            except AppError as error:
                log.warning("inference_not_renewed", error_code=error.code.value, detail=error.message)

    def give_back(self, why: GivenBack) -> None:
        """Puts the open requests back in line."""
        self._give_back(tuple(self._open), why)

    def fail(self, error: AppError) -> None:
        """There will be no answer to the open requests."""
        for request_id in tuple(self._open):
            self._refuse(refusal(request_id, error))

    def _conversation_of(self, record: InferenceRecord) -> Conversation | None:
        request = record.request
        if not request.goes_on:
            return None
        conversation_id = request.conversation_id or ""
        return self._asked(lambda: self._store.conversation(request.run_id, conversation_id))

    def _tell(self, request_id: str, pieces: Sequence[Piece]) -> None:
        record = self._open.get(request_id)
        if record is not None and pieces:
            self._write(record, lambda: self._store.tell(self._owner, record, tuple(pieces)))

    def _complete(self, frame: Answered) -> None:
        record = self._open.get(frame.request_id)
        if record is None:
            return
        queued = float(max(0, (record.started_at_ms or record.created_at_ms) - record.created_at_ms))
        timings = Timings(
            queued=queued, load=frame.load, model=frame.model, total=queued + self.seconds * 1000
        )
        self._write(
            record,
            lambda: self._store.complete(
                self._owner, record, result=frame.result, timings=timings, conversation=frame.conversation
            ),
        )
        self._open.pop(frame.request_id, None)

    def _refuse(self, frame: Refused) -> None:
        request_id, problem = frame.request_id, frame.problem
        record = self._open.get(request_id)
        if record is not None:
            log.info("inference_refused", request_id=request_id, error_code=problem.code.value)
            self._write(record, lambda: self._store.fail(self._owner, record, problem))
            self._open.pop(request_id, None)

    def _give_back(self, request_ids: Sequence[str], why: GivenBack) -> None:
        records = tuple(self._open.pop(name) for name in request_ids if name in self._open)
        if records:
            log.warning("inference_given_back", detail=" ".join(each.request.request_id for each in records))
            self._write(records[0], lambda: self._store.give_back(self._owner, records, why=why))

    def _write(self, record: InferenceRecord, write: Callable[[], object]) -> None:
        """A request of which the store cannot be told is left to it: whoever takes it next begins anew."""
        try:
            self._asked(write)
        except AppError as error:
            request_id = record.request.request_id
            self._open.pop(request_id, None)
            log.error(
                "inference_not_recorded",
                request_id=request_id,
                error_code=error.code.value,
                detail=error.message,
            )

    def _asked(self, ask: Callable[[], Answer]) -> Answer:
        """What the store answers. However much there is to say, one outage is waited for once: beyond a lease the requests
        are no longer held, and a worker that is to stop must hear of it."""
        began = time.monotonic()  # what patiently() goes by
        waited = 0.0 if self._away_since is None else began - self._away_since
        try:
            answer = patiently(ask, seconds=self._lease_seconds - waited)
        except AppError as error:
            if error.code is ErrorCode.STORE_UNAVAILABLE and self._away_since is None:
                self._away_since = began
            raise
        self._away_since = None
        return answer
