"""Reading run records from Redis: one, a page of them, how many there are, who holds which."""

from collections.abc import Iterable, Iterator

from pydantic import TypeAdapter

from model_trainer.core.contracts.run import Holder, RunKind, RunPage, RunQuery, RunRecord, RunStatus
from model_trainer.core.errors import AppError
from model_trainer.core.logging import get_logger
from model_trainer.infra.persistence.ends import run_not_found
from model_trainer.infra.persistence.record_fields import record_of
from model_trainer.infra.persistence.redis_client import RedisClient, number, string_pairs, strings
from model_trainer.infra.persistence.run_index import indexes_for, matches, record_key, status_key

log = get_logger(__name__)

FEW_IDS = 50
PAGE_OF_IDS = 500
"""Looked up at once in further indexes: few at first, so that a page is not paid for ten times; more when few of them fit."""
LEASES = "runs:leases"

_owner_facts: TypeAdapter[list[str | None]] = TypeAdapter(list[str | None])
_scores: TypeAdapter[list[float | None]] = TypeAdapter(list[float | None])


class RunReader:
    """Reads and writes nothing."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    def get(self, run_id: str) -> RunRecord:
        """See RunStore."""
        fields = string_pairs.validate_python(self._client.call("HGETALL", record_key(run_id)))
        if not fields:
            raise run_not_found(run_id)
        return record_of(fields)

    def list_runs(self, query: RunQuery) -> RunPage:
        """See RunStore."""
        index, *others = self._by_size(indexes_for(query))
        below = "+" if query.after is None else f"({query.after}"
        found: list[RunRecord] = []
        at_once = FEW_IDS
        while len(found) <= query.limit:
            missing = query.limit + 1 - len(found)
            size = max(missing, at_once) if others else missing
            at_once = min(2 * at_once, PAGE_OF_IDS)
            ids = strings.validate_python(
                self._client.call("ZREVRANGEBYLEX", index, below, "-", "LIMIT", 0, size)
            )
            if not ids:
                break
            fitting = self._in_all(others, ids)
            read = fitting[:missing]
            below = f"({ids[-1] if len(read) == len(fitting) else read[-1]}"
            hashes = self._client.many([("HGETALL", record_key(run_id)) for run_id in read])
            records = _readable(zip(read, hashes, strict=True))
            found += [record for record in records if matches(record, query)]
        return RunPage(records=tuple(found[: query.limit]), has_more=len(found) > query.limit)

    def status_counts(self) -> dict[tuple[str, str], int]:
        """See RunStore."""
        names = [(kind, status) for kind in RunKind for status in RunStatus]
        replies = self._client.many([("ZCARD", status_key(kind, status)) for kind, status in names])
        return {
            (kind.value, status.value): number.validate_python(reply)
            for (kind, status), reply in zip(names, replies, strict=True)
        }

    def held(self) -> tuple[Holder, ...]:
        """See RunStore."""
        ids = sorted(strings.validate_python(self._client.call("ZRANGE", LEASES, 0, -1)))
        replies = self._client.many(
            [("HMGET", record_key(run_id), "epoch", "owner", "host") for run_id in ids]
        )
        facts = [_owner_facts.validate_python(reply) for reply in replies]
        return tuple(
            Holder(run_id=run_id, epoch=int(epoch), owner=owner, host=host)
            for run_id, (epoch, owner, host) in zip(ids, facts, strict=True)
            if owner is not None and epoch is not None and epoch.isdigit()
        )

    def paused_and_cancelled_by_hand(self) -> list[str]:
        """Runs that stand still and whose cancel flag somebody set: no owner looks at it."""
        pages = self._client.many([("ZRANGE", status_key(kind, RunStatus.PAUSED), 0, -1) for kind in RunKind])
        ids = [run_id for page in pages for run_id in strings.validate_python(page)]
        flags = self._client.many([("EXISTS", f"runs:{run_id}:cancelled") for run_id in ids])
        return [run_id for run_id, flag in zip(ids, flags, strict=True) if flag == 1]

    def _by_size(self, indexes: list[str]) -> list[str]:
        """The shortest first: it is the one to walk along. The index of the kind holds all that the others hold."""
        of_kind, *narrower = indexes
        if len(narrower) < 2:
            return narrower or [of_kind]
        replies = self._client.many([("ZCARD", index) for index in narrower])
        sizes = [number.validate_python(reply) for reply in replies]
        return [index for _, index in sorted(zip(sizes, narrower, strict=True))]

    def _in_all(self, indexes: list[str], ids: list[str]) -> list[str]:
        """Those that every index lists: far cheaper than to read the records of those that it does not."""
        replies = self._client.many([("ZMSCORE", index, *ids) for index in indexes])
        listed = [_scores.validate_python(reply) for reply in replies]
        return [
            run_id for place, run_id in enumerate(ids) if all(scores[place] is not None for scores in listed)
        ]


def _readable(hashes: Iterable[tuple[str, object]]) -> Iterator[RunRecord]:
    """The records in `hashes`; one that somebody damaged must not hide the others."""
    for run_id, fields in hashes:
        try:
            yield record_of(string_pairs.validate_python(fields))
        except AppError as error:
            log.warning("run_left_out", run_id=run_id, error_code=error.code.value, detail=error.message)
