"""The run store in Redis: each change of a run is one Lua script, docs/run-record.md tells which key is what."""

from hashlib import sha256
from uuid import uuid4

from model_trainer.core.contracts.events import Event, StoredEvent
from model_trainer.core.contracts.run import (
    Flags,
    HandBack,
    Holder,
    IdempotencyKey,
    Lease,
    NewRun,
    Outcome,
    RunPage,
    RunQuery,
    RunRecord,
    RunStatus,
    RunUpdate,
    Submission,
)
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.failpoints import Failpoint, Reached, pass_by
from model_trainer.core.logging import get_logger
from model_trainer.infra.persistence.ends import (
    PAUSING,
    RESUMED,
    RESUMED_BY_ITSELF,
    artifact_has_moved,
    cannot_pause,
    cannot_resume,
    key_reused,
    lease_lost,
    lease_ms_left,
    owner_is_stale,
    run_goes_on,
    run_has_ended,
    run_not_found,
    store_lost,
    without_gaps,
)
from model_trainer.infra.persistence.record_fields import (
    counted,
    event_arguments,
    fields_of_new,
    fields_of_outcome,
    fields_of_restored,
    fields_of_update,
    flat,
    json_or_nothing,
    pairs,
    record_of,
    stored_event_arguments,
)
from model_trainer.infra.persistence.redis_client import (
    Argument,
    RedisClient,
    Script,
    string_pairs,
    strings,
)
from model_trainer.infra.persistence.redis_reader import RunReader
from model_trainer.infra.persistence.redis_reaper import RunReaper
from model_trainer.infra.persistence.run_events import read_events
from model_trainer.infra.persistence.run_index import indexes_of, record_key
from model_trainer.infra.persistence.run_queue import Orders, RunQueue, order_for
from model_trainer.infra.persistence.told_events import ToldEvents

log = get_logger(__name__)

IDEMPOTENCY_SECONDS = 48 * 3600
UNACCOUNTED = "runs:unaccounted"


class RedisRunStore:
    """The authority on runs. Safe to share between threads."""

    def __init__(
        self,
        client: RedisClient,
        queue: RunQueue,
        *,
        reached: Reached = pass_by,
        reap_every_seconds: float = 1.0,
    ) -> None:
        """`reap_every_seconds`: how often somebody reaps; when it was not done for longer, the store was away."""
        self._client = client
        self._queue = queue
        self._reached = reached
        self._reader = RunReader(client)
        self._orders = Orders(queue)
        self._reaper = RunReaper(client, self._reader, self._orders, reap_every_seconds=reap_every_seconds)
        self._told = ToldEvents()
        self._submit = Script("submit")
        self._claim = Script("claim")
        self._flags = Script("flags")
        self._heartbeat = Script("heartbeat")
        self._finish = Script("finish")
        self._release = Script("release")
        self._request_cancel = Script("request_cancel")
        self._request_pause = Script("request_pause")
        self._resume = Script("resume")
        self._resume_when_due = Script("resume_when_due")
        self._restore = Script("restore")
        self._point_at_artifact = Script("point_at_artifact")
        self._forget = Script("forget")

    def submit(self, run: NewRun, *, idempotency: IdempotencyKey | None) -> Submission:
        """See RunStore."""
        self._reached(Failpoint.SUBMIT_BEGUN)
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
        return self._reader.get(run_id)

    def list_runs(self, query: RunQuery) -> RunPage:
        """See RunStore."""
        return self._reader.list_runs(query)

    def claim(
        self, run_id: str, *, epoch: int, owner: str, host: str | None, lease_seconds: float
    ) -> Lease | None:
        """See RunStore."""
        lease_ms = _milliseconds(lease_seconds)
        reply = self._run(self._claim, run_id, epoch, owner, host or "", lease_ms, uuid4().hex)
        if reply[0] != "claimed":
            return None
        return Lease(run_id=run_id, epoch=int(reply[1]), owner=owner, lease_seconds=lease_seconds)

    def flags(self, lease: Lease) -> Flags:
        """See RunStore."""
        reply = self._run(self._flags, lease.run_id, lease.epoch, lease.owner)
        return _flags(_of_owner(reply, lease))

    def heartbeat(self, lease: Lease, update: RunUpdate, events: tuple[Event, ...] = ()) -> Flags:
        """See RunStore."""
        before = (_milliseconds(lease.lease_seconds),)
        after: tuple[Argument, ...] = (*counted(fields_of_update(update)), *event_arguments(events))
        reply = self._tell(self._heartbeat, lease, events, before=before, after=after)
        return _flags(reply)

    def finish(self, lease: Lease, outcome: Outcome, events: tuple[Event, ...] = ()) -> RunRecord:
        """See RunStore."""
        after: tuple[Argument, ...] = (
            outcome.status.value,
            outcome.message,
            json_or_nothing(outcome.problem),
            *counted(fields_of_outcome(outcome)),
            *event_arguments(events),
        )
        before = (self._told.token_of_end(lease),)
        reply = self._tell(self._finish, lease, events, before=before, after=after)
        self._told.forget(lease)
        return record_of(pairs(reply[1:]))

    def release(self, lease: Lease, hand_back: HandBack, events: tuple[Event, ...] = ()) -> RunRecord:
        """See RunStore."""
        delay = _milliseconds(hand_back.delay_seconds)
        before = (self._told.token_of_end(lease),)
        after: tuple[Argument, ...] = (
            hand_back.status.value,
            hand_back.message,
            "" if hand_back.reason is None else hand_back.reason.value,
            delay,
            "1" if hand_back.is_retry else "0",
            json_or_nothing(hand_back.problem),
            *event_arguments(events),
        )
        reply = self._tell(self._release, lease, events, before=before, after=after)
        self._reached(Failpoint.RELEASE_WRITTEN)
        record = record_of(pairs(reply[1:]))
        if record.status is RunStatus.QUEUED and delay == 0:
            self._orders.put_in(record)
            self._reached(Failpoint.RELEASE_QUEUED)
        self._told.forget(lease)
        return record

    def request_cancel(self, run_id: str) -> RunRecord:
        """See RunStore."""
        reply = self._run(self._request_cancel, run_id)
        if reply[0] == "unknown":
            raise run_not_found(run_id)
        if reply[0] == "ended":
            raise run_has_ended(reply[1])
        record = record_of(pairs(reply[1:]))
        if reply[0] == RunStatus.QUEUED.value:
            self._orders.drop(record)
        return record

    def request_pause(self, run_id: str) -> RunRecord:
        """See RunStore."""
        reply = self._run(self._request_pause, run_id, PAUSING)
        if reply[0] == "unknown":
            raise run_not_found(run_id)
        record = record_of(pairs(reply[1:]))
        if reply[0] == "refused":
            raise cannot_pause(record)
        if reply[0] == RunStatus.QUEUED.value:
            self._orders.drop(record)
        return record

    def resume(
        self, run_id: str, *, step: int | None = None, idempotency: IdempotencyKey | None = None
    ) -> Submission:
        """See RunStore."""
        once: tuple[Argument, ...] = ("", 0, "")
        if idempotency is not None:
            once = (_idempotency_key(idempotency), IDEMPOTENCY_SECONDS, idempotency.body_sha256)
        reply = self._run(self._resume, run_id, uuid4().hex, RESUMED, "" if step is None else step, *once)
        if reply[0] == "unknown":
            raise run_not_found(run_id)
        if reply[0] == "reused":
            raise key_reused()
        if reply[0] == "known":
            return Submission(record=self.get(reply[1]), replayed=True)
        record = record_of(pairs(reply[1:]))
        if reply[0] == "refused":
            raise cannot_resume(record)
        self._orders.put_in_now_or_soon(record)
        return Submission(record=record, replayed=False)

    def resume_when_due(self, run_id: str) -> bool:
        """See RunStore."""
        reply = self._run(self._resume_when_due, run_id, uuid4().hex, RESUMED_BY_ITSELF)
        if reply[0] == "nothing":
            return False
        self._orders.put_in_now_or_soon(record_of(pairs(reply[1:])))
        return True

    def held(self) -> tuple[Holder, ...]:
        """See RunStore."""
        return self._reader.held()

    def reap(self, lost: tuple[Holder, ...] = ()) -> tuple[str, ...]:
        """See RunStore."""
        return self._reaper.reap(lost)

    def restore(self, record: RunRecord, events: tuple[StoredEvent, ...]) -> bool:
        """See RunStore."""
        told = without_gaps(events)
        indexes = indexes_of(record)
        reply = self._run(
            self._restore,
            record.run_id,
            record.status.value,
            lease_ms_left(record),
            len(indexes),
            *indexes,
            *counted(fields_of_restored(record, last_event_seq=len(told))),
            *stored_event_arguments(told),
        )
        return reply[0] == "restored"

    def unaccounted(self, limit: int) -> tuple[str, ...]:
        """See RunStore. By chance, so that some that cannot be brought to disk do not keep others waiting."""
        return tuple(strings.validate_python(self._client.call("SRANDMEMBER", UNACCOUNTED, limit)))

    def accounted(self, run_id: str) -> None:
        """See RunStore."""
        self._client.call("SREM", UNACCOUNTED, run_id)

    def point_at_artifact(
        self, run_id: str, *, file_id: str, epoch: int | None, instead_of: str | None = None
    ) -> RunRecord:
        """See RunStore."""
        reply = self._run(self._point_at_artifact, run_id, epoch or "", file_id, instead_of or "")
        if reply[0] == "unknown":
            raise run_not_found(run_id)
        if reply[0] == "unfinished":
            raise run_goes_on(run_id)
        if reply[0] == "lost":
            raise owner_is_stale(run_id, epoch=epoch or 0)
        if reply[0] == "moved":
            raise artifact_has_moved(run_id)
        return record_of(pairs(reply[1:]))

    def forget(self, run_id: str) -> bool:
        """See RunStore."""
        try:
            indexes = indexes_of(self.get(run_id))  # of facts that never change
        except AppError as error:
            if error.code is not ErrorCode.RUN_NOT_FOUND:
                raise
            return False
        reply = self._run(self._forget, run_id, *indexes)
        if reply[0] == "unfinished":
            raise run_goes_on(run_id)
        return reply[0] == "forgotten"

    def events_after(self, run_id: str, *, after: int, limit: int) -> tuple[StoredEvent, ...]:
        """See RunStore."""
        return read_events(self._client, run_id, after=after, limit=limit)

    def status_counts(self) -> dict[tuple[str, str], int]:
        """See RunStore."""
        return self._reader.status_counts()

    def ping(self) -> None:
        """See RunStore."""
        self._client.call("PING")

    def _submitted_before(self, run: NewRun, *, idempotency: IdempotencyKey | None) -> Submission | None:
        """What an earlier request made of the same key, or this one before its answer was lost."""
        known = self._client.call("EXISTS", record_key(run.run_id))
        if known == 1:
            return Submission(record=self.get(run.run_id), replayed=False)
        return None if idempotency is None else self.find_submission(idempotency)

    def _submit_new(self, run: NewRun, *, key: str, body_sha256: str) -> bool:
        """All writes of a submission in one transaction; False when the key came into use meanwhile."""
        keys = [record_key(run.run_id), *([key] if key else [])]
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
            self._reached(Failpoint.SUBMIT_WATCHED)
            transaction.begin()
            # Not by digest: an unknown script would fail alone, after the rest of the transaction was done.
            transaction.call("EVAL", self._submit.text, 1, record_key(run.run_id), *arguments)
            self._queue.stage(order, queue=run.queue, transaction=transaction)
            self._reached(Failpoint.SUBMIT_STAGED)
            is_committed = transaction.commit()
            self._reached(Failpoint.SUBMIT_COMMITTED)
            return is_committed

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

        def told() -> int | None:
            known = self._client.call("HGET", record_key(lease.run_id), "told")
            return None if known is None else int(str(known))

        with self._told.sending(lease, events, told_before=told) as position:
            reply = self._run(script, lease.run_id, lease.epoch, lease.owner, *before, position, *after)
            if reply[0] == "unknown":
                raise store_lost(lease)
        if reply[0] == "lost":
            self._told.forget(lease)
        return _of_owner(reply, lease)

    def _run(self, script: Script, run_id: str, *arguments: Argument) -> list[str]:
        return self._client.run(script, key=record_key(run_id), arguments=(run_id, *arguments))


def _idempotency_key(idempotency: IdempotencyKey) -> str:
    return f"idempotency:{sha256(idempotency.key.encode()).hexdigest()}"


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _flags(reply: list[str]) -> Flags:
    return Flags(cancel=reply[1] == "1", pause=reply[2] == "1")


def _of_owner(reply: list[str], lease: Lease) -> list[str]:
    """What a script answers to the owner; raises for anyone else."""
    if reply[0] == "unknown":
        raise store_lost(lease)
    if reply[0] == "lost":
        raise lease_lost(lease)
    return reply
