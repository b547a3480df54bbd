"""Requests to models in this process' memory: the fake that ships, with the same rules."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from model_trainer.core.config.settings import InferenceSettings
from model_trainer.core.contracts.base import JsonObject, dump_json
from model_trainer.core.contracts.inference import (
    Conversation,
    GivenBack,
    InferenceKind,
    InferenceRecord,
    InferenceRequest,
    InferenceStatus,
    InferenceSubmission,
    Piece,
    StoredPiece,
    Timings,
)
from model_trainer.core.contracts.run import IdempotencyKey, Problem
from model_trainer.infra.persistence.ends import key_reused
from model_trainer.infra.persistence.inference_rules import (
    LOST,
    SEEN,
    UNANSWERED_SECONDS,
    answer_has_expired,
    conversation_is_busy,
    conversation_key,
    conversation_not_found,
    idempotency_key,
    key_of,
    nothing_to_go_on_with,
    request_key,
    request_not_found,
    too_many_wait,
)
from model_trainer.infra.persistence.redis_runs import IDEMPOTENCY_SECONDS


@dataclass
class _Held:
    """A request, and what only the scripts know in Redis."""

    record: InferenceRecord
    kept_until: float
    alone: bool = False
    lease_until: float = 0.0
    pieces: list[Piece] = field(default_factory=list)

    def set(self, **changes: object) -> None:
        self.record = self.record.model_copy(update=changes)

    def is_of(self, owner: str, record: InferenceRecord, status: InferenceStatus) -> bool:
        return (self.record.status, self.record.owner, self.record.tries) == (status, owner, record.tries)


class MemoryInferenceStore:
    """See InferenceStore. A lock makes each change one step; whoever waits for work sleeps on it."""

    def __init__(
        self, settings: InferenceSettings, *, clock: Callable[[], float], announce: Callable[[str], None]
    ) -> None:
        """`clock`: seconds since 1970. `announce`: hears the id of a request of which there is news."""
        self._settings = settings
        self._clock = clock
        self._announce = announce
        self._changed = threading.Condition()
        self._requests: dict[str, _Held] = {}  # in the order they came: the line
        self._keys: dict[str, tuple[str, str, float]] = {}
        self._conversations: dict[str, tuple[Conversation, float]] = {}
        self._pending: dict[str, str] = {}

    def submit(self, request: InferenceRequest, *, idempotency: IdempotencyKey | None) -> InferenceSubmission:
        """See InferenceStore."""
        key = key_of(request)
        with self._changed:
            known = self._held(key)
            if known is not None:
                return InferenceSubmission(record=known.record, replayed=False)
            earlier = None if idempotency is None else self._used_for(idempotency)
            if earlier is not None:
                return self._replayed(earlier)
            pending = None
            if request.conversation_id is not None:
                pending = conversation_key(request.run_id, request.conversation_id)
                self._refuse_while_pending(pending)
                if request.goes_on and self._said(pending) is None:
                    raise nothing_to_go_on_with(request.run_id, request.conversation_id)
            if self.depth() >= self._settings.max_waiting:
                raise too_many_wait(self._settings.max_waiting)
            held = self._new(request)
            self._requests[key] = held
            if pending is not None:
                self._pending[pending] = key
            if idempotency is not None:
                until = self._clock() + IDEMPOTENCY_SECONDS
                self._keys[idempotency_key(idempotency)] = (key, idempotency.body_sha256, until)
            self._changed.notify_all()
            return InferenceSubmission(record=held.record, replayed=False)

    def find_submission(self, idempotency: IdempotencyKey) -> InferenceSubmission | None:
        """See InferenceStore."""
        with self._changed:
            key = self._used_for(idempotency)
            held = None if key is None else self._held(key)
            return None if held is None else InferenceSubmission(record=held.record, replayed=True)

    def get(self, kind: InferenceKind, run_id: str, request_id: str) -> InferenceRecord:
        """See InferenceStore."""
        with self._changed:
            held = self._held(request_key(kind, run_id, request_id))
            if held is None:
                raise request_not_found(kind, run_id, request_id)
            return held.record

    def take(
        self, owner: str, *, most: int, lease_seconds: float, wait_seconds: float
    ) -> tuple[InferenceRecord, ...]:
        """See InferenceStore."""
        with self._changed:
            self._changed.wait_for(self.depth, timeout=wait_seconds)
            taken = self._batch(most)
            for held in taken:
                held.set(
                    status=InferenceStatus.RUNNING,
                    owner=owner,
                    tries=held.record.tries + 1,
                    started_at_ms=self._now_ms(),
                )
                self._hold(held, lease_seconds)
            return tuple(held.record for held in taken)

    def renew(self, owner: str, records: tuple[InferenceRecord, ...], *, lease_seconds: float) -> None:
        """See InferenceStore."""
        with self._changed:
            for record in records:
                held = self._worked_on(owner, record)
                if held is not None:
                    self._hold(held, lease_seconds)

    def tell(self, owner: str, record: InferenceRecord, pieces: tuple[Piece, ...]) -> None:
        """See InferenceStore."""
        with self._changed:
            held = self._worked_on(owner, record)
            if held is not None:
                held.pieces += pieces
                self._announce(record.request.request_id)

    def pieces_after(self, record: InferenceRecord, *, after: int, limit: int) -> tuple[StoredPiece, ...]:
        """See InferenceStore."""
        first = max(0, after)
        with self._changed:
            held = self._held(key_of(record.request))
            told = [] if held is None else held.pieces[first : first + limit]
        return tuple(StoredPiece(seq=seq, piece=piece) for seq, piece in enumerate(told, start=first + 1))

    def complete(
        self,
        owner: str,
        record: InferenceRecord,
        *,
        result: JsonObject,
        timings: Timings,
        conversation: Conversation | None = None,
    ) -> bool:
        """See InferenceStore."""
        with self._changed:
            is_new = self._worked_on(owner, record) is not None
            if is_new and conversation is not None:
                key = conversation_key(conversation.run_id, conversation.conversation_id)
                until = self._clock() + self._settings.conversation_ttl_seconds
                self._conversations[key] = (conversation.newest(), until)
            end: dict[str, object] = {"result": dump_json(result), "timings": timings}
            return self._end(owner, record, InferenceStatus.COMPLETED, end)

    def fail(self, owner: str, record: InferenceRecord, problem: Problem) -> bool:
        """See InferenceStore."""
        with self._changed:
            return self._end(owner, record, InferenceStatus.FAILED, {"problem": problem})

    def give_back(self, owner: str, records: tuple[InferenceRecord, ...], *, why: GivenBack) -> None:
        """See InferenceStore."""
        with self._changed:
            for record in records:
                held = self._worked_on(owner, record)
                if held is not None:
                    self._put_back(held, why)

    def reap(self, *, most_deaths: int) -> tuple[str, ...]:
        """See InferenceStore."""
        touched: list[str] = []
        with self._changed:
            self._forget_expired()
            for held in self._requests.values():
                if held.record.status is not InferenceStatus.RUNNING or held.lease_until > self._clock():
                    continue
                touched.append(held.record.request.request_id)
                deaths = held.record.deaths + 1
                if deaths >= most_deaths:
                    self._finish(held, InferenceStatus.FAILED, {"problem": LOST, "deaths": deaths})
                else:
                    self._put_back(held, GivenBack.LOST)
        return tuple(touched)

    def conversation(self, run_id: str, conversation_id: str) -> Conversation:
        """See InferenceStore."""
        with self._changed:
            said = self._said(conversation_key(run_id, conversation_id))
            if said is None:
                raise conversation_not_found(run_id, conversation_id)
            return said

    def depth(self) -> int:
        """See InferenceStore."""
        with self._changed:
            return len(self._waiting())

    def _waiting(self) -> list[_Held]:
        """Those in line, oldest first."""
        self._forget_expired()
        return [held for held in self._requests.values() if held.record.status is InferenceStatus.QUEUED]

    def _forget_expired(self) -> None:
        now = self._clock()
        self._requests = {key: held for key, held in self._requests.items() if held.kept_until > now}

    def _batch(self, most: int) -> list[_Held]:
        waiting = self._waiting()[:SEEN]
        if not waiting or waiting[0].alone:
            return waiting[:1]
        batch_key = waiting[0].record.request.batch_key
        fitting = [held for held in waiting if held.record.request.batch_key == batch_key and not held.alone]
        return fitting[:most]

    def _new(self, request: InferenceRequest) -> _Held:
        record = InferenceRecord(
            request=request,
            status=InferenceStatus.QUEUED,
            tries=0,
            owner=None,
            created_at_ms=self._now_ms(),
            started_at_ms=None,
            finished_at_ms=None,
            result=None,
            problem=None,
            timings=None,
        )
        return _Held(record=record, kept_until=self._clock() + UNANSWERED_SECONDS)

    def _held(self, key: str) -> _Held | None:
        held = self._requests.get(key)
        return None if held is None or held.kept_until <= self._clock() else held

    def _worked_on(self, owner: str, record: InferenceRecord) -> _Held | None:
        """The request, while this try of this owner is the present one."""
        held = self._held(key_of(record.request))
        is_mine = held is not None and held.is_of(owner, record, InferenceStatus.RUNNING)
        return held if is_mine else None

    def _hold(self, held: _Held, lease_seconds: float) -> None:
        held.lease_until = self._clock() + lease_seconds
        held.kept_until = self._clock() + UNANSWERED_SECONDS

    def _put_back(self, held: _Held, why: GivenBack) -> None:
        deaths = held.record.deaths + (why is GivenBack.LOST)
        held.set(status=InferenceStatus.QUEUED, owner=None, started_at_ms=None, deaths=deaths)
        held.alone = held.alone or why is not GivenBack.STOPPED
        held.pieces = []
        held.kept_until = self._clock() + UNANSWERED_SECONDS
        self._changed.notify_all()

    def _end(
        self, owner: str, record: InferenceRecord, status: InferenceStatus, end: dict[str, object]
    ) -> bool:
        held = self._held(key_of(record.request))
        if held is None or not held.is_of(owner, record, InferenceStatus.RUNNING):
            return held is not None and held.is_of(owner, record, status)  # said twice
        self._finish(held, status, end)
        return True

    def _finish(self, held: _Held, status: InferenceStatus, end: dict[str, object]) -> None:
        held.set(status=status, finished_at_ms=self._now_ms(), **end)
        held.kept_until = self._clock() + self._settings.result_ttl_seconds
        request = held.record.request
        if request.conversation_id is not None:
            self._pending.pop(conversation_key(request.run_id, request.conversation_id), None)
        self._announce(request.request_id)

    def _said(self, conversation: str) -> Conversation | None:
        said, until = self._conversations.get(conversation, (None, 0.0))
        return said if until > self._clock() else None

    def _refuse_while_pending(self, conversation: str) -> None:
        held = self._held(self._pending.get(conversation, ""))
        if held is not None:
            raise conversation_is_busy(held.record.request.request_id)

    def _used_for(self, idempotency: IdempotencyKey) -> str | None:
        """What the caller's key was used for."""
        key, body_sha256, until = self._keys.get(idempotency_key(idempotency), ("", "", 0.0))
        if until <= self._clock():
            return None
        if body_sha256 != idempotency.body_sha256:
            raise key_reused()
        return key

    def _replayed(self, key: str) -> InferenceSubmission:
        held = self._held(key)
        if held is None:
            raise answer_has_expired()
        return InferenceSubmission(record=held.record, replayed=True)

    def _now_ms(self) -> int:
        return round(self._clock() * 1000)
