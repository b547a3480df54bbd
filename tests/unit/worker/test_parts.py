"""What a job must know of other runs waits for a store that is away; what is not there is no outage."""

import time
from dataclasses import replace

import pytest

from model_trainer.core.contracts.run import RunKind, RunPage, RunQuery, RunRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.infra.queue.memory import MemoryJobQueue
from model_trainer.worker.parts import WorkerParts
from tests.unit.worker.bench import Bench


class ComesBack(MemoryRunStore):
    """Away for the first question of each kind."""

    away = 1

    def get(self, run_id: str) -> RunRecord:
        self._answer()
        return super().get(run_id)

    def list_runs(self, query: RunQuery) -> RunPage:
        self._answer()
        return super().list_runs(query)

    def _answer(self) -> None:
        self.away -= 1
        if self.away >= 0:
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")


@pytest.fixture
def parts() -> WorkerParts:
    store = ComesBack(queue=MemoryJobQueue(), clock=time.time, announce=lambda _: None)
    return replace(Bench().parts, runs=store)


def test_runs_are_listed_when_the_store_is_back(parts: WorkerParts) -> None:
    assert parts.other_runs(RunQuery(kind=RunKind.TRAIN, limit=5)).records == ()


def test_a_run_that_is_not_there_is_no_outage(parts: WorkerParts) -> None:
    with pytest.raises(AppError) as caught:
        parts.other_run("01ARZ3NDEKTSV4RRFFQ69G5FA0")
    assert caught.value.code is ErrorCode.RUN_NOT_FOUND
