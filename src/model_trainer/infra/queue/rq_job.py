"""An order as RQ carries it. Of what stands in Redis only the payload is believed, and it names no code of its own."""

import re
import zlib
from collections.abc import Callable

from pydantic import TypeAdapter, ValidationError
from redis import Redis
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus
from rq.serializers import Serializer

from model_trainer.core.config.settings import RqSettings
from model_trainer.core.contracts.jobs import decode_job
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.redis_client import RedisClient
from model_trainer.infra.queue.quarantine import quarantine

FUNCTION = "run_job"
"""The one function that a queue entry can ask for."""
JOB_ID = re.compile(rb"[0-9A-HJKMNP-TV-Z]{26}-[0-9]{1,15}")
MAX_PAYLOAD_BYTES = 65_536

_call: TypeAdapter[tuple[str, None, tuple[str], dict[str, str]]] = TypeAdapter(
    tuple[str, None, tuple[str], dict[str, str]]
)
_hash: TypeAdapter[dict[bytes, bytes]] = TypeAdapter(dict[bytes, bytes])


def rq_job_id(run_id: str, *, epoch: int) -> str:
    """RQ's id for the order of a run under one epoch."""
    return f"{run_id}-{epoch}"


class OrderJob(Job):
    """An RQ job with one function, and without callbacks, webhooks, meta, retries and dependencies.

    RQ imports by name whatever a writer to Redis puts there, with its JSON serializer too (measured: os.system).
    Here those names are not read.
    """

    functions: dict[str, Callable[[str], None]]
    queue_name: str
    settings: RqSettings

    def __init__(
        self, job_id: str | None = None, connection: Redis | None = None, serializer: Serializer | None = None
    ) -> None:
        super().__init__(job_id, connection, serializer)

    @property
    def func(self) -> Callable[[str], None]:
        """From the fixed table, never imported by name."""
        return self.functions[FUNCTION]

    @property
    def success_callback(self) -> None:
        """There is none."""

    @property
    def failure_callback(self) -> None:
        """There is none."""

    @property
    def stopped_callback(self) -> None:
        """There is none."""

    def refresh(self) -> None:
        """Reads RQ's hash; something else under its name counts as absent too."""
        try:
            fields = RedisClient(self.connection).call("HGETALL", f"rq:job:{self.id}")
        except AppError as error:
            if error.code is ErrorCode.STORE_UNAVAILABLE:
                raise
            raise self._refused("not a hash") from error
        if not fields:
            raise NoSuchJobError(f"{self.id} is not there any more.")
        self.restore(fields)

    def restore(self, raw_data: object) -> None:
        """Reads the payload from RQ's hash and passes over all else; limits come from the settings.

        A hash that holds no order of ours counts as absent: RQ then takes the next one.
        """
        try:
            fields = _hash.validate_python(raw_data)
            data = _unpacked(fields[b"data"])
            function, _, (payload,), keywords = _call.validate_json(data)
            if function not in self.functions or keywords:
                raise self._refused("unknown function")
            order = decode_job(payload)
        except (ValidationError, KeyError, zlib.error, AppError) as error:
            raise self._refused(type(error).__name__) from error
        if self.id != rq_job_id(order.run_id, epoch=order.epoch):
            raise self._refused("the order of another run")
        self.data = data
        self.origin = self.queue_name
        self.timeout = self.settings.job_timeout_seconds
        self.result_ttl = self.settings.result_ttl_seconds
        self.failure_ttl = self.settings.failure_ttl_seconds
        self._status = JobStatus.QUEUED

    def _refused(self, why: str) -> NoSuchJobError:
        quarantine(self.connection, queue=self.queue_name, entry=self.id.encode(), why=why)
        return NoSuchJobError(f"{self.id} is no order of ours: {why}.")


def order_job_class(run: Callable[[str], None], *, queue: str, settings: RqSettings) -> type[OrderJob]:
    """The job class of one worker: its one function is `run`."""

    class BoundOrderJob(OrderJob):
        functions = {FUNCTION: run}
        queue_name = queue

    BoundOrderJob.settings = settings
    return BoundOrderJob


def _unpacked(data: bytes) -> bytes:
    """RQ's compressed call; a payload of ours is a line, so more than that is refused before it is unpacked."""
    unpacker = zlib.decompressobj()
    unpacked = unpacker.decompress(data, MAX_PAYLOAD_BYTES)
    if not unpacker.eof:
        raise zlib.error("longer than an order can be")
    return unpacked
