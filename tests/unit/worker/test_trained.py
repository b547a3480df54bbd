"""What an earlier job trained is used only for what it is; and whom a training was compared with, once that has gone."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace

import pytest

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.run import Outcome, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.infra.queue.memory import MemoryJobQueue
from model_trainer.models.family import Family
from model_trainer.models.gpt2 import FAMILY as GPT2
from model_trainer.models.text_detector import FAMILY as TEXT_DETECTOR
from model_trainer.registry import Registry
from model_trainer.worker.detector.baselines import former_baseline
from model_trainer.worker.detector.trained import find_detector
from model_trainer.worker.parts import WorkerParts
from model_trainer.worker.supervise import supervise
from model_trainer.worker.train_model import train_model_job
from model_trainer.worker.trained import load_trained
from tests.contract.run_stores import new_run
from tests.integration.watched import WatchedFamily
from tests.unit.worker.bench import Bench

LANGUAGE_MODEL: JsonObject = {
    "model_family": "gpt2",
    "corpus_path": "a.txt",
    "tokenizer_id": "01JCB0A8N7Q4T2V5W6X9Y0Z1AB",
}
DETECTOR: JsonObject = {"model_family": "text_detector", "data_paths": ["a.csv"]}


class Store(MemoryRunStore):
    """Of runs that are completed as soon as they are there; goes away when it is told to."""

    is_away = False

    def get(self, run_id: str) -> RunRecord:
        if self.is_away:
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")
        return super().get(run_id)

    def queued(self, spec: Mapping[str, object]) -> RunRecord:
        run = new_run(family=str(spec["model_family"]), spec=json.loads(json.dumps(spec)), user_id=None)
        return self.submit(run, idempotency=None).record

    def completed(self, spec: Mapping[str, object]) -> RunRecord:
        run = self.queued(spec)
        lease = self.claim(run.run_id, epoch=run.epoch, owner="w", host=None, lease_seconds=15)
        assert lease is not None
        return self.finish(lease, Outcome(status=RunStatus.COMPLETED, message=""))


class House:
    """A worker's parts over such a store."""

    def __init__(self) -> None:
        self.store = Store(queue=MemoryJobQueue(), clock=time.time, announce=lambda _: None)

    def parts(self, *families: Family, lease_seconds: float = 15.0) -> WorkerParts:
        bench = Bench()
        bench.let_leases_last(lease_seconds)
        registry = Registry(families=families or (GPT2, TEXT_DETECTOR), tokenizers=())
        return replace(bench.parts, runs=self.store, registry=registry)


def test_a_detector_is_no_language_model() -> None:
    house = House()
    run = house.store.completed(DETECTOR)
    with pytest.raises(AppError, match="trained a text_detector, which is no language model") as raised:
        load_trained(house.parts(), run.run_id)
    assert raised.value.code is ErrorCode.CONFLICT


def test_a_language_model_is_no_detector() -> None:
    house = House()
    run = house.store.completed(LANGUAGE_MODEL)
    with pytest.raises(AppError, match="trained a gpt2, which is no detector") as raised:
        find_detector(house.parts(), run.run_id)
    assert raised.value.code is ErrorCode.CONFLICT


def test_a_run_that_has_gone_since_is_compared_with_nobody() -> None:
    house = House()
    run = house.store.completed(DETECTOR)
    assert former_baseline(house.parts(), run, asked="01JCB0A8N7Q4T2V5W6X9Y0Z1AB") is None
    assert former_baseline(house.parts(), run, asked=None) is None


def test_a_store_that_is_away_is_no_run_that_has_gone() -> None:
    house = House()
    run = house.store.completed(DETECTOR)
    house.store.is_away = True
    with pytest.raises(AppError) as raised:
        former_baseline(house.parts(lease_seconds=0.1), run, asked=run.run_id)
    assert raised.value.code is ErrorCode.STORE_UNAVAILABLE


def test_a_family_of_no_known_kind_is_the_fault_of_the_plug_in() -> None:
    house = House()
    parts = house.parts(WatchedFamily(GPT2))
    run = house.store.queued(LANGUAGE_MODEL)
    supervise(parts, run_id=run.run_id, epoch=run.epoch, job=train_model_job(parts))
    problem = house.store.get(run.run_id).problem
    assert problem is not None
    assert problem.code is ErrorCode.CONFIG_INVALID
    assert "neither of language models nor of detectors. Repair the plug-in" in problem.message
