"""Language models that are measured again by a job of its own: on their splits, on other text, or not at all."""

import json
from pathlib import Path

import pytest

from model_trainer.core.contracts.run import RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import sha256_of
from model_trainer.engine.devices.cuda import list_cuda
from model_trainer.models.recipe_file import read_recipe
from model_trainer.worker.account import close_account
from model_trainer.worker.manifests import read_manifest, verify
from model_trainer.worker.trained import load_trained
from tests.integration.conftest import MakeWorkshop
from tests.integration.workshop import TEXT, TINY_GPT2, TINY_LSTM, Workshop


@pytest.fixture
def workshop(make_workshop: MakeWorkshop) -> Workshop:
    return make_workshop()


def _code(record: RunRecord) -> ErrorCode | None:
    return record.problem.code if record.problem is not None else None


def _fields(record: RunRecord) -> list[str]:
    return [fault.pointer for fault in record.problem.faults] if record.problem is not None else []


def test_each_split_and_text_from_outside_can_be_evaluated(workshop: Workshop) -> None:
    tokenizer = workshop.tokenizer()
    run = workshop.train(TINY_GPT2, tokenizer_id=tokenizer.run_id, test_fraction=0.1)
    workshop.put("outside.txt", "a bird sat on the mat.\n" * 20)
    for asked in ({"split": "test"}, {"split": "train"}, {"corpus_path": "outside.txt"}):
        record = workshop.evaluate(run, **asked, compare_to_run_id=run.run_id)
        assert record.status is RunStatus.COMPLETED, record.problem
        assert record.result["split"] == asked.get("split", "external")
        results = workshop.folder(run) / "eval" / record.run_id / "metrics.json"
        assert json.loads(results.read_text()) == record.result
    assert verify(workshop.folder(run)) == []
    assert len(read_manifest(workshop.folder(run)).revisions) == 3


def test_an_evaluation_stays_in_the_account_when_the_run_is_sealed_again(workshop: Workshop) -> None:
    tokenizer = workshop.tokenizer()
    run = workshop.train(TINY_GPT2, tokenizer_id=tokenizer.run_id)
    workshop.evaluate(run, split="validation")
    close_account(run, workshop.container.artifacts)
    assert len(read_manifest(workshop.folder(run)).revisions) == 1


def test_the_pointer_follows_the_manifest_through_an_evaluation(workshop: Workshop) -> None:
    tokenizer = workshop.tokenizer()
    run = workshop.train(TINY_GPT2, tokenizer_id=tokenizer.run_id)
    workshop.evaluate(run, split="validation")
    folder = workshop.folder(run)
    pointer = json.loads((folder.parents[2] / "runs" / run.run_id / "manifest.json").read_text())
    assert pointer["manifest_sha256"] == sha256_of(folder / "manifest.json")


def test_evaluating_the_validation_split_again_gives_the_same_figures(workshop: Workshop) -> None:
    tokenizer = workshop.tokenizer()
    run = workshop.train(TINY_LSTM, tokenizer_id=tokenizer.run_id)
    again = workshop.evaluate(run, split="validation")
    first = run.result["evaluation"]
    assert isinstance(first, dict)
    assert again.result["metrics"] == first["metrics"]


def test_a_split_that_was_not_made_cannot_be_evaluated(workshop: Workshop) -> None:
    tokenizer = workshop.tokenizer()
    run = workshop.train(TINY_GPT2, tokenizer_id=tokenizer.run_id)
    record = workshop.evaluate(run, split="test")
    assert (_code(record), _fields(record)) == (ErrorCode.DATA_EMPTY, ["/split"])


def test_a_split_of_a_corpus_that_has_changed_cannot_be_evaluated(workshop: Workshop) -> None:
    tokenizer = workshop.tokenizer()
    run = workshop.train(TINY_GPT2, tokenizer_id=tokenizer.run_id)
    workshop.put("corpus.txt", TEXT + "more\n")
    record = workshop.evaluate(run, split="validation")
    assert (_code(record), _fields(record)) == (ErrorCode.DATA_CHANGED, ["/split"])


def test_text_that_cannot_be_evaluated_is_named_by_its_field(workshop: Workshop) -> None:
    run = workshop.train(TINY_GPT2, tokenizer_id=workshop.tokenizer().run_id)
    record = workshop.evaluate(run, corpus_path="missing.txt")
    assert (_code(record), _fields(record)) == (ErrorCode.DATA_NOT_FOUND, ["/corpus_path"])


def test_windows_longer_than_the_text_are_named_by_their_fields(workshop: Workshop) -> None:
    workshop.put("short.txt", "the cat sat on a mat\n" * 20)
    tokenizer = workshop.tokenizer()
    record = workshop.train(
        TINY_GPT2, tokenizer_id=tokenizer.run_id, corpus_path="short.txt", max_seq_len=1024
    )
    assert _code(record) is ErrorCode.DATA_TOO_SMALL
    assert _fields(record) == ["/corpus_path", "/max_seq_len"]


def test_a_model_trained_on_cuda_is_evaluated_where_there_is_none(workshop: Workshop) -> None:
    run = workshop.train(TINY_GPT2, tokenizer_id=workshop.tokenizer().run_id)
    path = workshop.folder(run) / "recipe.json"
    recipe = read_recipe(workshop.folder(run)).model_copy(update={"device": "cuda", "precision": "fp16"})
    path.write_text(recipe.model_dump_json())
    record = workshop.evaluate(run, split="validation")
    assert record.status is RunStatus.COMPLETED, record.problem
    metrics = record.result["metrics"]
    assert isinstance(metrics, dict)
    precision = "fp16" if list_cuda() else "fp32"
    assert str(metrics["protocol"]).endswith(f"computed in {precision}")


def test_only_completed_trainings_can_be_used(workshop: Workshop) -> None:
    tokenizer = workshop.tokenizer()
    parts = workshop.container.worker_parts("worker-1")
    with pytest.raises(AppError) as caught:
        load_trained(parts, tokenizer.run_id)
    assert caught.value.code is ErrorCode.CONFLICT


def test_a_model_without_its_recipe_is_corrupt(tmp_path: Path) -> None:
    with pytest.raises(AppError) as caught:
        read_recipe(tmp_path)
    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT
