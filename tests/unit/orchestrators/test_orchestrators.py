"""Orders become records: which queue, which kind, whose child; and what a lookup refuses."""

import errno
import time

import pytest

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.evaluation import EvaluateSpec
from model_trainer.core.contracts.ids import TokenizerId, new_ulid
from model_trainer.core.contracts.run import IdempotencyKey, RunKind, RunQuery, RunRecord, RunStatus
from model_trainer.core.contracts.tokenizer import TokenizerSpec
from model_trainer.core.contracts.training import LanguageModelSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.failpoints import Failpoint
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.infra.queue.memory import MemoryJobQueue
from model_trainer.infra.storage.memory import MemoryArtifactTree
from model_trainer.orchestrators.evaluations import EvaluationOrchestrator
from model_trainer.orchestrators.needs import Needs
from model_trainer.orchestrators.resuming import check_same_spec
from model_trainer.orchestrators.tokenizers import TokenizerOrchestrator
from model_trainer.orchestrators.training import TrainingOrchestrator

TOKENIZER = TokenizerSpec(method="bpe", corpus_path="demo", user_id="u", metadata={"a": "b"})
TRAINING = LanguageModelSpec(
    model_family="toy", corpus_path="demo", tokenizer_id=new_ulid(), user_id="u", metadata={"a": "b"}
)


class NoNeeds(Needs):
    """Of runs that need nothing: tests/unit/orchestrators/test_needs.py has the others."""

    def __init__(self) -> None:
        """Refers to nothing."""

    def secure(self, run_id: str, spec: JsonObject) -> None:
        """Nothing to look for."""

    def let_go(self, run_id: str, spec: JsonObject) -> None:
        """Nothing was held."""


class AwayRuns(MemoryRunStore):
    """A store that does not answer."""

    def get(self, run_id: str) -> RunRecord:
        raise AppError(ErrorCode.STORE_UNAVAILABLE, "away")


class House:
    """All three over one store."""

    def __init__(self, store: type[MemoryRunStore] = MemoryRunStore) -> None:
        self.queue = MemoryJobQueue()
        self.runs = store(queue=self.queue, clock=time.time, announce=lambda _: None)
        self.artifacts = MemoryArtifactTree()
        needs = NoNeeds()
        self.training = TrainingOrchestrator(
            runs=self.runs, artifacts=self.artifacts, needs=needs, queue_name="long"
        )
        self.tokenizers = TokenizerOrchestrator(
            runs=self.runs, artifacts=self.artifacts, needs=needs, queue_name="short"
        )
        self.evaluations = EvaluationOrchestrator(
            runs=self.runs, artifacts=self.artifacts, needs=needs, queue_name="short"
        )


def test_a_training_is_recorded_with_its_whole_spec_and_queued() -> None:
    house = House()
    record = house.training.start(TRAINING, request_id="r", idempotency=None).record

    assert (record.kind, record.queue, record.family, record.status) == (
        RunKind.TRAIN,
        "long",
        "toy",
        RunStatus.QUEUED,
    )
    assert (record.user_id, record.metadata, record.request_id) == ("u", {"a": "b"}, "r")
    assert record.spec["seed"] == 42
    assert house.queue.depth("long") == 1
    assert house.training.find_training(record.run_id).run_id == record.run_id


def test_a_tokenizers_id_is_its_runs_id() -> None:
    house = House()
    record = house.tokenizers.start(TOKENIZER, request_id="r", idempotency=None).record

    assert (record.kind, record.queue, record.family) == (RunKind.TOKENIZER, "short", "bpe")
    assert house.tokenizers.find(TokenizerId(record.run_id)).run_id == record.run_id
    assert house.training.find(record.run_id).kind is RunKind.TOKENIZER
    assert house.queue.depth("short") == 1


def test_the_same_key_starts_one_run() -> None:
    house = House()
    key = IdempotencyKey(key="k", body_sha256="s")
    first = house.training.start(TRAINING, request_id="r1", idempotency=key)
    second = house.training.start(TRAINING, request_id="r2", idempotency=key)

    assert (first.replayed, second.replayed) == (False, True)
    assert first.record.run_id == second.record.run_id
    assert house.queue.depth("long") == 1


def test_lookups_refuse_ids_of_other_kinds() -> None:
    house = House()
    training = house.training.start(TRAINING, request_id="r", idempotency=None).record.run_id
    tokenizer = house.tokenizers.start(TOKENIZER, request_id="r", idempotency=None).record.run_id

    for missing in (training, new_ulid()):
        with pytest.raises(AppError) as refused:
            house.tokenizers.find(TokenizerId(missing))
        assert refused.value.code is ErrorCode.TOKENIZER_NOT_FOUND
    with pytest.raises(AppError) as refused:
        house.training.find_training(tokenizer)
    assert refused.value.code is ErrorCode.RUN_NOT_FOUND


def test_a_store_that_is_away_is_no_missing_tokenizer() -> None:
    with pytest.raises(AppError) as away:
        House(AwayRuns).tokenizers.find(TokenizerId(new_ulid()))

    assert away.value.code is ErrorCode.STORE_UNAVAILABLE


def test_an_evaluation_is_a_child_of_a_completed_training() -> None:
    house = House()
    parent = house.training.start(TRAINING, request_id="r", idempotency=None).record
    with pytest.raises(AppError) as early:
        house.evaluations.start(EvaluateSpec(split="train"), parent=parent, request_id="r", idempotency=None)
    assert early.value.code is ErrorCode.CONFLICT

    completed = parent.model_copy(update={"status": RunStatus.COMPLETED})
    record = house.evaluations.start(
        EvaluateSpec(split="train"), parent=completed, request_id="r", idempotency=None
    ).record

    assert (record.kind, record.parent_run_id, record.family, record.user_id) == (
        RunKind.EVALUATE,
        parent.run_id,
        "toy",
        "u",
    )
    listed = house.evaluations.list_evaluations(parent_run_id=parent.run_id, limit=5)
    assert [found.run_id for found in listed.records] == [record.run_id]


def test_lists_hold_one_kind_each_and_a_queued_run_can_be_cancelled() -> None:
    house = House()
    training = house.training.start(TRAINING, request_id="r", idempotency=None).record.run_id
    tokenizer = house.tokenizers.start(TOKENIZER, request_id="r", idempotency=None).record.run_id

    trainings = house.training.list_runs(RunQuery(kind=RunKind.TRAIN, limit=5)).records
    tokenizers = house.tokenizers.list_tokenizers(RunQuery(kind=RunKind.TOKENIZER, limit=5)).records
    assert ([run.run_id for run in trainings], [run.run_id for run in tokenizers]) == (
        [training],
        [tokenizer],
    )
    assert house.training.cancel(training).status is RunStatus.CANCELLED


class BadDisk(MemoryArtifactTree):
    """A disk that takes nothing."""

    def __init__(self, error: AppError | OSError) -> None:
        super().__init__()
        self._error = error

    def keep_record(self, record: RunRecord) -> None:
        raise self._error


def test_every_order_leaves_its_record_on_disk_and_a_disk_that_refuses_fails_none() -> None:
    full, unreadable = AppError(ErrorCode.DISK_FULL, "The disk is full."), OSError(errno.EIO, "No disk.")
    for artifacts, kept in (
        (MemoryArtifactTree(), True),
        (BadDisk(full), False),
        (BadDisk(unreadable), False),
    ):
        reached: list[Failpoint] = []
        runs = MemoryRunStore(queue=MemoryJobQueue(), clock=time.time, announce=lambda _: None)
        training = TrainingOrchestrator(
            runs=runs, artifacts=artifacts, needs=NoNeeds(), queue_name="long", reached=reached.append
        )
        run_id = training.start(TRAINING, request_id="r", idempotency=None).record.run_id
        assert reached == [Failpoint.SUBMIT_KEPT]
        for order, status in (
            (training.pause, RunStatus.PAUSED),
            (training.resume, RunStatus.QUEUED),
            (training.cancel, RunStatus.CANCELLED),
        ):
            order(run_id)
            assert runs.get(run_id).status is status
            on_disk = [one.record.status for one in artifacts.kept_records() if one.record is not None]
            assert on_disk == ([status] if kept else [])


def test_a_run_whose_family_has_other_fields_was_ordered_with_another_spec() -> None:
    house = House()
    run_id = house.training.start(TRAINING, request_id="r", idempotency=None).record.run_id
    house.training.pause(run_id)
    damaged = house.runs.get(run_id).model_copy(update={"spec": {"model_family": 7}})

    with pytest.raises(AppError) as refused:
        check_same_spec(damaged, TRAINING)
    assert refused.value.code is ErrorCode.CONFLICT


def test_a_spec_from_before_a_field_was_added_is_read_as_it_is_read_now() -> None:
    house = House()
    record = house.training.start(TRAINING, request_id="r", idempotency=None).record
    older = {name: value for name, value in record.spec.items() if name not in ("seed", "checkpoint")}

    check_same_spec(record.model_copy(update={"spec": older}), TRAINING)

    with pytest.raises(AppError, match="another seed,"):
        check_same_spec(
            record.model_copy(update={"spec": older}), TRAINING.model_copy(update={"seed": TRAINING.seed + 1})
        )
