"""Lists of run ids for finding runs without reading all of them: sorted sets of ULIDs, so newest is last."""

from hashlib import sha256

from model_trainer.core.contracts.base import dump_json
from model_trainer.core.contracts.run import NewRun, RunKind, RunQuery, RunRecord, RunStatus


def record_key(run_id: str) -> str:
    """The hash that is the record."""
    return f"runs:record:{run_id}"


def indexes_of(run: NewRun | RunRecord) -> list[str]:
    """The indexes a run is in for life. The one of its status moves with it, in the scripts."""
    keys = [index_key(run.kind), index_key(run.kind, "family", run.family)]
    if run.user_id is not None:
        keys.append(index_key(run.kind, "user", run.user_id))
    if run.parent_run_id is not None:
        keys.append(index_key(run.kind, "parent", run.parent_run_id))
    keys += [index_key(run.kind, "metadata", name, value) for name, value in run.metadata.items()]
    return keys


def indexes_for(query: RunQuery) -> list[str]:
    """The indexes that hold every run the query asks for; the shortest of them is the one to read."""
    keys = [index_key(query.kind)]
    if query.status is not None:
        keys.append(status_key(query.kind, query.status))
    if query.family is not None:
        keys.append(index_key(query.kind, "family", query.family))
    if query.user_id is not None:
        keys.append(index_key(query.kind, "user", query.user_id))
    if query.parent_run_id is not None:
        keys.append(index_key(query.kind, "parent", query.parent_run_id))
    keys += [index_key(query.kind, "metadata", name, value) for name, value in query.metadata.items()]
    return keys


def matches(record: RunRecord, query: RunQuery) -> bool:
    """Whether the query asks for this run (limit and cursor aside)."""
    return (
        record.kind is query.kind
        and query.status in (None, record.status)
        and query.family in (None, record.family)
        and query.user_id in (None, record.user_id)
        and query.parent_run_id in (None, record.parent_run_id)
        and query.metadata.items() <= record.metadata.items()
    )


def index_key(kind: RunKind, *facts: str) -> str:
    """The key of one index. What callers chose goes in as a digest: any text, any length, no key injected."""
    if not facts:
        return f"runs:index:{kind.value}"
    digest = sha256(dump_json(list(facts[1:])).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"runs:index:{kind.value}:{facts[0]}:{digest}"


def status_key(kind: RunKind, status: RunStatus) -> str:
    """The key of the index of all runs in one status."""
    return f"runs:index:{kind.value}:status:{status.value}"
