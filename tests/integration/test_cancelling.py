"""A wish to cancel is heard where a job spends its time, not only between two steps."""

import threading
import time
from collections.abc import Callable

from model_trainer.core.contracts.evaluation import EvaluateSpec
from model_trainer.core.contracts.run import Phase, Progress, RunRecord, RunStatus
from tests.integration.conftest import MakeWorkshop
from tests.integration.workshop import TEXT, TINY_GPT2, TINY_LSTM, Workshop, rows


def work_and_cancel(
    workshop: Workshop, run_id: str, *, queue: str, when: Callable[[RunRecord], bool]
) -> RunRecord:
    """Carries out the run, which is asked to end as soon as its record shows what is waited for."""
    runs = workshop.container.runs

    def cancel() -> None:
        while not when(record := runs.get(run_id)) and not record.status.is_terminal:
            time.sleep(0.005)
        runs.request_cancel(run_id)

    canceller = threading.Thread(target=cancel)
    canceller.start()
    workshop.work(queue)
    canceller.join()
    return runs.get(run_id)


def test_a_cancel_ends_a_training_in_the_middle_of_a_validation(make_workshop: MakeWorkshop) -> None:
    workshop = make_workshop({"corpus.txt": TEXT, "long.txt": TEXT * 60})
    run_id = workshop.submit(
        TINY_LSTM,
        corpus_path="long.txt",
        tokenizer_id=workshop.tokenizer().run_id,
        holdout_fraction=0.5,
        eval_every_steps=2,
    )
    record = work_and_cancel(
        workshop, run_id, queue="training", when=lambda record: record.progress.step >= 1
    )
    assert record.status is RunStatus.CANCELLED
    logged = rows(workshop.folder(record) / "metrics.jsonl")
    assert not any("validation_loss" in row for row in logged), "the validation did not come to its end"


def test_a_cancel_ends_an_evaluation_in_the_middle_of_its_samples(make_workshop: MakeWorkshop) -> None:
    workshop = make_workshop()
    run = workshop.train(
        {**TINY_GPT2, "n_layer": 8, "max_steps": 1, "eval_every_steps": 1},
        tokenizer_id=workshop.tokenizer(special_tokens=[]).run_id,
        sample_prompts=["the cat"] * 16,
    )
    assert run.status is RunStatus.COMPLETED, run.problem
    spec = EvaluateSpec(split="validation")
    container = workshop.container
    evaluation = container.evaluations.start(spec, parent=run, request_id="r-1", idempotency=None).record
    record = work_and_cancel(
        workshop,
        evaluation.run_id,
        queue="short",
        when=lambda record: record.phase is Phase.EVALUATING and record.progress == Progress(fraction=1.0),
    )
    assert record.status is RunStatus.CANCELLED
    assert not (workshop.folder(run) / "eval" / record.run_id / "metrics.json").exists()
