"""A Redis client whose calls fail now and then, in the three ways a network lets a caller down.

Everything that reaches the server passes here: commands, scripts, reads under WATCH, pipelines and transactions, also
those that RQ stages. A call that lost its answer has been carried out.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable
from enum import StrEnum

import redis
from redis.client import Pipeline

from model_trainer.infra.persistence.redis_client import TIMEOUT_SECONDS, RedisClient


class Fault(StrEnum):
    """What becomes of one call."""

    TIMED_OUT = "timed out before it was sent"
    REFUSED = "refused"
    ANSWER_LOST = "carried out, its answer lost with the connection"
    ANSWER_LATE = "carried out, its answer too late"

    @property
    def is_carried_out(self) -> bool:
        """Whether the server does what was asked."""
        return self in (Fault.ANSWER_LOST, Fault.ANSWER_LATE)

    def as_error(self) -> Exception:
        """What redis-py raises then."""
        if self in (Fault.TIMED_OUT, Fault.ANSWER_LATE):
            return redis.TimeoutError(f"Made to fail: {self.value}.")
        return redis.ConnectionError(f"Made to fail: {self.value}.")


class Faults:
    """Draws what becomes of each call; the same seed draws the same sequence. Safe to share between threads."""

    def __init__(self, seed: int, *, share: float) -> None:
        """`share` of all calls fail, each way as often as the others."""
        self.counts: Counter[Fault | None] = Counter()
        self._source = random.Random(seed)
        self._share = share
        self._lock = threading.Lock()

    def draw(self) -> Fault | None:
        """The fault of the next call; None for one that works."""
        with self._lock:
            fault = self._source.choice(list(Fault)) if self._source.random() < self._share else None
            self.counts[fault] += 1
        return fault

    @property
    def num_faults(self) -> int:
        """How many calls failed so far."""
        return sum(count for fault, count in self.counts.items() if fault is not None)


class FaultyPipeline(Pipeline):
    """A pipeline or transaction that fails as a whole."""

    faults: Faults

    def execute(self, raise_on_error: bool = True) -> list[object]:
        """All commands, or none; or all of them without anybody knowing."""
        fault = self.faults.draw() if self.command_stack else None
        is_watching = self.watching
        if fault is not None and not fault.is_carried_out:
            raise self._error(fault, is_watching=is_watching)
        reply: list[object] = super().execute(raise_on_error)
        if fault is not None:
            raise self._error(fault, is_watching=is_watching)
        return reply

    def immediate_execute_command(self, *args: object, **options: object) -> object:
        """WATCH, and the reads between it and MULTI."""
        fault = self.faults.draw()
        is_watching = self.watching
        if fault is not None and not fault.is_carried_out:
            raise self._error(fault, is_watching=is_watching)
        send: Callable[..., object] = super().immediate_execute_command
        reply = send(*args, **options)
        if fault is not None:
            raise self._error(fault, is_watching=is_watching)
        return reply

    def _error(self, fault: Fault, *, is_watching: bool) -> Exception:
        """As redis-py: a connection that broke under WATCH is said to be a change of what is watched."""
        return redis.WatchError(f"Made to fail: {fault.value}.") if is_watching else fault.as_error()


class FaultyRedis(redis.Redis):
    """redis-py's client; give it its `faults` before its first call."""

    faults: Faults

    def execute_command(self, *args: object, **options: object) -> object:
        """One command."""
        fault = self.faults.draw()
        if fault is not None and not fault.is_carried_out:
            raise fault.as_error()
        send: Callable[..., object] = super().execute_command
        reply = send(*args, **options)
        if fault is not None:
            raise fault.as_error()
        return reply

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> FaultyPipeline:
        """A pipeline that fails like this client."""
        made = FaultyPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        made.faults = self.faults
        return made


def connect_faulty(url: str, faults: Faults) -> RedisClient:
    """What `connect(url)` gives, over calls that fail."""
    made: object = FaultyRedis.from_url(
        url,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=None,
        protocol=2,
        decode_responses=True,
    )
    assert isinstance(made, FaultyRedis)
    made.faults = faults
    return RedisClient(made)
