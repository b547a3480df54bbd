"""Runs that ended without their worker are brought to their end on disk."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from model_trainer.core.artifact_files import MANIFEST
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import Outcome, RunKind, RunStatus
from model_trainer.core.errors import ErrorCode
from model_trainer.core.files import sha256_of
from model_trainer.core.stored_artifact import stored_things
from model_trainer.infra.storage.memory import MemoryHeldLock, MemoryRunLocks
from model_trainer.maintenance.accounts import AccountCloser
from model_trainer.maintenance.asking import PatientAsker
from model_trainer.maintenance.records import RecordKeeper
from model_trainer.worker.account import ArtifactAccount
from model_trainer.worker.manifests import read_manifest, verify
from model_trainer.worker.storing import read_form
from tests.contract.run_stores import new_run
from tests.unit.worker.bench import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


def _lost(bench: Bench, *, kind: RunKind = RunKind.TRAIN, parent: str | None = None) -> str:
    """A run whose workers died until the store gave it up."""
    run = new_run(kind=kind, spec={"seed": 7}, user_id=None, parent_run_id=parent)
    bench.store.submit(run, idempotency=None)
    while bench.store.get(run.run_id).status is not RunStatus.FAILED:
        epoch = bench.store.get(run.run_id).epoch
        lease = bench.store.claim(run.run_id, epoch=epoch, owner="w", host="h", lease_seconds=1)
        assert lease is not None
        bench.now += 3600.0
        assert run.run_id in bench.store.reap()
    return run.run_id


def _folder(bench: Bench, run_id: str) -> Path:
    return bench.parts.artifacts.create("models", run_id)


def _closer(bench: Bench) -> AccountCloser:
    keep = RecordKeeper(runs=bench.store, artifacts=bench.parts.artifacts)
    return AccountCloser(
        runs=bench.store,
        artifacts=bench.parts.artifacts,
        locks=bench.parts.locks,
        references=bench.references,
        keep=keep,
        asker=PatientAsker(),
    )


def _close(bench: Bench, run_id: str) -> None:
    assert _closer(bench).close(run_id)


def test_a_run_that_was_given_up_gets_its_manifest_and_its_last_events(bench: Bench) -> None:
    run_id = _lost(bench)
    folder = _folder(bench, run_id)
    (folder / "metrics.jsonl").write_text("{}\n")
    _close(bench, run_id)
    manifest = read_manifest(folder)
    assert manifest.status == "failed"
    assert manifest.seed == 7
    assert manifest.problem is not None
    assert manifest.problem.code is ErrorCode.WORKER_LOST
    assert verify(folder) == []
    last = json.loads((folder / "events.jsonl").read_text().splitlines()[-1])
    assert last["event"]["type"] == "trainer.job.failed.v1"


def test_what_an_earlier_manifest_knew_is_kept(bench: Bench) -> None:
    run_id = _lost(bench)
    folder = _folder(bench, run_id)
    _close(bench, run_id)
    earlier: dict[str, object] = {"resolved": {"device": "cpu"}, "tokenizer_id": "T", "attempts": ()}
    known = read_manifest(folder).model_copy(update=earlier)
    (folder / "manifest.json").write_text(known.model_dump_json())
    _close(bench, run_id)
    again = read_manifest(folder)
    assert (again.resolved, again.tokenizer_id) == ({"device": "cpu"}, "T")
    assert again.attempts == bench.store.get(run_id).attempts


def test_a_tokenizer_has_its_folder_elsewhere(bench: Bench) -> None:
    run_id = _lost(bench, kind=RunKind.TOKENIZER)
    folder = bench.parts.artifacts.create("tokenizers", run_id)
    _close(bench, run_id)
    assert read_manifest(folder).kind == "tokenizers"


def test_an_evaluation_only_gets_its_events(bench: Bench) -> None:
    parent = new_ulid()
    folder = _folder(bench, parent)
    run_id = _lost(bench, kind=RunKind.EVALUATE, parent=parent)
    (folder / "eval" / run_id).mkdir(parents=True)
    _close(bench, run_id)
    assert (folder / "eval" / run_id / "events.jsonl").exists()
    assert not (folder / "manifest.json").exists()


@pytest.mark.parametrize("kind", [RunKind.TRAIN, RunKind.EVALUATE])
def test_a_run_that_never_had_a_folder_gets_none(bench: Bench, kind: RunKind) -> None:
    run_id = _lost(bench, kind=kind)
    _close(bench, run_id)
    assert not bench.parts.artifacts.exists("models", run_id)


def test_an_evaluation_that_died_before_its_folder_gets_none(bench: Bench) -> None:
    parent = new_ulid()
    folder = _folder(bench, parent)
    _close(bench, _lost(bench, kind=RunKind.EVALUATE, parent=parent))
    assert list(folder.iterdir()) == []


def test_what_an_evaluation_left_is_listed_with_the_model_it_measured(bench: Bench) -> None:
    model = _lost(bench)
    folder = _folder(bench, model)
    _close(bench, model)
    evaluation = _lost(bench, kind=RunKind.EVALUATE, parent=model)
    (folder / "eval" / evaluation).mkdir(parents=True)
    (folder / "eval" / evaluation / "metrics.json").write_text("{}")
    _close(bench, evaluation)
    (revision,) = read_manifest(folder).revisions
    assert revision.job_id == evaluation
    assert f"eval/{evaluation}/metrics.json" in [file.path for file in revision.files]
    assert verify(folder) == []


def test_a_run_that_is_queued_again_is_left_alone(bench: Bench) -> None:
    run_id = bench.submitted()
    folder = _folder(bench, run_id)
    _close(bench, run_id)
    assert list(folder.iterdir()) == []


def test_one_account_that_cannot_be_closed_does_not_stop_the_others(bench: Bench) -> None:
    bad, good = sorted((_lost(bench), _lost(bench)))
    (_folder(bench, bad) / "manifest.json").mkdir()
    _folder(bench, good)
    with capture_logs() as lines:
        _closer(bench).close_due()
    assert [(line["event"], line["run_id"]) for line in lines] == [
        ("account_not_closed", bad),
        ("account_closed", good),
    ]


def test_a_run_is_asked_for_until_its_account_is_closed(bench: Bench) -> None:
    run_id = _lost(bench)
    folder = _folder(bench, run_id)
    (folder / "manifest.json").mkdir()
    _closer(bench).close_due()
    assert bench.store.unaccounted(10) == (run_id,)
    (folder / "manifest.json").rmdir()
    _closer(bench).close_due()
    assert bench.store.unaccounted(10) == ()


def test_a_run_that_the_store_has_lost_is_not_asked_for_again(bench: Bench) -> None:
    run_id = new_ulid()
    assert _closer(bench).close(run_id)


def test_a_store_that_is_away_closes_nothing(bench: Bench) -> None:
    run_id = _lost(bench)
    bench.store.gets_refused = 1
    _closer(bench).close_due()
    assert bench.store.unaccounted(10) == (run_id,)


def test_what_the_dead_owner_was_writing_goes_and_nothing_else(bench: Bench) -> None:
    run_id = _lost(bench)
    folder = _folder(bench, run_id)
    kept = [
        folder / "metrics.jsonl",
        folder / "checkpoints" / "step-3" / "model",
        folder / "eval" / "E" / ".tmp-1",
    ]
    torn = [folder / ".tmp-1", folder / "checkpoints" / ".tmp-2" / "model"]
    for path in kept + torn:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    _close(bench, run_id)
    assert all(path.exists() for path in kept)
    assert not torn[0].exists()
    assert not torn[1].parent.exists()


def test_the_end_is_in_the_kept_record_too(bench: Bench) -> None:
    run_id = _lost(bench)
    _close(bench, run_id)
    assert [kept.record for kept in bench.parts.artifacts.kept_records()] == [bench.store.get(run_id)]


def test_an_owner_that_still_works_is_waited_for(bench: Bench) -> None:
    run_id = _lost(bench)
    folder = _folder(bench, run_id)
    lock = bench.parts.locks.take(run_id, epoch=bench.store.get(run_id).epoch)
    assert lock is not None
    _closer(bench).close_due()
    assert bench.store.unaccounted(10) == (run_id,)
    assert list(folder.iterdir()) == []
    lock.release()
    _closer(bench).close_due()
    assert bench.store.unaccounted(10) == ()
    assert read_manifest(folder).status == "failed"


def test_the_lock_is_given_up_again(bench: Bench) -> None:
    run_id = _lost(bench)
    _close(bench, run_id)
    assert bench.parts.locks.is_free(run_id)


def test_a_run_that_is_resumed_before_its_lock_is_ours_is_left_alone(bench: Bench) -> None:
    run_id = _lost(bench)
    folder = _folder(bench, run_id)

    class ResumedMeanwhile(MemoryRunLocks):
        def take_if_free(self, run_id: str) -> MemoryHeldLock | None:
            bench.store.resume(run_id)
            return super().take_if_free(run_id)

    bench.parts = replace(bench.parts, locks=ResumedMeanwhile())
    _close(bench, run_id)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("is_pointed", [False, True])
def test_what_a_run_handed_in_that_did_not_complete_is_needed_no_more(bench: Bench, is_pointed: bool) -> None:
    """Its worker died while it stored the artifact, and then somebody cancelled the run."""
    ordered_with = "ab" * 32
    run_id = bench.submitted(spec={"corpus_path": f"sha256:{ordered_with}.txt"})
    bench.references.refer(run_id, [f"file:{ordered_with}"])
    lease = bench.store.claim(run_id, epoch=0, owner="w", host="h", lease_seconds=1)
    assert lease is not None
    folder = bench.parts.artifacts.create("models", run_id)
    (folder / "logs.jsonl").write_bytes(b"one\n")
    record = bench.store.get(run_id)
    ArtifactAccount(kind="models", record=record, seed=1, folder=folder).seal_done(
        record, bench.parts.artifacts
    )
    form = read_form(folder, kind="models", item_id=run_id)
    things = [*stored_things(form.manifest, file_id=form.manifest_sha256), "file:" + "0" * 64]
    bench.references.refer(run_id, things)
    if is_pointed:
        bench.store.point_at_artifact(run_id, file_id="0" * 64, epoch=lease.epoch)
    else:
        bench.references.release(run_id, things[-1:])
    bench.store.request_cancel(run_id)
    bench.now += 3600
    bench.store.reap()
    assert bench.store.get(run_id).status is RunStatus.CANCELLED
    _close(bench, run_id)
    for thing in things:
        assert bench.references.referred_by(thing, limit=1) == (), thing
    assert bench.references.referred_by(f"file:{ordered_with}", limit=1) == (run_id,)


def test_what_a_completed_run_handed_in_stays_needed(bench: Bench) -> None:
    lease = bench.claimed()
    folder = bench.parts.artifacts.create("models", lease.run_id)
    record = bench.store.get(lease.run_id)
    ArtifactAccount(kind="models", record=record, seed=1, folder=folder).seal_done(
        record, bench.parts.artifacts
    )
    thing = f"file:{sha256_of(folder / MANIFEST)}"
    bench.references.refer(lease.run_id, [thing])
    bench.store.finish(lease, Outcome(status=RunStatus.COMPLETED, message="Done."))
    _close(bench, lease.run_id)
    assert bench.references.referred_by(thing, limit=1) == (lease.run_id,)
