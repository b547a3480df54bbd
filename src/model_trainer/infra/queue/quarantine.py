"""What stood in a queue and is no order of ours, kept for a person to look at: the others run on."""

from datetime import UTC, datetime

from redis import Redis

from model_trainer.core.contracts.base import JsonObject, dump_json
from model_trainer.core.errors import AppError
from model_trainer.core.logging import get_logger
from model_trainer.infra.persistence.redis_client import RedisClient

log = get_logger(__name__)

QUARANTINE = "queue:quarantine"
MOST_ENTRIES = 1000
MOST_CHARACTERS = 200
KEPT_SECONDS = 7 * 86_400
"""How long the hash of a refused entry is kept."""


def quarantine(connection: Redis, *, queue: str, entry: bytes, why: str) -> None:
    """Notes a refused entry, newest first, and says so in the log. What RQ keeps under its id goes after a week."""
    name = entry.decode("utf-8", "replace")[:MOST_CHARACTERS]
    log.warning("queue_entry_refused", queue=queue, job=name, detail=why)
    note: JsonObject = {"queue": queue, "entry": name, "why": why, "at": datetime.now(UTC).isoformat()}
    try:
        RedisClient(connection).many(
            [
                ("LPUSH", QUARANTINE, dump_json(note)),
                ("LTRIM", QUARANTINE, 0, MOST_ENTRIES - 1),
                ("EXPIRE", b"rq:job:" + entry, KEPT_SECONDS),
            ]
        )
    except AppError as error:
        log.warning("queue_entry_not_quarantined", queue=queue, detail=error.message)
