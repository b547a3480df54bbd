"""What must be true of a run that has ended, whatever was killed on its way, and of a stack that has come to rest."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis

from model_trainer.container import Container
from model_trainer.core.artifact_files import MANIFEST
from model_trainer.core.contracts.events import (
    JobCancelled,
    JobCompleted,
    JobFailed,
    JobStarted,
    StoredEvent,
)
from model_trainer.core.contracts.manifest import RunPointer
from model_trainer.core.contracts.run import RunRecord, RunStatus
from model_trainer.core.errors import AppError
from model_trainer.core.files import TEMPORARY_PREFIX, sha256_of
from model_trainer.engine.training.checkpoint import CheckpointFolder
from model_trainer.worker.manifests import read_manifest, verify
from tests.chaos.findings import Findings
from tests.chaos.watched import WatchedRun

LEASES, WAITING, UNACCOUNTED = "runs:leases", "runs:waiting", "runs:unaccounted"


@dataclass(frozen=True, slots=True)
class Reference:
    """What an uninterrupted run of a family left: digests by the name of what they are of."""

    digests: dict[str, str] = field(default_factory=dict)


def what_it_left(folder: Path) -> dict[str, str]:
    """Digests of all that is a function of spec, data and seed: weights, series, the last checkpoint, byte by byte."""
    checkpoints = CheckpointFolder(folder / "checkpoints")
    steps = checkpoints.steps()
    files = {"weights": folder / "model.safetensors", "series": folder / "metrics.jsonl"}
    if steps:
        last = checkpoints.path_of(steps[-1])
        files |= {
            "checkpoint_weights": last / "model.safetensors",
            "checkpoint_optimizer_and_random_state": last / "training.safetensors",
            "checkpoint_state": last / "state.json",
        }
    return {name: sha256_of(path) if path.exists() else "missing" for name, path in files.items()}


def judge_run(run: WatchedRun, record: RunRecord, reference: Reference, *, runs_root: Path) -> Findings:
    """All that is wrong with a run that says it has ended. Its stream has been read to the end."""
    found = Findings()
    _judge_end(found, run, record)
    _judge_stream(found, run)
    if record.status is RunStatus.COMPLETED:
        left = what_it_left(run.folder)
        for name in sorted(reference.digests.keys() | left.keys()):
            if reference.digests.get(name) != left.get(name):
                found.add(f"other_{name}", run.run_id, "not as the run that nobody interrupted")
        _judge_account(found, run, runs_root=runs_root)
    for path in temporary_files(run.folder):
        found.add("temporary_left", run.run_id, str(path.relative_to(run.folder)))
    return found


def temporary_files(*roots: Path) -> list[Path]:
    """What somebody was about to write when they were killed, and nobody has cleared away yet."""
    return sorted(path for root in roots for path in root.rglob(f"{TEMPORARY_PREFIX}*"))


def judge_rest(container: Container, *, runs: int) -> Findings:
    """What may not be left in a store whose runs have all ended."""
    found = Findings()
    client = Redis.from_url(container.settings.redis_url.get_secret_value())
    try:
        for name in (LEASES, WAITING):
            if left := client.zrange(name, 0, -1):
                found.add("lease_or_wait_left", None, f"{name}: {left!r}")
        if unaccounted := client.smembers(UNACCOUNTED):
            found.add("end_not_on_disk", None, f"{unaccounted!r}")
        for queue in (container.settings.rq.queue_name, container.settings.rq.short_queue_name):
            if left := client.lrange(f"rq:queue:{queue}", 0, -1):
                found.add("order_left", None, f"{queue}: {left!r}")
    finally:
        client.close()
    known = sum(number for (kind, _), number in container.runs.status_counts().items() if kind == "train")
    if known != runs:
        found.add("submitted_twice_or_never", None, f"{runs} submitted, {known} known")
    return found


def _judge_end(found: Findings, run: WatchedRun, record: RunRecord) -> None:
    if record.status is not RunStatus.COMPLETED:
        reason = record.reason.value if record.reason else "no reason"
        found.add("not_completed", run.run_id, f"{record.status.value}, {reason}: {record.message}")
    if record.owner is not None and record.lease_until_ms > 0:
        found.add("lease_left", run.run_id, f"{record.owner} still has it")
    open_attempts = [attempt.epoch for attempt in record.attempts if attempt.ended_at_ms is None]
    if open_attempts:
        found.add("attempt_open", run.run_id, f"epochs {open_attempts}")


def _judge_stream(found: Findings, run: WatchedRun) -> None:
    events = [stored.event for stored in run.events]
    ends = [event for event in events if isinstance(event, JobCompleted | JobFailed)]
    if len(ends) != 1 or not isinstance(events[-1], JobCompleted):
        found.add("not_one_end", run.run_id, f"{[event.type for event in ends]}, last {events[-1].type}")
    cancels = sum(isinstance(event, JobCancelled) for event in events)
    if cancels != run.cancels:
        found.add("not_one_end", run.run_id, f"{cancels} cancellations, {run.cancels} asked for")
    epochs = [event.epoch for event in events if isinstance(event, JobStarted)]
    if epochs != sorted(set(epochs)):
        found.add("epoch_not_raised", run.run_id, f"started under epochs {epochs}")
    mirror = run.folder / "events.jsonl"
    on_disk = mirror.read_text().splitlines() if mirror.exists() else []
    told = [stored.model_dump_json() for stored in run.events]
    if on_disk != told:
        found.add("other_events_on_disk", run.run_id, f"{len(on_disk)} lines, {len(told)} events")


def _judge_account(found: Findings, run: WatchedRun, *, runs_root: Path) -> None:
    try:
        for mismatch in verify(run.folder):
            found.add("digest_differs", run.run_id, f"{mismatch.path}: {mismatch.why}")
        manifest = read_manifest(run.folder)
        if manifest.status != "completed":
            found.add("other_end_on_disk", run.run_id, f"the manifest says {manifest.status}")
        pointer_file = runs_root / run.run_id / "manifest.json"
        pointer = RunPointer.model_validate_json(pointer_file.read_bytes())
        if pointer.manifest_sha256 != sha256_of(run.folder / MANIFEST):
            found.add("pointer_astray", run.run_id, "the pointer is of another manifest")
    except (AppError, OSError, ValueError) as error:
        found.add("no_account", run.run_id, str(error))
    folder = CheckpointFolder(run.folder / "checkpoints")
    for step in folder.steps():
        try:
            folder.load(step)
        except AppError as error:
            found.add("torn_checkpoint", run.run_id, f"step {step}: {error.message}")


def judge_follower(found: Findings, run: WatchedRun, *, heard: list[tuple[int, str]]) -> None:
    """What a reader of the event stream got over HTTP, API restarts included: each event once, in order, as stored."""
    stored = [(each.seq, _canonical(each)) for each in run.events]
    if heard != stored:
        numbers = [seq for seq, _ in heard]
        detail = f"{len(stored)} events told, {len(numbers)} heard"
        found.add(
            "stream_differs",
            run.run_id,
            detail + (", out of turn" if numbers != sorted(set(numbers)) else ""),
        )


def _canonical(stored: StoredEvent) -> str:
    return canonical(json.loads(stored.model_dump_json()))


def canonical(value: object) -> str:
    """JSON with sorted keys: the same facts are the same text."""
    return json.dumps(value, sort_keys=True)
