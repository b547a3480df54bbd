"""Jobs from submission to sealed artifact, in this process."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers

from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import HandBack, Lease, RunKind, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode, Reason
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.infra.queue.memory import MemoryJobQueue
from model_trainer.models.recipe_file import read_recipe
from model_trainer.worker.manifests import read_manifest, verify
from model_trainer.worker.trained import load_tokenizer, load_trained
from model_trainer.worker.workplace import with_thread_limit
from tests.contract.run_stores import new_run
from tests.integration.conftest import MakeWorkshop
from tests.integration.workshop import TEXT, TINY_GPT2, TINY_LSTM, Workshop, rows


@pytest.fixture
def workshop(make_workshop: MakeWorkshop) -> Workshop:
    return make_workshop()


def _code(record: RunRecord) -> ErrorCode | None:
    return record.problem.code if record.problem is not None else None


def _fields(record: RunRecord) -> list[str]:
    return [fault.pointer for fault in record.problem.faults] if record.problem is not None else []


def test_a_tokenizer_is_trained_measured_and_accounted_for(workshop: Workshop) -> None:
    record = workshop.tokenizer()
    assert record.status is RunStatus.COMPLETED
    folder = workshop.container.artifacts.folder("tokenizers", record.run_id)
    manifest = read_manifest(folder)
    assert manifest.status == "completed"
    assert manifest.tokenizer_sha256 is not None
    assert verify(folder) == []
    stats = json.loads((folder / "stats.json").read_text())
    assert stats["measured_on"] == "holdout"
    assert stats["char_coverage"] == 1.0


def test_without_a_holdout_the_training_text_is_measured_and_that_is_said(workshop: Workshop) -> None:
    record = workshop.tokenizer(holdout_fraction=0.0)
    stats = record.result["stats"]
    assert isinstance(stats, dict)
    assert stats["measured_on"] == "train"


def test_a_tokenizer_without_text_fails_with_its_problem(workshop: Workshop) -> None:
    record = workshop.tokenizer(corpus_path="missing.txt")
    assert record.status is RunStatus.FAILED
    assert _code(record) is ErrorCode.DATA_NOT_FOUND
    assert _fields(record) == ["/corpus_path"]
    assert read_manifest(workshop.container.artifacts.folder("tokenizers", record.run_id)).status == "failed"


@pytest.mark.parametrize("base", [TINY_GPT2, TINY_LSTM], ids=["gpt2", "char_lstm"])
def test_a_model_is_trained_evaluated_and_accounted_for(workshop: Workshop, base: JsonObject) -> None:
    tokenizer = workshop.tokenizer()
    record = workshop.train(base, tokenizer_id=tokenizer.run_id, user_id="ada", test_fraction=0.1)
    assert record.status is RunStatus.COMPLETED, record.problem
    folder = workshop.folder(record)
    assert verify(folder) == []
    manifest = read_manifest(folder)
    assert manifest.status == "completed"
    assert manifest.spec["model_family"] == base["model_family"]
    assert manifest.resolved["vocab_size"] == manifest.resolved["vocab_size"]
    assert manifest.corpus is not None
    assert manifest.corpus.num_bytes == len(TEXT)
    assert {"validate", "tokenize", "train", "evaluate"} <= manifest.timings_seconds.keys()
    assert [row["step"] for row in rows(folder / "metrics.jsonl")][-1] == 6
    assert {"validation_loss", "loss", "learning_rate", "gradient_norm"} <= record.metrics.keys()
    assert (folder / "eval" / "samples.jsonl").exists()
    events = workshop.event_types(record)
    assert events[:2] == ["trainer.job.queued.v1", "trainer.job.started.v1"]
    assert events[-1] == "trainer.job.completed.v1"
    assert {"trainer.metrics.config.v1", "trainer.metrics.completed.v1", "trainer.job.evaluated.v1"} <= set(
        events
    )
    assert len(rows(folder / "events.jsonl")) == len(events)
    pointer = json.loads((folder.parents[2] / "runs" / record.run_id / "manifest.json").read_text())
    assert pointer["artifact_path"] == f"models/{record.run_id}"


def test_transformers_loads_a_finished_model_and_its_tokenizer_and_agrees(workshop: Workshop) -> None:
    tokenizer = workshop.tokenizer(method="bpe", vocab_size=270)
    folder = workshop.folder(workshop.train(TINY_GPT2, tokenizer_id=tokenizer.run_id))
    ours = load_trained(workshop.container.worker_parts("worker-1"), folder.name)
    ours.model.eval()
    their_model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = ours.tokenizer.encode("the cat sat on")
    assert their_tokenizer("the cat sat on")["input_ids"] == ids
    with torch.inference_mode():
        logits, _ = ours.model.next_token_logits(torch.tensor([ids]), ())
        torch.testing.assert_close(their_model(torch.tensor([ids])).logits, logits, atol=1e-4, rtol=0.0)


def test_the_same_spec_data_and_seed_give_the_same_weights_and_metrics(workshop: Workshop) -> None:
    tokenizer = workshop.tokenizer()
    folders = [workshop.folder(workshop.train(TINY_GPT2, tokenizer_id=tokenizer.run_id)) for _ in range(2)]
    for name in ("model.safetensors", "metrics.jsonl", "eval/samples.jsonl"):
        first, second = ((folder / name).read_bytes() for folder in folders)
        assert first == second, name


def test_a_later_run_is_compared_with_the_one_before_on_the_same_corpus(workshop: Workshop) -> None:
    tokenizer = workshop.tokenizer()
    first = workshop.train(TINY_GPT2, tokenizer_id=tokenizer.run_id, max_steps=60)
    second = workshop.train(TINY_GPT2, tokenizer_id=tokenizer.run_id, max_steps=1, eval_every_steps=1)
    comparison = json.loads((workshop.folder(second) / "eval" / "metrics.json").read_text())["comparison"]
    assert comparison["run_id"] == first.run_id
    assert comparison["same_data"] is True
    assert comparison["regression"] is True, comparison


def test_a_run_without_predecessors_is_compared_with_nothing(workshop: Workshop) -> None:
    workshop.put("other.txt", TEXT)
    tokenizer = workshop.tokenizer()
    workshop.train(TINY_GPT2, tokenizer_id=tokenizer.run_id, corpus_path="other.txt")
    record = workshop.train(TINY_GPT2, tokenizer_id=tokenizer.run_id)
    evaluation = record.result["evaluation"]
    assert isinstance(evaluation, dict)
    assert evaluation["comparison"] is None


def test_a_named_run_to_compare_with_must_have_an_evaluation(workshop: Workshop) -> None:
    tokenizer = workshop.tokenizer()
    failed = workshop.train(TINY_GPT2, tokenizer_id=tokenizer.run_id, corpus_path="missing.txt")
    record = workshop.train(TINY_GPT2, tokenizer_id=tokenizer.run_id, compare_to_run_id=failed.run_id)
    assert _code(record) is ErrorCode.CONFLICT
    record = workshop.train(TINY_GPT2, tokenizer_id=tokenizer.run_id, compare_to_run_id=tokenizer.run_id)
    assert _code(record) is ErrorCode.CONFLICT


def test_a_corpus_too_small_to_split_fails_while_validating(workshop: Workshop) -> None:
    workshop.put("one.txt", "a single line")
    record = workshop.tokenizer(corpus_path="one.txt")
    assert _code(record) is ErrorCode.DATA_TOO_SMALL
    assert _fields(record) == ["/corpus_path"]
    assert record.reason is Reason.INVALID_DATA


def test_a_cancelled_training_stops_and_keeps_its_account(workshop: Workshop) -> None:
    tokenizer = workshop.tokenizer()
    run_id = workshop.submit(
        TINY_GPT2, tokenizer_id=tokenizer.run_id, max_steps=1_000_000, eval_every_steps=1_000_000
    )

    def cancel_in_training() -> None:
        while workshop.container.runs.get(run_id).progress.step < 5:
            time.sleep(0.01)
        workshop.container.training.cancel(run_id)

    canceller = threading.Thread(target=cancel_in_training)
    canceller.start()
    workshop.work("training")
    canceller.join()
    record = workshop.container.runs.get(run_id)
    assert record.status is RunStatus.CANCELLED
    assert record.reason is Reason.USER_CANCELLED
    assert read_manifest(workshop.folder(record)).status == "cancelled"
    assert verify(workshop.folder(record)) == []


def test_a_training_that_lost_its_lease_leaves_the_record_to_its_successor(workshop: Workshop) -> None:
    tokenizer = workshop.tokenizer()
    run_id = workshop.submit(
        TINY_GPT2, tokenizer_id=tokenizer.run_id, max_steps=1_000_000, eval_every_steps=1_000_000
    )
    runs = workshop.container.runs

    def take_away() -> None:
        while runs.get(run_id).progress.step < 5:
            time.sleep(0.01)
        record = runs.get(run_id)
        lease = Lease(run_id=run_id, epoch=record.epoch, owner="worker-1", lease_seconds=15)
        runs.release(lease, HandBack(message="taken away"))

    thief = threading.Thread(target=take_away)
    thief.start()
    workshop.work("training")
    thief.join()
    assert runs.get(run_id).status is RunStatus.QUEUED
    assert read_manifest(workshop.container.artifacts.folder("models", run_id)).status == "running"


def test_a_retried_training_goes_on_from_its_checkpoint_and_ends_the_same(workshop: Workshop) -> None:
    tokenizer = workshop.tokenizer()
    straight = workshop.train(
        TINY_GPT2, tokenizer_id=tokenizer.run_id, checkpoint={"every_steps": 2, "keep_last": 9}
    )
    run_id = workshop.submit(
        TINY_GPT2, tokenizer_id=tokenizer.run_id, checkpoint={"every_steps": 2, "keep_last": 9}
    )
    folder = workshop.container.artifacts.create("models", run_id)
    origin = workshop.folder(straight)
    interrupted = sorted((origin / "checkpoints").iterdir())[0]
    _copy_tree(interrupted, folder / "checkpoints" / interrupted.name)
    (folder / "metrics.jsonl").write_bytes((origin / "metrics.jsonl").read_bytes())
    workshop.work("training")
    resumed = workshop.container.runs.get(run_id)
    assert resumed.status is RunStatus.COMPLETED
    assert "trainer.job.resumed.v1" in workshop.event_types(resumed)
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (folder / name).read_bytes() == (origin / name).read_bytes(), name


def test_a_second_attempt_keeps_what_auto_became_in_the_first(workshop: Workshop) -> None:
    tokenizer = workshop.tokenizer()
    first = workshop.train(TINY_GPT2, tokenizer_id=tokenizer.run_id)
    kept = read_recipe(workshop.folder(first)).model_copy(update={"weight_decay": 0.125})
    run_id = workshop.submit(TINY_GPT2, tokenizer_id=tokenizer.run_id)
    folder = workshop.container.artifacts.create("models", run_id)
    (folder / "recipe.json").write_text(kept.model_dump_json())
    workshop.work("training")
    assert read_recipe(folder) == kept
    assert read_manifest(folder).resolved["weight_decay"] == 0.125


def test_a_device_that_is_missing_here_is_chosen_anew(workshop: Workshop) -> None:
    tokenizer = workshop.tokenizer()
    first = workshop.train(TINY_GPT2, tokenizer_id=tokenizer.run_id)
    elsewhere = read_recipe(workshop.folder(first)).model_copy(update={"device": "cuda"})
    run_id = workshop.submit(TINY_GPT2, tokenizer_id=tokenizer.run_id)
    folder = workshop.container.artifacts.create("models", run_id)
    (folder / "recipe.json").write_text(elsewhere.model_dump_json())
    workshop.work("training")
    assert read_recipe(folder).device == "cpu"


def test_a_damaged_checkpoint_is_passed_over_and_told(workshop: Workshop) -> None:
    tokenizer = workshop.tokenizer()
    run_id = workshop.submit(TINY_GPT2, tokenizer_id=tokenizer.run_id)
    broken = workshop.container.artifacts.create("models", run_id) / "checkpoints" / "step-0000000003"
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_text("{}")
    workshop.work("training")
    record = workshop.container.runs.get(run_id)
    assert record.status is RunStatus.COMPLETED
    assert "trainer.job.checkpoint_rejected.v1" in workshop.event_types(record)


def test_with_an_unknown_tokenizer_no_run_is_made(workshop: Workshop) -> None:
    with pytest.raises(AppError) as refused:
        workshop.submit(TINY_GPT2, tokenizer_id=new_ulid())
    assert refused.value.code is ErrorCode.TOKENIZER_NOT_FOUND


def test_a_tokenizer_that_is_lost_before_the_run_begins_fails_it(workshop: Workshop) -> None:
    tokenizer = workshop.tokenizer()
    run_id = workshop.submit(TINY_GPT2, tokenizer_id=tokenizer.run_id)
    assert workshop.container.runs.forget(tokenizer.run_id)
    workshop.work("training")
    assert _code(workshop.container.runs.get(run_id)) is ErrorCode.TOKENIZER_NOT_FOUND


def test_a_run_is_no_tokenizer(workshop: Workshop) -> None:
    failed = workshop.tokenizer(corpus_path="missing.txt")
    assert _code(workshop.train(TINY_GPT2, tokenizer_id=failed.run_id)) is ErrorCode.TOKENIZER_NOT_FOUND


def test_a_tokenizer_of_the_wrong_kind_fails_the_run(workshop: Workshop) -> None:
    tokenizer = workshop.tokenizer(method="bpe", vocab_size=270)
    record = workshop.train(TINY_LSTM, tokenizer_id=tokenizer.run_id)
    assert _code(record) is ErrorCode.TOKENIZER_MISMATCH


def test_a_model_too_large_for_the_machine_is_refused_before_anything_is_allocated(
    workshop: Workshop,
) -> None:
    tokenizer = workshop.tokenizer()
    record = workshop.train(
        {**TINY_GPT2, "n_layer": 500, "n_embd": 65_536, "n_head": 512}, tokenizer_id=tokenizer.run_id
    )
    assert _code(record) is ErrorCode.MODEL_TOO_LARGE


def test_a_vocabulary_larger_than_the_text_gives_is_named_by_its_field(workshop: Workshop) -> None:
    record = workshop.tokenizer(method="bpe", vocab_size=50_000)
    assert (_code(record), _fields(record)) == (ErrorCode.VOCAB_TOO_LARGE, ["/vocab_size"])


def test_thread_settings_limit_what_a_job_may_use(workshop: Workshop) -> None:
    machine = Machine(cpu_count=8, memory_bytes=1, native_bf16=False, cuda_memory_bytes=0)
    unlimited: dict[str, object] = {"omp_num_threads": None, "mkl_num_threads": None}
    settings = workshop.container.settings.model_copy(update=unlimited)
    assert with_thread_limit(machine, settings) == machine
    limited = settings.model_copy(update={"omp_num_threads": 3, "mkl_num_threads": 2})
    assert with_thread_limit(machine, limited).cpu_count == 2


@pytest.mark.parametrize(
    ("kind", "queue"),
    [(RunKind.TRAIN, "training"), (RunKind.TOKENIZER, "short"), (RunKind.EVALUATE, "short")],
)
def test_a_record_that_describes_no_job_fails_and_leaves_no_manifest(
    workshop: Workshop, kind: RunKind, queue: str
) -> None:
    run_id = new_ulid()
    run = new_run(run_id=run_id, kind=kind, queue=queue, family="gone", spec={}, user_id=None)
    workshop.container.runs.submit(run, idempotency=None)
    workshop.work(queue)
    record = workshop.container.runs.get(run_id)
    assert record.status is RunStatus.FAILED
    assert workshop.event_types(record)[-1] == "trainer.job.failed.v1"
    for folder in ("models", "tokenizers"):
        root = Path(workshop.container.artifacts.cache_folder()).parent / folder / run_id
        # Where the store was away for the account, maintenance wrote one.
        assert not (root / "manifest.json").exists() or read_manifest(root).status == "failed"


def test_a_store_that_is_away_is_not_taken_for_a_missing_tokenizer(workshop: Workshop) -> None:
    class Away(MemoryRunStore):
        def get(self, run_id: str) -> RunRecord:
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")

    store = Away(queue=MemoryJobQueue(), clock=time.time, announce=lambda _: None)
    parts = replace(workshop.container.worker_parts("worker-1"), runs=store)
    app = parts.settings.app.model_copy(update={"lease_seconds": 0.1})
    parts = replace(parts, settings=parts.settings.model_copy(update={"app": app}))
    with pytest.raises(AppError) as caught:
        load_tokenizer(parts, new_ulid())
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE


def _copy_tree(origin: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for path in origin.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
