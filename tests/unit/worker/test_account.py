"""The account of a run that goes on later."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.infra.queue.memory import MemoryJobQueue
from model_trainer.worker.account import ArtifactAccount
from model_trainer.worker.baselines import find_baseline
from tests.unit.worker.bench import Bench


def _account(record: RunRecord, folder: Path) -> ArtifactAccount:
    return ArtifactAccount(kind="models", record=record, seed=1, folder=folder)


def test_an_account_that_was_not_opened_yet_is_the_next_workers(bench: Bench, tmp_path: Path) -> None:
    record = bench.store.get(bench.submitted())
    _account(record, tmp_path).seal_meanwhile(record, bench.parts.artifacts)
    assert list(tmp_path.iterdir()) == []


def test_an_account_that_cannot_be_written_does_not_stand_in_the_way(bench: Bench, tmp_path: Path) -> None:
    record = bench.store.get(bench.submitted())
    (tmp_path / "manifest.json").write_text("{")
    _account(record, tmp_path).seal_meanwhile(record, bench.parts.artifacts)
    assert (tmp_path / "manifest.json").read_text() == "{"


class Away(MemoryRunStore):
    """Knows what there is, and does not say it."""

    def get(self, run_id: str) -> RunRecord:
        raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")


def test_a_parent_that_the_store_cannot_tell_of_now_is_not_taken_for_none(bench: Bench) -> None:
    changed: dict[str, object] = {"parent_run_id": "01ARZ3NDEKTSV4RRFFQ69G5FA0"}
    child = bench.store.get(bench.submitted()).model_copy(update=changed)
    bench.let_leases_last(0.1)
    store = Away(queue=MemoryJobQueue(), clock=time.time, announce=lambda _: None)
    with pytest.raises(AppError) as caught:
        find_baseline(replace(bench.parts, runs=store), child, asked=None)
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
