"""The worker registry in Redis: one key with a time to live for each worker, and a set of their names."""

from collections.abc import Iterable, Iterator

from pydantic import TypeAdapter, ValidationError

from model_trainer.core.contracts.run import Worker
from model_trainer.infra.persistence.redis_client import RedisClient

NAMES = "workers"

_names: TypeAdapter[set[str]] = TypeAdapter(set[str])


class RedisWorkerRegistry:
    """Which workers said a short while ago that they are alive."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    def register(self, worker: Worker, *, ttl_seconds: float) -> None:
        """See WorkerRegistry."""
        milliseconds = max(1, round(ttl_seconds * 1000))
        self._client.call("SET", _key(worker.worker_id), worker.model_dump_json(), "PX", milliseconds)
        self._client.call("SADD", NAMES, worker.worker_id)

    def unregister(self, worker_id: str) -> None:
        """See WorkerRegistry."""
        self._client.call("DEL", _key(worker_id))
        self._client.call("SREM", NAMES, worker_id)

    def alive(self) -> tuple[Worker, ...]:
        """See WorkerRegistry. A worker of another version, whose words are not understood here, is left out."""
        names = sorted(_names.validate_python(self._client.call("SMEMBERS", NAMES)))
        replies = dict(zip(names, self._client.many([("GET", _key(name)) for name in names]), strict=True))
        silent = [name for name, reply in replies.items() if reply is None]
        if silent:
            self._client.call("SREM", NAMES, *silent)
        return tuple(_understood(reply for reply in replies.values() if isinstance(reply, str)))


def _key(worker_id: str) -> str:
    return f"workers:{worker_id}"


def _understood(texts: Iterable[str]) -> Iterator[Worker]:
    for text in texts:
        try:
            yield Worker.model_validate_json(text)
        except ValidationError:
            continue
