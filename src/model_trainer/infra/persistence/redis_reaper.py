"""Finds runs in Redis that nobody looks after any more: each is put right by one script, so two reapers do it once."""

from collections.abc import Callable

from pydantic import TypeAdapter

from model_trainer.core.contracts.run import Holder, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.infra.persistence.ends import GIVEN_UP, LOST_WORKER, MAX_CRASHES, RESCUED
from model_trainer.infra.persistence.record_fields import pairs, record_of
from model_trainer.infra.persistence.redis_client import RedisClient, Script, strings
from model_trainer.infra.persistence.redis_reader import LEASES, RunReader
from model_trainer.infra.persistence.run_index import record_key
from model_trainer.infra.persistence.run_queue import Orders

log = get_logger(__name__)

WAITING = "runs:waiting"
LAST_ROUND = "runs:reaper:last_round_ms"
GRACE = "runs:reaper:grace"
GRACE_SECONDS = 10.0
MISSED_ROUNDS = 3
SHORTEST_ABSENCE_SECONDS = 3.0

_time: TypeAdapter[tuple[int, int]] = TypeAdapter(tuple[int, int])


class RunReaper:
    """One round at a time; see RunStore.reap."""

    def __init__(
        self, client: RedisClient, reader: RunReader, orders: Orders, *, reap_every_seconds: float
    ) -> None:
        self._client = client
        self._reader = reader
        self._orders = orders
        self._absence_ms = round(1000 * max(SHORTEST_ABSENCE_SECONDS, MISSED_ROUNDS * reap_every_seconds))
        self._script = Script("reap")

    def reap(self, lost: tuple[Holder, ...]) -> tuple[str, ...]:
        """See RunStore."""
        now = self._now_ms()
        lost_epochs = {holder.run_id: holder.epoch for holder in lost}
        out_of_time = strings.validate_python(
            self._client.call("ZRANGEBYSCORE", LEASES, 0, self._spared_after(now))
        )
        due = strings.validate_python(self._client.call("ZRANGEBYSCORE", WAITING, 0, now))
        paused = self._reader.paused_and_cancelled_by_hand()

        def care(run_id: str) -> bool:
            return self._reap_one(run_id, lost_epoch=lost_epochs.get(run_id))

        suspects = sorted({*lost_epochs, *out_of_time, *paused})
        put_right = [run_id for run_id in suspects if self._spared(run_id, care)]
        forgotten = [run_id for run_id in due if self._spared(run_id, self._care_for_waiting)]
        return (*put_right, *forgotten)

    def _spared_after(self, now_ms: int) -> int:
        """Until when a lease must have run out to be acted upon: until now, but for a while after a time in which nobody
        could renew one (Redis was away, or hung, or all of us were) until the round before it.

        Leases that ran out meanwhile say nothing of their owners, which are given ten seconds to be heard of again. Rounds
        that are all late have one such time after the other, so each is held against those before it.
        """
        last = self._client.call("GET", LAST_ROUND)
        was_away = isinstance(last, str) and last.isdigit() and now_ms - int(last) > self._absence_ms
        if was_away and self._begin_grace(int(str(last))):
            log.warning("leases_spared", duration_seconds=GRACE_SECONDS)
        self._client.call("SET", LAST_ROUND, now_ms)
        spared_after = self._client.call("GET", GRACE)
        is_grace = isinstance(spared_after, str) and spared_after.isdigit()
        return min(now_ms, int(str(spared_after))) if is_grace else now_ms

    def _begin_grace(self, spared_after_ms: int) -> bool:
        """False when the one before is not over."""
        milliseconds = round(1000 * GRACE_SECONDS)
        return self._client.call("SET", GRACE, spared_after_ms, "PX", milliseconds, "NX") is not None

    def _spared(self, run_id: str, care: Callable[[str], bool]) -> bool:
        """Cares for one run; a record that is damaged must not keep the others waiting."""
        try:
            return care(run_id)
        except AppError as error:
            if error.code is ErrorCode.STORE_UNAVAILABLE:
                raise
            log.error("run_not_reaped", run_id=run_id, error_code=error.code.value, detail=error.message)
            return False

    def _reap_one(self, run_id: str, *, lost_epoch: int | None = None) -> bool:
        problem, epoch = LOST_WORKER.model_dump_json(), "" if lost_epoch is None else lost_epoch
        arguments = (run_id, MAX_CRASHES, problem, RESCUED, GIVEN_UP, epoch)
        reply = self._client.run(self._script, key=record_key(run_id), arguments=arguments)
        if reply[0] == "nothing":
            return False
        record = record_of(pairs(reply[1:]))
        log.warning("run_reaped", run_id=run_id, status=reply[0], attempt=record.attempt)
        if record.status is RunStatus.QUEUED:
            self._orders.put_in(record)
        return True

    def _care_for_waiting(self, run_id: str) -> bool:
        """Ends a run cancelled by hand; queues one that is due and in no queue: its turn has come, or its order was lost."""
        if self._reap_one(run_id):
            return True
        record = self._reader.get(run_id)
        if record.status is not RunStatus.QUEUED or self._orders.has(record):
            return False
        self._orders.put_in(record)
        return True

    def _now_ms(self) -> int:
        seconds, microseconds = _time.validate_python(self._client.call("TIME"))
        return seconds * 1000 + microseconds // 1000
