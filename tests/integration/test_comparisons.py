"""Whom a model is compared with, and that both figures are of the same text."""

import pytest

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.run import RunRecord, RunStatus
from model_trainer.core.errors import ErrorCode
from model_trainer.worker.baselines import find_baseline
from tests.integration.conftest import MakeWorkshop
from tests.integration.workshop import TEXT, TINY_GPT2, Workshop

OUTSIDE = "a bird sat on the mat.\n" * 20


@pytest.fixture
def workshop(make_workshop: MakeWorkshop) -> Workshop:
    return make_workshop({"corpus.txt": TEXT, "outside.txt": OUTSIDE})


@pytest.fixture
def tokenizer_id(workshop: Workshop) -> str:
    return workshop.tokenizer().run_id


def comparison_of(record: RunRecord) -> JsonObject:
    evaluation = record.result.get("evaluation", record.result)
    assert isinstance(evaluation, dict)
    comparison = evaluation["comparison"]
    assert isinstance(comparison, dict), record
    return comparison


@pytest.mark.parametrize(
    "asked",
    [{"split": "validation"}, {"split": "train"}, {"split": "test"}, {"corpus_path": "outside.txt"}],
    ids=str,
)
@pytest.mark.parametrize("named", [True, False], ids=["named", "left out"])
def test_an_evaluation_is_compared_with_the_other_run_on_the_same_text(
    workshop: Workshop, tokenizer_id: str, asked: dict[str, str], named: bool
) -> None:
    good = workshop.train(TINY_GPT2, tokenizer_id=tokenizer_id, test_fraction=0.1, max_steps=60)
    bad = workshop.train(
        TINY_GPT2, tokenizer_id=tokenizer_id, test_fraction=0.1, max_steps=1, eval_every_steps=1
    )
    theirs = workshop.evaluate(good, **asked)
    other = {"compare_to_run_id": good.run_id} if named else {}
    comparison = comparison_of(workshop.evaluate(bad, **asked, **other))
    assert comparison["run_id"] == good.run_id
    assert (comparison["same_data"], comparison["regression"]) == (True, True)
    metrics = theirs.result["metrics"]
    assert isinstance(metrics, dict)
    assert comparison["theirs"] == metrics["bits_per_byte"]


def test_where_the_other_run_never_saw_the_text_its_final_figures_stand_beside(
    workshop: Workshop, tokenizer_id: str
) -> None:
    first, second = (workshop.train(TINY_GPT2, tokenizer_id=tokenizer_id) for _ in range(2))
    comparison = comparison_of(workshop.evaluate(second, corpus_path="outside.txt"))
    assert (comparison["run_id"], comparison["same_data"]) == (first.run_id, False)
    final = first.result["evaluation"]
    assert isinstance(final, dict)
    assert isinstance(final["metrics"], dict)
    assert comparison["theirs"] == final["metrics"]["bits_per_byte"]


def test_runs_without_a_readable_evaluation_are_passed_over(workshop: Workshop, tokenizer_id: str) -> None:
    readable, damaged, gone, record = (
        workshop.train(TINY_GPT2, tokenizer_id=tokenizer_id, max_steps=1) for _ in range(4)
    )
    (workshop.folder(damaged) / "eval" / "metrics.json").write_text("{}")
    (workshop.folder(gone) / "eval" / "metrics.json").unlink()
    last = workshop.train(TINY_GPT2, tokenizer_id=tokenizer_id, max_steps=1)
    assert comparison_of(last)["run_id"] == record.run_id
    assert comparison_of(workshop.evaluate(record, split="train"))["run_id"] == readable.run_id


def test_a_damaged_later_evaluation_does_not_stand_in_the_way(workshop: Workshop, tokenizer_id: str) -> None:
    first = workshop.train(TINY_GPT2, tokenizer_id=tokenizer_id, max_steps=1)
    kept, damaged = (workshop.evaluate(first, split="train") for _ in range(2))
    (workshop.folder(first) / "eval" / damaged.run_id / "metrics.json").write_text("{}")
    second = workshop.train(TINY_GPT2, tokenizer_id=tokenizer_id, max_steps=1)
    found = find_baseline(workshop.container.worker_parts("worker-1"), second, asked=first.run_id)
    assert found is not None
    assert [one.evaluation_id for one in found.later] == [kept.run_id]


@pytest.mark.parametrize("what", ["damaged", "gone", "not a training", "unknown"])
def test_a_named_run_that_cannot_be_compared_with_is_refused_before_any_training(
    workshop: Workshop, tokenizer_id: str, what: str
) -> None:
    other = workshop.train(TINY_GPT2, tokenizer_id=tokenizer_id, max_steps=1).run_id
    evaluation = workshop.container.artifacts.folder("models", other) / "eval" / "metrics.json"
    code = ErrorCode.CONFLICT
    match what:
        case "damaged":
            evaluation.write_text("{}")
            code = ErrorCode.ARTIFACT_CORRUPT
        case "gone":
            evaluation.unlink()
        case "not a training":
            other = tokenizer_id
        case _:
            other, code = "01JCB0A8N7Q4T2V5W6X9Y0Z1AB", ErrorCode.RUN_NOT_FOUND
    record = workshop.train(TINY_GPT2, tokenizer_id=tokenizer_id, compare_to_run_id=other)
    assert record.status is RunStatus.FAILED
    assert record.problem is not None
    assert record.problem.code is code
    assert [fault.pointer for fault in record.problem.faults] == ["/compare_to_run_id"]
    assert "trainer.metrics.config.v1" not in workshop.event_types(record), "no training had begun"
    assert not (workshop.folder(record) / "metrics.jsonl").exists()
