"""Runs refer to what they need before they are made, and to nothing when they are not."""

import time
from collections.abc import Sequence

import pytest

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import IdempotencyKey, NewRun, RunKind, RunRecord, Submission
from model_trainer.core.contracts.training import LanguageModelSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.infra.persistence.memory_references import MemoryReferences
from model_trainer.infra.queue.memory import MemoryJobQueue
from model_trainer.infra.storage.memory import MemoryArtifactTree
from model_trainer.orchestrators.needs import Needs, thing_of_file, thing_of_tokenizer, things_needed
from model_trainer.orchestrators.records import Records
from model_trainer.orchestrators.training import TrainingOrchestrator
from tests.contract.run_stores import new_run
from tests.unit.infra.storage.stocked_store import StockedStore, sha256

TEXT, OTHER = b"text", b"other"
KEY = IdempotencyKey(key="k", body_sha256="0" * 64)


class Runs(MemoryRunStore):
    """Answers with `trouble`, before anything is done or after."""

    trouble: AppError | None = None

    def submit(self, run: NewRun, *, idempotency: IdempotencyKey | None) -> Submission:
        if self.trouble is not None:
            raise self.trouble
        return super().submit(run, idempotency=idempotency)


class House:
    """Records over stores in memory, with two files and a tokenizer."""

    def __init__(self) -> None:
        self.runs = Runs(queue=MemoryJobQueue(), clock=time.time, announce=lambda _: None)
        self.artifacts = MemoryArtifactTree()
        self.references = MemoryReferences()
        self.store = StockedStore()
        self.needs = Needs(references=self.references, store=self.store, runs=self.runs)
        self.records = Records(runs=self.runs, artifacts=self.artifacts, needs=self.needs)
        self.training = TrainingOrchestrator(
            runs=self.runs, artifacts=self.artifacts, needs=self.needs, queue_name="long"
        )
        self.file_id, self.other_id = self.store.stock(TEXT), self.store.stock(OTHER)
        self.tokenizer_id = self.submit({}, kind=RunKind.TOKENIZER).run_id

    def spec(self) -> JsonObject:
        return {
            "corpus_path": f"sha256:{self.file_id}.txt",
            "data_paths": ["a.csv", f"sha256:{self.other_id}.csv"],
            "tokenizer_id": self.tokenizer_id,
        }

    def submit(
        self, spec: JsonObject, *, kind: RunKind = RunKind.TRAIN, idempotency: IdempotencyKey | None = None
    ) -> RunRecord:
        run = new_run(kind=kind, family="toy", spec=spec, user_id=None)
        return self.records.submit(run, idempotency=idempotency).record

    def referred_by(self, spec: JsonObject) -> list[tuple[str, ...]]:
        return [self.references.referred_by(thing, limit=9) for thing in things_needed(spec)]


def test_a_spec_needs_its_files_and_its_tokenizer() -> None:
    house = House()

    assert set(things_needed(house.spec())) == {
        thing_of_file(house.file_id),
        thing_of_file(house.other_id),
        thing_of_tokenizer(house.tokenizer_id),
    }
    assert things_needed({"corpus_path": "demo", "tokenizer_id": None}) == ()


def test_a_label_that_is_a_digest_is_no_need() -> None:
    house = House()
    spec: JsonObject = {"metadata": {"source": f"sha256:{'0' * 64}"}, "corpus_path": "demo"}

    assert things_needed(spec) == ()
    house.submit(spec)


def test_a_run_that_is_made_refers_to_what_it_needs() -> None:
    house = House()
    record = house.submit(house.spec())

    assert house.referred_by(house.spec()) == [(record.run_id,)] * 3
    assert house.references.begin_removal(thing_of_file(house.file_id), owner="test", seconds=9) == (
        record.run_id,
    )


def test_a_run_that_needs_nothing_works_while_the_store_is_away() -> None:
    class AwayReferences(MemoryReferences):
        def refer(self, run_id: str, things: Sequence[str]) -> None:
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "away")

        def release(self, run_id: str, things: Sequence[str]) -> None:
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "away")

    house = House()
    needs = Needs(references=AwayReferences(), store=house.store, runs=house.runs)
    needs.secure(new_ulid(), {"corpus_path": "demo"})
    needs.let_go(new_ulid(), {"corpus_path": "demo"})

    with pytest.raises(AppError):
        needs.secure(new_ulid(), house.spec())


def test_a_run_that_is_refused_refers_to_nothing() -> None:
    house = House()
    house.runs.trouble = AppError(ErrorCode.CONFLICT, "no")
    with pytest.raises(AppError):
        house.submit(house.spec())

    assert house.referred_by(house.spec()) == [()] * 3


def test_a_run_that_may_have_been_made_keeps_its_references() -> None:
    house = House()
    house.runs.trouble = AppError(ErrorCode.STORE_UNAVAILABLE, "away")
    with pytest.raises(AppError):
        house.submit(house.spec())

    assert [len(runs) for runs in house.referred_by(house.spec())] == [1, 1, 1]


def test_an_order_that_is_repeated_leaves_the_references_of_the_first() -> None:
    house = House()
    first = house.submit(house.spec(), idempotency=KEY)
    again = house.submit(house.spec(), idempotency=KEY)

    assert again.run_id == first.run_id
    assert house.referred_by(house.spec()) == [(first.run_id,)] * 3


@pytest.mark.parametrize(("missing", "pointer"), [(TEXT, "/corpus_path"), (OTHER, "/data_paths")])
def test_a_file_that_has_gone_meanwhile_is_refused_at_its_field(missing: bytes, pointer: str) -> None:
    house = House()
    house.store.delete(sha256(missing))
    with pytest.raises(AppError) as refused:
        house.submit(house.spec())

    assert refused.value.code is ErrorCode.DATA_NOT_FOUND
    assert [fault.pointer for fault in refused.value.faults] == [pointer]
    assert house.referred_by(house.spec()) == [()] * 3


def test_a_file_that_is_being_removed_cannot_be_needed() -> None:
    house = House()
    house.references.begin_removal(thing_of_file(house.other_id), owner="test", seconds=9)
    with pytest.raises(AppError) as refused:
        house.submit(house.spec())

    assert refused.value.code is ErrorCode.CONFLICT
    assert house.referred_by(house.spec()) == [()] * 3


def test_a_tokenizer_that_has_gone_or_is_going_is_not_found() -> None:
    house = House()
    spec = house.spec() | {"tokenizer_id": new_ulid()}
    house.references.begin_removal(thing_of_tokenizer(house.tokenizer_id), owner="test", seconds=9)
    for wanted in (spec, house.spec()):
        with pytest.raises(AppError) as refused:
            house.submit(wanted)

        assert refused.value.code is ErrorCode.TOKENIZER_NOT_FOUND
        assert [fault.pointer for fault in refused.value.faults] == ["/tokenizer_id"]
        assert house.referred_by(wanted) == [()] * 3


def test_a_store_that_is_away_is_no_missing_tokenizer() -> None:
    class AwayRuns(Runs):
        def get(self, run_id: str) -> RunRecord:
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "away")

    house = House()
    away = AwayRuns(queue=MemoryJobQueue(), clock=time.time, announce=lambda _: None)
    needs = Needs(references=house.references, store=house.store, runs=away)
    with pytest.raises(AppError) as refused:
        needs.secure(new_ulid(), house.spec())

    assert refused.value.code is ErrorCode.STORE_UNAVAILABLE


def paused_training(house: House) -> str:
    spec = LanguageModelSpec(
        model_family="toy", corpus_path=f"sha256:{house.file_id}", tokenizer_id=house.tokenizer_id
    )
    run_id = house.training.start(spec, request_id="r", idempotency=None).record.run_id
    house.training.pause(run_id)
    return run_id


def test_a_training_that_goes_on_refers_again_to_what_it_needs() -> None:
    house = House()
    run_id = paused_training(house)
    thing = thing_of_file(house.file_id)
    house.references.release(run_id, [thing])  # as when Redis was rebuilt from records alone
    house.training.resume(run_id)

    assert house.references.referred_by(thing, limit=9) == (run_id,)


def test_a_training_whose_corpus_has_gone_does_not_go_on() -> None:
    house = House()
    run_id = paused_training(house)
    house.store.delete(house.file_id)
    with pytest.raises(AppError) as refused:
        house.training.resume(run_id)

    assert refused.value.code is ErrorCode.DATA_NOT_FOUND
    assert house.runs.get(run_id).status.value == "paused"
