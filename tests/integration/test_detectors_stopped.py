"""Detectors that do not come to their end: refused data and demands, cancels within and between the stages, a defect."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from torch import Tensor, nn

from model_trainer.core.contracts.data_report import DataReport
from model_trainer.core.contracts.detector import OWN_VOCABULARY
from model_trainer.core.contracts.run import RunKind, RunQuery, RunStatus
from model_trainer.core.errors import ErrorCode
from model_trainer.core.failpoints import Failpoint, Reached
from model_trainer.models.recipe_file import read_recipe
from model_trainer.worker.manifests import read_manifest, verify
from tests.integration.interruptions import AtForward, raise_defect
from tests.integration.workshop import TINY_DETECTOR, Workshop
from tests.unit.models.text_detector.hubs import encoder_folder, tokenizer_folder

SHORTCUT = "".join(
    json.dumps({"text": f"word{n} and some more" + " words" * (10 * (n % 2)), "is_ai": n % 2}) + "\n"
    for n in range(80)
)
UNKNOWN_RUN = "01JCB0A8N7Q4T2V5W6X9Y0Z1AB"


@pytest.fixture
def workshop() -> Workshop:
    return Workshop()


def refusal(workshop: Workshop, **fields: object) -> tuple[ErrorCode, list[str]]:
    record = workshop.train(TINY_DETECTOR, **fields)
    assert record.problem is not None, record.status
    return record.problem.code, [fault.pointer for fault in record.problem.faults]


def test_an_audit_that_blocks_leaves_its_report_and_trains_nothing(workshop: Workshop) -> None:
    workshop.put("shortcut.jsonl", SHORTCUT)
    code, pointers = refusal(workshop, data_paths=["shortcut.jsonl"], audit="block")
    assert (code, pointers) == (ErrorCode.CONFIG_INVALID, ["/audit"])
    record = workshop.container.runs.list_runs(RunQuery(kind=RunKind.TRAIN, limit=1)).records[0]
    folder = workshop.folder(record)
    report = DataReport.model_validate_json((folder / "data_report.json").read_bytes())
    assert report.audit_blocks
    assert "data_report.json" in [file.path for file in read_manifest(folder).files]
    assert not (folder / "model").exists()


@pytest.mark.parametrize(
    ("fields", "code", "pointer"),
    [
        ({"data_paths": ["labelled.jsonl", "nowhere.csv"]}, ErrorCode.DATA_NOT_FOUND, "/data_paths/1"),
        ({"columns": {"label_col": "domain"}}, ErrorCode.CONFIG_INVALID, "/columns/label_col"),
        ({"compare_to_run_id": UNKNOWN_RUN}, ErrorCode.RUN_NOT_FOUND, "/compare_to_run_id"),
        ({"attention_heads": 3}, ErrorCode.CONFIG_INVALID, "/attention_heads"),
        ({"min_params": 10**9}, ErrorCode.CONFIG_INVALID, "/min_params"),
        ({"vocab_size": 5000}, ErrorCode.VOCAB_TOO_LARGE, "/vocab_size"),
        ({"window_stride": 15}, ErrorCode.CONFIG_INVALID, "/window_stride"),
        ({"init_from": {"run_id": UNKNOWN_RUN}}, ErrorCode.ARTIFACT_NOT_FOUND, "/init_from/run_id"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_trained_is_refused_by_its_field(
    workshop: Workshop, fields: dict[str, object], code: ErrorCode, pointer: str
) -> None:
    assert refusal(workshop, **fields) == (code, [pointer])


def test_a_tokenizer_that_is_lost_before_the_run_begins_is_named_by_its_field(workshop: Workshop) -> None:
    tokenizer = workshop.tokenizer()
    run_id = workshop.submit(TINY_DETECTOR, tokenizer_id=tokenizer.run_id)
    assert workshop.container.runs.forget(tokenizer.run_id)
    workshop.work("training")
    problem = workshop.container.runs.get(run_id).problem
    assert problem is not None
    assert problem.code is ErrorCode.TOKENIZER_NOT_FOUND
    assert [fault.pointer for fault in problem.faults] == ["/tokenizer_id"]


def test_a_demand_for_parameters_counts_the_tokenizer_that_an_encoder_brings(
    workshop: Workshop, tmp_path: Path
) -> None:
    encoder = tokenizer_folder(encoder_folder(tmp_path / "encoder"))
    tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
    tokenizer.add_tokens([f"rare{number}" for number in range(2 * OWN_VOCABULARY)])
    tokenizer.save(str(encoder / "tokenizer.json"))
    entries = tokenizer.get_vocab_size()
    asked: dict[str, object] = {"model_name": str(encoder), "max_steps": 1, "finish": False}
    enough = entries * 16  # hidden_size: what its embeddings have, and no tokenizer of ours would
    run = workshop.train(TINY_DETECTOR, **asked, min_params=enough)
    assert run.status is RunStatus.COMPLETED, run.problem
    assert read_recipe(workshop.folder(run)).vocab_size == entries
    assert refusal(workshop, **asked, min_params=2 * enough) == (
        ErrorCode.CONFIG_INVALID,
        ["/min_params"],
    )


class Asking:
    """Asks for something to be done to a run, once, and waits until its worker has heard."""

    def __init__(self, workshop: Workshop, run_id: str, ask: Callable[[str], object]) -> None:
        self._workshop = workshop
        self._run_id = run_id
        self._ask: Callable[[str], object] | None = ask

    def __call__(self) -> None:
        if self._ask is not None:
            ask, self._ask = self._ask, None
            ask(self._run_id)
            self._workshop.wait_until_heeded(self._run_id)

    def at(self, wanted: Failpoint) -> Reached:
        def reached(point: Failpoint) -> None:
            if point is wanted:
                self()

        return reached


def test_a_cancel_before_data_are_read_is_heard(workshop: Workshop) -> None:
    run_id = workshop.submit(TINY_DETECTOR)

    def cancel(point: Failpoint) -> None:
        if point is Failpoint.CLAIM_FOLDER_MADE:
            workshop.container.training.cancel(run_id)

    workshop.work("training", reached=cancel)
    assert workshop.record(run_id).status is RunStatus.CANCELLED
    assert [path.name for path in workshop.container.artifacts.cache_folder().iterdir()] == []


@pytest.mark.parametrize("point", [Failpoint.FINISH_WEIGHTS_SAVED, Failpoint.FINISH_EVALUATED])
def test_a_cancel_is_heard_between_the_stages(workshop: Workshop, point: Failpoint) -> None:
    run_id = workshop.submit(TINY_DETECTOR)
    asking = Asking(workshop, run_id, workshop.container.training.cancel)
    workshop.work("training", reached=asking.at(point))
    record = workshop.record(run_id)
    assert record.status is RunStatus.CANCELLED
    assert not (workshop.folder(record) / "runtime_bundle").exists()
    assert verify(workshop.folder(record)) == []


def test_a_cancel_is_heard_while_texts_are_judged(workshop: Workshop) -> None:
    run_id = workshop.submit(TINY_DETECTOR)
    asking = Asking(workshop, run_id, workshop.container.training.cancel)
    has_saved: list[Failpoint] = []

    def in_judging(model: nn.Module, _: Tensor) -> None:
        if not model.training and Failpoint.FINISH_WEIGHTS_SAVED in has_saved:
            asking()

    workshop.work("training", before_forward=in_judging, reached=has_saved.append)
    record = workshop.record(run_id)
    assert record.status is RunStatus.CANCELLED
    assert not (workshop.folder(record) / "calibration.json").exists()
    assert verify(workshop.folder(record)) == []


def test_a_branch_off_a_training_that_has_not_ended_finds_the_tokenizer_that_was_made_there(
    workshop: Workshop,
) -> None:
    run_id = workshop.submit(TINY_DETECTOR, checkpoint={"every_steps": 2, "keep_last": 9})
    workshop.work("training", before_forward=AtForward(5, raise_defect))
    parent = workshop.folder(workshop.record(run_id))
    child = workshop.train(TINY_DETECTOR, init_from={"run_id": run_id, "step": 2}, max_steps=1, finish=False)
    assert child.status is RunStatus.COMPLETED, child.problem
    tokenizers = [folder / "model" / "tokenizer.json" for folder in (parent, workshop.folder(child))]
    assert tokenizers[0].read_bytes() == tokenizers[1].read_bytes()
    tokenizers[0].unlink()
    assert refusal(workshop, init_from={"run_id": run_id, "step": 2}) == (
        ErrorCode.ARTIFACT_CORRUPT,
        ["/init_from/run_id"],
    )
