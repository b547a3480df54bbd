"""Runs that ended without their worker are brought to their end on disk."""

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import NewRun, RunKind, RunStatus
from model_trainer.core.errors import ErrorCode
from model_trainer.maintenance.accounts import AccountCloser
from model_trainer.worker.manifests import read_manifest, verify
from tests.unit.worker.bench import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


def _lost(bench: Bench, *, kind: RunKind = RunKind.TRAIN, parent: str | None = None) -> str:
    """A run whose workers died until the store gave it up."""
    run = NewRun(
        run_id=new_ulid(),
        kind=kind,
        queue="training",
        family="gpt2",
        spec={"seed": 7},
        user_id=None,
        metadata={},
        parent_run_id=parent,
        request_id="r-1",
    )
    bench.store.submit(run, idempotency=None)
    while bench.store.get(run.run_id).status is not RunStatus.FAILED:
        epoch = bench.store.get(run.run_id).epoch
        assert bench.store.claim(run.run_id, epoch=epoch, owner="w", lease_seconds=1) is not None
        bench.now += 3600.0
        assert run.run_id in bench.store.reap()
    return run.run_id


def _folder(bench: Bench, run_id: str) -> Path:
    return bench.parts.artifacts.create("models", run_id)


def _close(bench: Bench, *run_ids: str) -> None:
    AccountCloser(runs=bench.store, artifacts=bench.parts.artifacts)(run_ids)


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


def test_a_run_that_is_queued_again_is_left_alone(bench: Bench) -> None:
    run_id = bench.submitted()
    folder = _folder(bench, run_id)
    _close(bench, run_id)
    assert list(folder.iterdir()) == []


def test_one_account_that_cannot_be_closed_does_not_stop_the_others(bench: Bench) -> None:
    run_id = _lost(bench)
    _folder(bench, run_id)
    with capture_logs() as lines:
        _close(bench, new_ulid(), run_id)
    assert [line["event"] for line in lines] == ["account_not_closed", "account_closed"]


def test_a_run_is_asked_for_until_its_account_is_closed(bench: Bench) -> None:
    run_id = _lost(bench)
    folder = _folder(bench, run_id)
    (folder / "manifest.json").mkdir()
    _close(bench, run_id)
    assert run_id in bench.store.unaccounted(10)
    (folder / "manifest.json").rmdir()
    _close(bench, run_id)
    assert run_id not in bench.store.unaccounted(10)
