"""A detector's whole life over the fake store: trained, measured, compared, calibrated and exported again, or stopped."""

import fcntl
import json
import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model_trainer.core.contracts.calibration import Calibration
from model_trainer.core.contracts.data_report import DataReport
from model_trainer.core.contracts.detector import CalibrateSpec, TrainingConfig
from model_trainer.core.contracts.detector_evaluation import DetectorEvaluation
from model_trainer.core.contracts.model_card import ModelCard
from model_trainer.core.contracts.run import RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.failpoints import Failpoint
from model_trainer.engine.data.logits import read_logits
from model_trainer.models.recipe_file import read_recipe
from model_trainer.serving.bundle import open_bundle
from model_trainer.worker.manifests import read_manifest, verify
from tests.integration.interruptions import AtForward
from tests.integration.workshop import FILES, LABELLED, TINY_DETECTOR, Workshop

OUTSIDE = LABELLED.replace(" a ", " one ")


@dataclass
class Bench:
    """A workshop and two completed detectors of the same data."""

    workshop: Workshop
    first: RunRecord
    second: RunRecord

    @property
    def folder(self) -> Path:
        return self.workshop.folder(self.second)


@pytest.fixture(scope="module")
def bench() -> Bench:
    workshop = Workshop({**FILES, "outside.jsonl": OUTSIDE})
    first, second = (workshop.train(TINY_DETECTOR, max_steps=steps) for steps in (2, 8))
    assert (first.status, second.status) == (RunStatus.COMPLETED, RunStatus.COMPLETED), second.problem
    return Bench(workshop=workshop, first=first, second=second)


@pytest.fixture
def workshop() -> Workshop:
    return Workshop()


def evaluation_in(folder: Path) -> DetectorEvaluation:
    return DetectorEvaluation.model_validate_json((folder / "eval_metrics.json").read_bytes())


def calibration_in(folder: Path) -> Calibration:
    return Calibration.model_validate_json((folder / "calibration.json").read_bytes())


def test_a_completed_detector_leaves_every_file_and_accounts_for_it(bench: Bench) -> None:
    names = {path.relative_to(bench.folder).as_posix() for path in bench.folder.rglob("*") if path.is_file()}
    assert {
        "data_report.json",
        "training_config.json",
        "model/model.safetensors",
        "model/tokenizer.json",
        "val_logits.npz",
        "test_logits.npz",
        "calibration.json",
        "thresholds.json",
        "eval_metrics.json",
        "plots/roc.png",
        "model.onnx",
        "export_report.json",
        "runtime_bundle/manifest.json",
        "model_card.json",
        "README.md",
    } <= names
    assert verify(bench.folder) == []
    manifest = read_manifest(bench.folder)
    assert manifest.resolved == json.loads((bench.folder / "recipe.json").read_text())
    assert {"validate", "tokenize", "train", "judge", "calibrate", "evaluate", "export"} <= {
        *manifest.timings_seconds
    }
    assert manifest.metrics == bench.second.result


def test_the_network_was_shown_the_training_texts(workshop: Workshop) -> None:
    encoders = ("architecture", "layers", "hidden_size", "attention_heads", "ffn_size")
    lexical = {name: value for name, value in TINY_DETECTOR.items() if name not in encoders}
    run = workshop.train(lexical, parts="lexical", max_steps=1, finish=False)
    saved = load_file(workshop.folder(run) / "model/model.safetensors")
    assert bool((saved["lexical.rarity_K"] == 0).any()), "n-grams that no two texts have"
    assert bool(saved["lexical.traits_VA"].any()), "what tokens look like"


def test_a_training_that_is_not_to_finish_ends_with_its_logits(bench: Bench) -> None:
    record = bench.workshop.train(TINY_DETECTOR, max_steps=8, finish=False)
    folder = bench.workshop.folder(record)
    assert record.status is RunStatus.COMPLETED
    assert "wait for a calibration" in record.message
    for name in ("model/model.safetensors", "val_logits.npz", "test_logits.npz"):
        assert (folder / name).read_bytes() == (bench.folder / name).read_bytes(), name
    later = ("calibration.json", "thresholds.json", "eval_metrics.json", "plots", "model.onnx")
    for name in (*later, "runtime_bundle", "model_card.json", "README.md"):
        assert not (folder / name).exists(), name
    assert verify(folder) == []


def test_its_parts_tell_of_the_same_data_and_the_same_model(bench: Bench) -> None:
    config = TrainingConfig.model_validate_json((bench.folder / "training_config.json").read_bytes())
    report = DataReport.model_validate_json((bench.folder / "data_report.json").read_bytes())
    card = ModelCard.model_validate_json((bench.folder / "model_card.json").read_bytes())
    evaluation = evaluation_in(bench.folder)
    assert config.run_id == card.run_id == evaluation.run_id == bench.second.run_id
    assert config.data_sha256 == report.data_sha256 == evaluation.data_sha256
    assert config.tokenizer_sha256 == read_manifest(bench.folder).tokenizer_sha256
    assert config.spec == bench.second.spec
    assert (card.data, card.evaluation) == (report, evaluation)
    assert card.export is not None
    assert len(read_logits(bench.folder / "val_logits.npz").logits) == report.splits["validation"].num_rows
    assert evaluation.split == "test"
    assert evaluation.num_human + evaluation.num_ai == report.splits["test"].num_rows
    assert 0 < config.num_embedding_parameters < config.num_parameters


def test_the_weight_of_ai_texts_evens_the_classes_out_unless_it_is_given(bench: Bench) -> None:
    report = DataReport.model_validate_json((bench.folder / "data_report.json").read_bytes())
    train = report.splits["train"]
    weight = json.loads((bench.folder / "training_config.json").read_text())["positive_weight"]
    assert weight == pytest.approx(train.num_human / train.num_ai)


def test_robustness_is_measured_on_what_is_evaluated_alone(bench: Bench) -> None:
    assert len(evaluation_in(bench.folder).robustness) > 0
    assert len(read_logits(bench.folder / "test_logits.npz").attacked_rows) == 10
    assert len(read_logits(bench.folder / "val_logits.npz").attacked_rows) == 0


def test_the_bundle_holds_the_calibration_and_the_card_says_so(bench: Bench) -> None:
    bundle = open_bundle(bench.folder / "runtime_bundle")
    assert bundle.manifest.run_id == bench.second.run_id
    assert bundle.calibration == calibration_in(bench.folder)


def test_a_detector_is_compared_with_the_one_before_it_on_the_same_texts(bench: Bench) -> None:
    assert evaluation_in(bench.workshop.folder(bench.first)).comparison is None
    comparison = evaluation_in(bench.folder).comparison
    assert comparison is not None
    assert (comparison.run_id, comparison.same_data) == (bench.first.run_id, True)
    assert comparison.interval is not None
    told = [
        row.event
        for row in bench.workshop.container.runs.events_after(bench.second.run_id, after=0, limit=1000)
    ]
    evaluated = [event for event in told if event.type == "trainer.job.evaluated.v1"]
    assert [event.model_dump()["regression"] for event in evaluated] == [comparison.regression]


def test_the_phases_come_in_the_order_of_the_stages(bench: Bench) -> None:
    told = [
        row.event
        for row in bench.workshop.container.runs.events_after(bench.second.run_id, after=0, limit=1000)
    ]
    phases: list[str] = []
    for event in told:
        phase = str(event.model_dump().get("phase", ""))
        if phase and phases[-1:] != [phase]:
            phases.append(phase)
    assert phases == [
        "validating",
        "tokenizing",
        "training",
        "evaluating",
        "calibrating",
        "evaluating",
        "exporting",
        "finalizing",
    ]


def test_nothing_stays_in_the_cache(bench: Bench) -> None:
    cache = bench.workshop.container.artifacts.cache_folder()
    assert [path.name for path in cache.iterdir()] == []


def test_an_evaluation_on_its_own_split_finds_the_same_figures(bench: Bench) -> None:
    record = bench.workshop.evaluate(
        bench.second, split="test", report={"bootstrap_samples": 0, "robustness": False}
    )
    assert record.status is RunStatus.COMPLETED, record.problem
    folder = bench.folder / "eval" / record.run_id
    again, before = evaluation_in(folder), evaluation_in(bench.folder)
    assert again.ranking.roc_auc.value == before.ranking.roc_auc.value
    assert (again.evaluation_id, again.text_sha256) == (record.run_id, before.text_sha256)
    assert again.robustness == ()
    assert (folder / "plots" / "roc.png").exists()
    assert np.array_equal(
        read_logits(folder / "logits.npz").logits, read_logits(bench.folder / "test_logits.npz").logits
    )
    assert verify(bench.folder) == []
    assert record.run_id in [one.job_id for one in read_manifest(bench.folder).revisions]


def test_two_detectors_measured_on_outside_texts_are_compared_there(bench: Bench) -> None:
    asked = {"data_paths": ["outside.jsonl"], "report": {"bootstrap_samples": 20, "robustness": False}}
    theirs = bench.workshop.evaluate(bench.first, **asked)
    assert theirs.status is RunStatus.COMPLETED, theirs.problem
    ours = bench.workshop.evaluate(bench.second, **asked)
    found = evaluation_in(bench.folder / "eval" / ours.run_id)
    assert (found.split, found.num_human + found.num_ai) == ("external", 300)
    assert not any("trained on these very files" in warning for warning in found.warnings)
    assert found.comparison is not None
    assert (found.comparison.run_id, found.comparison.same_data) == (bench.first.run_id, True)
    assert found.comparison.theirs == pytest.approx(
        evaluation_in(bench.workshop.folder(bench.first) / "eval" / theirs.run_id).ranking.roc_auc.value
    )


def test_outside_texts_that_are_the_trainings_own_are_told(bench: Bench) -> None:
    asked = {"data_paths": ["labelled.jsonl"], "report": {"bootstrap_samples": 0, "robustness": False}}
    record = bench.workshop.evaluate(bench.first, **asked)
    found = evaluation_in(bench.workshop.folder(bench.first) / "eval" / record.run_id)
    assert "trained on these very files: labelled.jsonl" in found.warnings[-1]


def test_a_split_of_data_that_have_changed_is_refused_and_a_missing_one_too(workshop: Workshop) -> None:
    run = workshop.train(TINY_DETECTOR, test_fraction=0.0, max_steps=1, finish=False)
    assert workshop.calibrate(run).status is RunStatus.COMPLETED
    assert evaluation_in(workshop.folder(run)).split == "validation"
    assert not (workshop.folder(run) / "test_logits.npz").exists()
    missing = workshop.evaluate(run, split="test").problem
    assert missing is not None
    assert (missing.code, missing.faults[0].pointer) == (ErrorCode.DATA_EMPTY, "/split")
    workshop.put("labelled.jsonl", OUTSIDE)
    changed = workshop.evaluate(run, split="validation").problem
    assert changed is not None
    assert (changed.code, changed.faults[0].pointer) == (ErrorCode.DATA_CHANGED, "/split")
    assert workshop.export(run).status is RunStatus.COMPLETED, "fp32 needs no text"
    stale = workshop.export(run, quantize=True).problem
    assert stale is not None
    assert (stale.code, stale.faults[0].pointer) == (ErrorCode.DATA_CHANGED, "/quantize")
    assert [path.name for path in workshop.container.artifacts.cache_folder().iterdir()] == []


def test_a_new_calibration_takes_the_place_of_the_old_one_everywhere(bench: Bench) -> None:
    before = calibration_in(bench.folder)
    record = bench.workshop.calibrate(bench.second, fit_bias=True, decision="youden")
    assert record.status is RunStatus.COMPLETED, record.problem
    own = bench.folder / "calibrations" / record.run_id
    calibration = calibration_in(bench.folder)
    assert calibration == calibration_in(own)
    assert calibration.asked.fit_bias
    assert calibration != before
    assert open_bundle(bench.folder / "runtime_bundle").calibration == calibration
    card = ModelCard.model_validate_json((bench.folder / "model_card.json").read_bytes())
    assert card.calibration == calibration
    evaluation = evaluation_in(bench.folder)
    assert evaluation == evaluation_in(own) == card.evaluation
    assert evaluation.evaluation_id == record.run_id
    assert evaluation.comparison is not None
    assert (bench.folder / "plots" / "scores.png").read_bytes() == (own / "plots" / "scores.png").read_bytes()
    assert verify(bench.folder) == []
    manifest = read_manifest(bench.folder)
    assert [one.job for one in manifest.revisions if one.job_id == record.run_id] == ["calibrate_model"]
    listed = {file.path for one in manifest.revisions if one.job_id == record.run_id for file in one.files}
    assert f"calibrations/{record.run_id}/calibration.json" in listed


def test_a_calibration_without_a_bundle_makes_none_and_minds_no_lost_comparison(workshop: Workshop) -> None:
    first = workshop.train(TINY_DETECTOR, max_steps=1, finish=False)
    second = workshop.train(TINY_DETECTOR, max_steps=1, finish=False, compare_to_run_id=first.run_id)
    folder = workshop.folder(second)
    for name in ("val_logits.npz", "test_logits.npz"):
        (workshop.folder(first) / name).unlink()
    record = workshop.calibrate(second)
    assert record.status is RunStatus.COMPLETED, record.problem
    assert not (folder / "runtime_bundle").exists()
    assert evaluation_in(folder).comparison is None


def test_an_export_on_request_tries_int8_and_says_what_came_of_it(bench: Bench) -> None:
    record = bench.workshop.export(bench.second, quantize=True, max_flips=1.0, max_auroc_loss=1.0)
    assert record.status is RunStatus.COMPLETED, record.problem
    assert record.result["bundled"] == "int8"
    assert {"int8_flips", "int8_auroc_loss", "onnx_difference"} <= record.metrics.keys()
    assert open_bundle(bench.folder / "runtime_bundle").manifest.quantized
    own = bench.folder / "exports" / record.run_id / "export_report.json"
    assert own.read_bytes() == (bench.folder / "export_report.json").read_bytes()
    assert verify(bench.folder) == []
    plain = bench.workshop.export(bench.second)
    assert plain.result["quantization"] is None
    assert not open_bundle(bench.folder / "runtime_bundle").manifest.quantized


def test_only_detectors_are_calibrated_and_exported(bench: Bench) -> None:
    workshop = bench.workshop
    tokenizer = workshop.tokenizer()
    with pytest.raises(AppError, match="only a detector can be calibrated"):
        workshop.container.calibrations.start(
            CalibrateSpec(), parent=tokenizer, request_id="r", idempotency=None
        )


def test_a_job_waits_for_another_one_on_the_same_model_and_a_cancelled_one_does_not(bench: Bench) -> None:
    workshop = bench.workshop
    descriptor = os.open(bench.folder / "model", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    started = workshop.container.calibrations.start(
        CalibrateSpec(), parent=bench.second, request_id="r", idempotency=None
    ).record
    worker = threading.Thread(target=workshop.work, args=("short",))
    worker.start()
    try:
        while "Waiting" not in workshop.record(started.run_id).message:
            workshop.wait_until_heeded(started.run_id)
        workshop.container.training.cancel(started.run_id)
    finally:
        worker.join()
        os.close(descriptor)
    assert workshop.record(started.run_id).status is RunStatus.CANCELLED
    assert verify(bench.folder) == []


def test_a_worker_that_must_go_between_the_stages_leaves_a_run_that_ends_the_same(bench: Bench) -> None:
    workshop = bench.workshop
    run_id = workshop.submit(TINY_DETECTOR, max_steps=8)

    def leave(point: Failpoint) -> None:
        if point is Failpoint.FINISH_EVALUATED:
            os.kill(os.getpid(), signal.SIGTERM)

    workshop.work("training", reached=leave)
    assert workshop.record(run_id).status is RunStatus.QUEUED
    assert verify(workshop.folder(workshop.record(run_id))) == []
    taken: list[int] = []
    workshop.work("training", before_forward=AtForward(1, lambda _: taken.append(1)))
    record = workshop.record(run_id)
    assert record.status is RunStatus.COMPLETED, record.problem
    assert taken == [], "training had ended and was not repeated"
    for name in ("val_logits.npz", "test_logits.npz", "model.onnx", "model/tokenizer.json"):
        assert (workshop.folder(record) / name).read_bytes() == (bench.folder / name).read_bytes(), name


def test_a_child_reads_with_its_parents_tokenizer_and_begins_with_its_weights(bench: Bench) -> None:
    base = {
        name: value
        for name, value in TINY_DETECTOR.items()
        if name not in ("layers", "hidden_size", "attention_heads", "ffn_size", "max_seq_len")
    }
    frozen = {"name": "sgd", "learning_rate": 1e-30, "weight_decay": 0.0}
    asked = {
        "init_from": {"run_id": bench.second.run_id},
        "optimizer": frozen,
        "max_steps": 1,
        "finish": False,
    }
    run_id = bench.workshop.submit(base, **asked)
    while not (child := bench.workshop.record(run_id)).status.is_terminal:
        bench.workshop.work("training")  # an order of the run that was handed over may come twice
    assert child.status is RunStatus.COMPLETED, child.problem
    folder = bench.workshop.folder(child)
    for name in ("model/tokenizer.json", "model/model.safetensors", "val_logits.npz"):
        assert (folder / name).read_bytes() == (bench.folder / name).read_bytes(), name


def test_a_tokenizer_of_ours_and_a_weight_of_ones_own_are_taken(workshop: Workshop) -> None:
    tokenizer = workshop.tokenizer()
    run = workshop.train(
        TINY_DETECTOR,
        tokenizer_id=tokenizer.run_id,
        positive_weight=2.5,
        audit="off",
        max_steps=1,
        finish=False,
    )
    assert run.status is RunStatus.COMPLETED, run.problem
    folder = workshop.folder(run)
    theirs = workshop.container.artifacts.folder("tokenizers", tokenizer.run_id) / "tokenizer.json"
    assert (folder / "model" / "tokenizer.json").read_bytes() == theirs.read_bytes()
    config = TrainingConfig.model_validate_json((folder / "training_config.json").read_bytes())
    assert config.positive_weight == 2.5
    assert read_manifest(folder).tokenizer_id == tokenizer.run_id
    info = tokenizer.result["info"]
    assert isinstance(info, dict)
    assert read_recipe(folder).vocab_size == info["vocab_size"]


def test_a_training_says_anew_whether_tf32_is_allowed(workshop: Workshop) -> None:
    torch.set_float32_matmul_precision("high")
    workshop.train(TINY_DETECTOR, max_steps=1, finish=False)
    assert torch.get_float32_matmul_precision() == "highest"
