"""The run store in Redis: each change of a run is one Lua script, docs/run-record.md tells which key is what."""

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from uuid import uuid4

from pydantic import TypeAdapter

from model_trainer.core.contracts.events import Event, StoredEvent
from model_trainer.core.contracts.run import (
    Flags,
    IdempotencyKey,
    Lease,
    NewRun,
    Outcome,
    Problem,
    RunKind,
    RunPage,
    RunQuery,
    RunRecord,
    RunStatus,
    RunUpdate,
    Submission,
)
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.infra.persistence.ends import (
    GIVEN_UP,
    LOST_WORKER,
    MAX_CRASHES,
    RESCUED,
    key_reused,
    lease_lost,
    run_has_ended,
    run_not_found,
    standing_after,
)
from model_trainer.infra.persistence.record_fields import (
    counted,
    event_arguments,
    fields_of_new,
    fields_of_outcome,
    fields_of_update,
    flat,
    pairs,
    record_of,
)
from model_trainer.infra.persistence.redis_client import (
    Argument,
    RedisClient,
    Script,
    number,
    string_pairs,
    strings,
)
from model_trainer.infra.persistence.run_events import read_events
from model_trainer.infra.persistence.run_index import indexes_for, indexes_of, matches, status_key
from model_trainer.infra.persistence.run_queue import RunQueue, order_for
from model_trainer.infra.persistence.told_events import ToldEvents

log = get_logger(__name__)

IDEMPOTENCY_SECONDS = 48 * 3600
PAGE_OF_IDS = 100
UNACCOUNTED = "runs:unaccounted"

_time: TypeAdapter[tuple[int, int]] = TypeAdapter(tuple[int, int])


class RedisRunStore:
    """The authority on runs. Safe to share between threads."""

    def __init__(self, client: RedisClient, queue: RunQueue) -> None:
        self._client = client
        self._queue = queue
        self._told = ToldEvents()
        self._submit = Script("submit")
        self._claim = Script("claim")
        self._flags = Script("flags")
        self._heartbeat = Script("heartbeat")
        self._finish = Script("finish")
        self._release = Script("release")
        self._request_cancel = Script("request_cancel")
        self._reap = Script("reap")

    def submit(self, run: NewRun, *, idempotency: IdempotencyKey | None) -> Submission:
        """See RunStore."""
        key = "" if idempotency is None else _idempotency_key(idempotency)
        while True:
            earlier = self._submitted_before(run, idempotency=idempotency)
            if earlier is not None:
                return earlier
            if self._submit_new(run, key=key, body_sha256=idempotency.body_sha256 if idempotency else ""):
                return Submission(record=self.get(run.run_id), replayed=False)
            # Somebody used the same key in this moment: their run is there now.

    def find_submission(self, idempotency: IdempotencyKey) -> Submission | None:
        """See RunStore."""
        reply = self._client.call("HGETALL", _idempotency_key(idempotency))
        earlier = string_pairs.validate_python(reply)
        if not earlier:
            return None
        if earlier["body_sha256"] != idempotency.body_sha256:
            raise key_reused()
        return Submission(record=self.get(earlier["run_id"]), replayed=True)

    def get(self, run_id: str) -> RunRecord:
        """See RunStore."""
        return _record(string_pairs.validate_python(self._client.call("HGETALL", _key(run_id))), run_id)

    def list_runs(self, query: RunQuery) -> RunPage:
        """See RunStore."""
        index = self._shortest(indexes_for(query))
        below = "+" if query.after is None else f"({query.after}"
        found: list[RunRecord] = []
        while len(found) <= query.limit:
            ids = strings.validate_python(
                self._client.call("ZREVRANGEBYLEX", index, below, "-", "LIMIT", 0, PAGE_OF_IDS)
            )
            if not ids:
                break
            hashes = self._client.many([("HGETALL", _key(run_id)) for run_id in ids])
            records = _readable(zip(ids, hashes, strict=True))
            found += [record for record in records if matches(record, query)]
            below = f"({ids[-1]}"
        return RunPage(records=tuple(found[: query.limit]), has_more=len(found) > query.limit)

    def claim(self, run_id: str, *, epoch: int, owner: str, lease_seconds: float) -> Lease | None:
        """See RunStore."""
        reply = self._run(self._claim, run_id, epoch, owner, _milliseconds(lease_seconds), uuid4().hex)
        if reply[0] != "claimed":
            return None
        return Lease(run_id=run_id, epoch=int(reply[1]), owner=owner, lease_seconds=lease_seconds)

    def flags(self, lease: Lease) -> Flags:
        """See RunStore."""
        reply = self._run(self._flags, lease.run_id, lease.epoch, lease.owner)
        if reply[0] == "lost":
            raise lease_lost(lease)
        return _flags(reply)

    def heartbeat(self, lease: Lease, update: RunUpdate, events: tuple[Event, ...] = ()) -> Flags:
        """See RunStore."""
        status, reason = standing_after(events)
        before = (_milliseconds(lease.lease_seconds),)
        after: tuple[Argument, ...] = (
            "" if status is None else status.value,
            "" if reason is None else reason.value,
            *counted(fields_of_update(update)),
            *event_arguments(events),
        )
        reply = self._tell(self._heartbeat, lease, events, before=before, after=after)
        return _flags(reply)

    def finish(self, lease: Lease, outcome: Outcome, events: tuple[Event, ...] = ()) -> RunRecord:
        """See RunStore."""
        after: tuple[Argument, ...] = (
            outcome.status.value,
            outcome.message,
            _json_or_nothing(outcome.problem),
            *counted(fields_of_outcome(outcome)),
            *event_arguments(events),
        )
        before = (self._told.token_of_end(lease),)
        reply = self._tell(self._finish, lease, events, before=before, after=after)
        self._told.forget(lease)
        return record_of(pairs(reply[1:]))

    def release(
        self,
        lease: Lease,
        *,
        message: str,
        delay_seconds: float = 0.0,
        events: tuple[Event, ...] = (),
        problem: Problem | None = None,
    ) -> None:
        """See RunStore. A run whose cancellation was asked for ends instead."""
        delay = _milliseconds(delay_seconds)
        before = (self._told.token_of_end(lease),)
        after: tuple[Argument, ...] = (message, delay, _json_or_nothing(problem), *event_arguments(events))
        reply = self._tell(self._release, lease, events, before=before, after=after)
        record = record_of(pairs(reply[1:]))
        if record.status is RunStatus.QUEUED and delay == 0:
            self._enqueue(record)
        self._told.forget(lease)

    def request_cancel(self, run_id: str) -> RunRecord:
        """See RunStore."""
        reply = self._run(self._request_cancel, run_id)
        if reply[0] == "unknown":
            raise run_not_found(run_id)
        if reply[0] == "ended":
            raise run_has_ended(reply[1])
        record = record_of(pairs(reply[1:]))
        if reply[0] == RunStatus.QUEUED.value:
            self._queue.remove(run_id, epoch=record.epoch, queue=record.queue)
        return record

    def reap(self) -> tuple[str, ...]:
        """See RunStore."""
        now = self._now_ms()
        out_of_time = strings.validate_python(self._client.call("ZRANGEBYSCORE", "runs:leases", 0, now))
        due = strings.validate_python(self._client.call("ZRANGEBYSCORE", "runs:waiting", 0, now))
        rescued = [run_id for run_id in out_of_time if self._spared(run_id, self._reap_one)]
        forgotten = [run_id for run_id in due if self._spared(run_id, self._care_for_waiting)]
        return (*rescued, *forgotten)

    def unaccounted(self, limit: int) -> tuple[str, ...]:
        """See RunStore. By chance, so that some that cannot be brought to disk do not keep others waiting."""
        return tuple(strings.validate_python(self._client.call("SRANDMEMBER", UNACCOUNTED, limit)))

    def accounted(self, run_id: str) -> None:
        """See RunStore."""
        self._client.call("SREM", UNACCOUNTED, run_id)

    def events_after(self, run_id: str, *, after: int, limit: int) -> tuple[StoredEvent, ...]:
        """See RunStore."""
        return read_events(self._client, run_id, after=after, limit=limit)

    def status_counts(self) -> dict[tuple[str, str], int]:
        """See RunStore."""
        names = [(kind, status) for kind in RunKind for status in RunStatus]
        replies = self._client.many([("ZCARD", status_key(kind, status)) for kind, status in names])
        return {
            (kind.value, status.value): number.validate_python(reply)
            for (kind, status), reply in zip(names, replies, strict=True)
        }

    def ping(self) -> None:
        """See RunStore."""
        self._client.call("PING")

    def _submitted_before(self, run: NewRun, *, idempotency: IdempotencyKey | None) -> Submission | None:
        """What an earlier request made of the same key, or this one before its answer was lost."""
        known = self._client.call("EXISTS", _key(run.run_id))
        if known == 1:
            return Submission(record=self.get(run.run_id), replayed=False)
        return None if idempotency is None else self.find_submission(idempotency)

    def _submit_new(self, run: NewRun, *, key: str, body_sha256: str) -> bool:
        """All writes of a submission in one transaction; False when the key came into use meanwhile."""
        keys = [_key(run.run_id), *([key] if key else [])]
        indexes = indexes_of(run)
        arguments: list[Argument] = [
            run.run_id,
            key,
            IDEMPOTENCY_SECONDS,
            body_sha256,
            len(indexes),
            *indexes,
        ]
        arguments += flat(fields_of_new(run))
        order = order_for(run.kind, run_id=run.run_id, epoch=0)
        with self._client.transaction() as transaction:
            transaction.watch(*keys)
            if transaction.call("EXISTS", *keys) != 0:
                return False
            transaction.begin()
            # Not by digest: an unknown script would fail alone, after the rest of the transaction was done.
            transaction.call("EVAL", self._submit.text, 1, _key(run.run_id), *arguments)
            self._queue.stage(order, queue=run.queue, transaction=transaction)
            return transaction.commit()

    def _shortest(self, indexes: list[str]) -> str:
        if len(indexes) == 1:
            return indexes[0]
        replies = self._client.many([("ZCARD", index) for index in indexes])
        sizes = [number.validate_python(reply) for reply in replies]
        return min(zip(sizes, indexes, strict=True))[1]

    def _tell(
        self,
        script: Script,
        lease: Lease,
        events: tuple[Event, ...],
        *,
        before: tuple[Argument, ...],
        after: tuple[Argument, ...],
    ) -> list[str]:
        """Runs a script of the owner's that appends `events`; their position stands between its other arguments."""

        def told() -> int:
            known = self._client.call("HGET", _key(lease.run_id), "told")
            return int(str(known or 0))

        with self._told.sending(lease, events, told_before=told) as position:
            reply = self._run(script, lease.run_id, lease.epoch, lease.owner, *before, position, *after)
        if reply[0] == "lost":
            self._told.forget(lease)
            raise lease_lost(lease)
        return reply

    def _spared(self, run_id: str, care: Callable[[str], bool]) -> bool:
        """Cares for one run; a record that is damaged must not keep the others waiting."""
        try:
            return care(run_id)
        except AppError as error:
            if error.code is ErrorCode.STORE_UNAVAILABLE:
                raise
            log.error("run_not_reaped", run_id=run_id, error_code=error.code.value, detail=error.message)
            return False

    def _reap_one(self, run_id: str) -> bool:
        reply = self._run(self._reap, run_id, MAX_CRASHES, LOST_WORKER.model_dump_json(), RESCUED, GIVEN_UP)
        if reply[0] == "nothing":
            return False
        record = record_of(pairs(reply[1:]))
        log.warning("run_reaped", run_id=run_id, status=reply[0], attempt=record.attempt)
        if record.status is RunStatus.QUEUED:
            self._enqueue(record)
        return True

    def _care_for_waiting(self, run_id: str) -> bool:
        """Ends a run cancelled by hand; queues one that is due and in no queue: its turn has come, or its order was lost."""
        if self._reap_one(run_id):
            return True
        record = self.get(run_id)
        if record.status is not RunStatus.QUEUED:
            return False
        if self._queue.holds(run_id, epoch=record.epoch, queue=record.queue):
            return False
        self._enqueue(record)
        return True

    def _enqueue(self, record: RunRecord) -> None:
        order = order_for(record.kind, run_id=record.run_id, epoch=record.epoch)
        self._queue.enqueue(order, queue=record.queue)

    def _now_ms(self) -> int:
        seconds, microseconds = _time.validate_python(self._client.call("TIME"))
        return seconds * 1000 + microseconds // 1000

    def _run(self, script: Script, run_id: str, *arguments: Argument) -> list[str]:
        return self._client.run(script, key=_key(run_id), arguments=(run_id, *arguments))


def _idempotency_key(idempotency: IdempotencyKey) -> str:
    return f"idempotency:{sha256(idempotency.key.encode()).hexdigest()}"


def _key(run_id: str) -> str:
    return f"runs:record:{run_id}"


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _record(fields: dict[str, str], run_id: str) -> RunRecord:
    if not fields:
        raise run_not_found(run_id)
    return record_of(fields)


def _readable(hashes: Iterable[tuple[str, object]]) -> Iterator[RunRecord]:
    """The records in `hashes`; one that somebody damaged must not hide the others."""
    for run_id, fields in hashes:
        try:
            yield record_of(string_pairs.validate_python(fields))
        except AppError as error:
            log.warning("run_left_out", run_id=run_id, error_code=error.code.value, detail=error.message)


def _json_or_nothing(problem: Problem | None) -> str:
    return "" if problem is None else problem.model_dump_json()


def _flags(reply: list[str]) -> Flags:
    return Flags(cancel=reply[1] == "1")
