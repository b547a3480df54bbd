"""The run record as Redis keeps it: a hash of strings. Some hold text, some digits, some JSON."""

from collections.abc import Mapping

from pydantic import TypeAdapter

from model_trainer.core.contracts.base import JsonObject, as_json, dump_json
from model_trainer.core.contracts.events import Event, StoredEvent
from model_trainer.core.contracts.run import NewRun, Outcome, Phase, Problem, Progress, RunRecord, RunUpdate
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.ends import NEW_MESSAGE, failure_class_of_outcome, reason_of_outcome

TEXT_FIELDS = (
    "run_id", "kind", "queue", "family", "user_id", "parent_run_id", "request_id",
    "status", "phase", "message", "reason", "failure_class", "owner", "host",
    "artifact_file_id",
)  # fmt: skip
JSON_FIELDS = (
    "spec", "metadata", "problem", "epoch", "lease_until_ms", "attempt", "created_at_ms", "updated_at_ms",
    "started_at_ms", "finished_at_ms", "heartbeat_at_ms", "progress", "metrics", "result", "last_event_seq",
    "resume_order", "checkpoint",
)  # fmt: skip
FLAG_FIELDS = ("cancel_requested", "pause_requested")
"""JSON_FIELDS: digits are JSON too. The hash also holds what only the scripts read: step, token, told, not_before_ms, marks."""

_json: TypeAdapter[JsonObject] = TypeAdapter(JsonObject)


def fields_of_new(run: NewRun) -> dict[str, str]:
    """The first state of a record. What is not known is not there."""
    fields = {
        "run_id": run.run_id,
        "kind": run.kind.value,
        "queue": run.queue,
        "family": run.family,
        "spec": _json_text(run.spec),
        "metadata": _json_text(dict(run.metadata)),
        "request_id": run.request_id,
        "phase": Phase.WAITING.value,
        "message": NEW_MESSAGE,
        "epoch": "0",
        "lease_until_ms": "0",
        "attempt": "0",
        "cancel_requested": "0",
        "progress": Progress().model_dump_json(),
        "metrics": "{}",
        "result": "{}",
        "last_event_seq": "0",
    }
    if run.user_id is not None:
        fields["user_id"] = run.user_id
    if run.parent_run_id is not None:
        fields["parent_run_id"] = run.parent_run_id
    return fields


def record_of(fields: Mapping[str, str]) -> RunRecord:
    """The record that a hash holds; raises INTERNAL when somebody else wrote into it."""
    members = [f'"{name}":{dump_json(fields.get(name))}' for name in TEXT_FIELDS]
    members += [f'"{name}":{fields.get(name, "null")}' for name in JSON_FIELDS]
    members.append(f'"retries":{fields.get("retries", "0")}')
    members += [f'"{name}":{"true" if fields.get(name) == "1" else "false"}' for name in FLAG_FIELDS]
    try:
        members.append(f'"attempts":[{",".join(_attempts(fields))}]')
        return RunRecord.model_validate_json("{" + ",".join(members) + "}")
    except ValueError as error:  # pydantic's too
        message = f"The record of run {fields.get('run_id', '')} is damaged."
        raise AppError(ErrorCode.INTERNAL, message, facts={"detail": str(error)}) from error


def fields_of_restored(record: RunRecord, *, last_event_seq: int) -> dict[str, str]:
    """The hash that holds a record, as far as the record tells; its status has a place of its own in the script."""
    known = {name: value for name, value in as_json(record).items() if value is not None}
    fields = {name: str(known[name]) for name in TEXT_FIELDS if name in known and name != "status"}
    fields |= {name: dump_json(known[name]) for name in JSON_FIELDS if name in known}
    fields |= {name: "1" if known[name] is True else "0" for name in FLAG_FIELDS}
    fields |= {"retries": str(record.retries), "step": str(record.progress.step)}
    for position, attempt in enumerate(record.attempts, start=1):
        prefix = f"attempt.{position}."
        fields[f"{prefix}owner"] = attempt.owner
        for name, value in as_json(attempt).items():
            if name != "owner" and value is not None:
                fields[prefix + name] = dump_json(value)
    return fields | {"last_event_seq": str(last_event_seq)}


def stored_event_arguments(events: tuple[StoredEvent, ...]) -> list[str]:
    """Numbered events as a script takes them: number, time, type and JSON of each."""
    return [
        part
        for stored in events
        for part in (
            str(stored.seq),
            str(stored.at_ms),
            stored.event.type,
            stored.event.model_dump_json(),
        )
    ]


def pairs(items: list[str]) -> dict[str, str]:
    """A hash, from the flat list that a script answers with."""
    return dict(zip(items[::2], items[1::2], strict=True))


def flat(fields: dict[str, str]) -> list[str]:
    """The same the other way round."""
    return [part for pair in fields.items() for part in pair]


def counted(fields: dict[str, str]) -> list[str | int]:
    """Fields as a script takes them: how many, then name and value of each."""
    return [len(fields), *flat(fields)]


def event_arguments(events: tuple[Event, ...]) -> list[str]:
    """Events as a script takes them: type and JSON of each."""
    return [part for event in events for part in (event.type, event.model_dump_json())]


def fields_of_update(update: RunUpdate) -> dict[str, str]:
    """What an update changes."""
    fields: dict[str, str] = {}
    if update.phase is not None:
        fields["phase"] = update.phase.value
    if update.message is not None:
        fields["message"] = update.message
    if update.progress is not None:
        fields |= {"progress": update.progress.model_dump_json(), "step": str(update.progress.step)}
    if update.metrics is not None:
        fields["metrics"] = _json_text(update.metrics)
    if update.checkpoint is not None:
        fields["checkpoint"] = update.checkpoint.model_dump_json()
    if update.quiet_ms > 0:
        fields["quiet_ms"] = str(update.quiet_ms)
    return fields


def fields_of_outcome(outcome: Outcome) -> dict[str, str]:
    """What an end changes, beside status and message."""
    fields = {"result": _json_text(outcome.result)}
    reason, failure_class = reason_of_outcome(outcome), failure_class_of_outcome(outcome)
    if outcome.metrics:
        fields["metrics"] = _json_text(outcome.metrics)
    if outcome.problem is not None:
        fields["problem"] = outcome.problem.model_dump_json()
    if reason is not None:
        fields["reason"] = reason.value
    if failure_class is not None:
        fields["failure_class"] = failure_class.value
    return fields


def json_or_nothing(problem: Problem | None) -> str:
    """A problem as JSON; empty without one."""
    return "" if problem is None else problem.model_dump_json()


def _json_text(value: JsonObject | dict[str, str] | dict[str, float]) -> str:
    """`value` as one line of JSON."""
    return _json.dump_json(dict(value.items())).decode()


def _attempts(fields: Mapping[str, str]) -> list[str]:
    """Each attempt as JSON, from its fields `attempt.<n>.<name>`."""
    attempts: list[str] = []
    for position in range(1, int(fields.get("attempt", "0")) + 1):
        prefix = f"attempt.{position}."
        members = [f'"owner":{dump_json(fields.get(f"{prefix}owner"))}']
        members += [
            f'"{name}":{fields.get(prefix + name, "null")}'
            for name in ("epoch", "started_at_ms", "ended_at_ms", "problem")
        ]
        attempts.append("{" + ",".join(members) + "}")
    return attempts
