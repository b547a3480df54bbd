from pathlib import Path

import numpy as np
import pytest
import torch

from model_trainer.core.contracts.detector import ExportSpec, Label
from model_trainer.core.contracts.export import ExportReport
from model_trainer.core.errors import AppError, AskedToStop, ErrorCode
from model_trainer.engine.export.stage import export_detector, refresh_export
from model_trainer.serving.bundle import open_bundle
from model_trainer.serving.detector import Detector
from model_trainer.serving.session import padded
from model_trainer.serving.windows import stretches, window_of
from tests.unit.engine.export.toys import (
    PLAN,
    WORDS,
    ToyClassifier,
    calibration,
    config,
    toy,
    write_tokenizer,
)

SAMPLE: list[tuple[str, Label]] = [
    ("people hope", 0),
    ("machine delve wrote this a c a c a", 1),
    ("people wrote this", 0),
    ("a c machine delve", 1),
]


def _nothing() -> None:
    """Nobody wants the export to stop."""


def _export(
    artifact: Path, spec: ExportSpec, model: ToyClassifier, sample: list[tuple[str, Label]] = SAMPLE
) -> ExportReport:
    return export_detector(
        model,
        artifact=artifact,
        config=config(),
        vocab_size=len(WORDS),
        calibration=calibration(),
        sample=sample,
        spec=spec,
        threads=1,
        still_wanted=_nothing,
    )


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_export_leaves_the_network_a_bundle_that_judges_like_torch_and_a_report(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    model = toy()

    report = _export(tmp_path, ExportSpec(), model)

    assert _names(tmp_path) == ["export_report.json", "model", "model.onnx", "runtime_bundle"]
    assert ExportReport.model_validate_json((tmp_path / "export_report.json").read_bytes()) == report
    assert report.quantization is None
    assert report.bundled == "fp32"
    listed = {file.path: file.sha256 for file in open_bundle(tmp_path / "runtime_bundle").manifest.files}
    assert listed["model.onnx"] == report.onnx_sha256
    assert (tmp_path / "model.onnx").read_bytes() == (tmp_path / "runtime_bundle" / "model.onnx").read_bytes()
    (judged,) = Detector.load(tmp_path / "runtime_bundle", threads=1).judge([SAMPLE[1][0]])
    ids = [WORDS.index(word) for word in SAMPLE[1][0].split()]
    windows = [window_of(ids[each.start : each.stop], PLAN) for each in stretches(len(ids), PLAN)]
    model.eval()
    with torch.no_grad():
        expected = model(*(torch.from_numpy(each) for each in padded(windows, pad_id=0))).mean()
    assert judged.logit == pytest.approx(float(expected), abs=1e-5)


def test_int8_that_passes_its_gate_is_bundled_and_the_fp32_network_stays_beside_it(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    report = _export(tmp_path, ExportSpec(quantize=True, max_auroc_loss=1.0, max_flips=1.0), _large())
    assert report.bundled == "int8"
    assert report.quantization is not None
    assert report.quantization.num_texts == 4
    bundle = open_bundle(tmp_path / "runtime_bundle")
    assert bundle.manifest.quantized
    assert (bundle.folder / "model.onnx").stat().st_size == report.quantization.int8_bytes
    assert (tmp_path / "model.onnx").stat().st_size == report.quantization.fp32_bytes
    assert _names(tmp_path) == ["export_report.json", "model", "model.onnx", "runtime_bundle"]


def test_another_calibration_sends_int8_back_to_its_gate(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    report = _export(tmp_path, ExportSpec(quantize=True, max_auroc_loss=1.0, max_flips=1.0), _large())
    assert report.bundled == "int8"
    changed: dict[str, object] = {"temperature": 2.0}
    refresh_export(tmp_path, calibration().model_copy(update=changed))
    bundle = open_bundle(tmp_path / "runtime_bundle")
    assert (bundle.manifest.quantized, bundle.calibration.temperature) == (False, 2.0)
    assert (bundle.folder / "model.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()
    told = ExportReport.model_validate_json((tmp_path / "export_report.json").read_bytes())
    assert (told.bundled, told.quantization, told.onnx_sha256) == ("fp32", None, report.onnx_sha256)
    before = (tmp_path / "export_report.json").read_bytes()
    refresh_export(tmp_path, calibration())
    assert (tmp_path / "export_report.json").read_bytes() == before, "there is nothing to take back any more"


def _large() -> ToyClassifier:
    """So that int8 saves space."""
    torch.manual_seed(0)
    return ToyClassifier(vocab_size=len(WORDS), width=256)


def _with_outliers(*, in_every_layer: bool) -> ToyClassifier:
    """Weights so large that eight bits keep nothing of the others, where they never matter: the embedding of a word that no
    text has, and inputs that are always zero."""
    model = toy()
    with torch.no_grad():
        model.embedding.weight[WORDS.index("[UNK]")] = 1e5
        if in_every_layer:
            model.embedding.weight[:, 1] = 0.0
            model.inner.weight[0] = 0.0
            model.inner.weight[:, 1] = 1e5
            model.inner.weight[0, 1] = 0.0
            model.head.weight[0, 0] = 1e5
    return model


def _told_apart(model: ToyClassifier) -> list[tuple[str, Label]]:
    """Two texts, with labels as the model orders them."""
    ids = torch.tensor([[WORDS.index("people")], [WORDS.index("machine")]])
    with torch.no_grad():
        people, machine = model.eval()(ids, torch.ones_like(ids)).tolist()
    return [("people", 1), ("machine", 0)] * 5 if people > machine else [("people", 0), ("machine", 1)] * 5


def test_int8_leaves_out_the_weights_that_cannot_bear_it(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    model = _with_outliers(in_every_layer=False)
    report = _export(
        tmp_path, ExportSpec(quantize=True, max_flips=1.0, max_size=2.0), model, _told_apart(model)
    )
    assert report.bundled == "int8"
    assert report.quantization is not None
    assert len(report.quantization.excluded_nodes) == 1


def test_int8_that_does_not_pass_is_told_and_fp32_is_bundled(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    model = _with_outliers(in_every_layer=True)
    report = _export(
        tmp_path, ExportSpec(quantize=True, max_flips=1.0, max_size=2.0), model, _told_apart(model)
    )
    assert report.bundled == "fp32"
    assert report.quantization is not None
    assert not report.quantization.passed
    told = ExportReport.model_validate_json((tmp_path / "export_report.json").read_bytes()).quantization
    assert told is not None
    assert told.why.startswith("AUROC falls by 0.5000")
    assert not open_bundle(tmp_path / "runtime_bundle").manifest.quantized


@pytest.mark.parametrize("label", [0, 1])
def test_int8_needs_validation_texts_of_both_classes(tmp_path: Path, label: Label) -> None:
    write_tokenizer(tmp_path)
    with pytest.raises(AppError, match="both classes") as raised:
        _export(tmp_path, ExportSpec(quantize=True), toy(), [("people", label)] * 3)
    assert raised.value.code is ErrorCode.DATA_TOO_SMALL
    assert raised.value.faults[0].pointer == "/export/quantize"
    assert _names(tmp_path) == ["model"]


@pytest.mark.parametrize("at", [1, 6])
def test_an_export_nobody_wants_any_more_leaves_what_was_there(tmp_path: Path, at: int) -> None:
    write_tokenizer(tmp_path)
    (tmp_path / "model.onnx").write_text("the one before")
    asked: list[int] = []

    def stop() -> None:
        asked.append(1)
        if len(asked) == at:
            raise AskedToStop

    with pytest.raises(AskedToStop):
        export_detector(
            toy(),
            artifact=tmp_path,
            config=config(),
            vocab_size=len(WORDS),
            calibration=calibration(),
            sample=SAMPLE,
            spec=ExportSpec(quantize=True),
            threads=1,
            still_wanted=stop,
        )
    assert _names(tmp_path) == ["model", "model.onnx"]
    assert (tmp_path / "model.onnx").read_text() == "the one before"


def test_the_sample_is_read_as_the_bundle_reads(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    disguised: list[tuple[str, Label]] = [(text.replace("a", "\u0430 \n"), label) for text, label in SAMPLE]
    spec = ExportSpec(quantize=True, max_auroc_loss=1.0, max_flips=1.0)
    gate = _export(tmp_path, spec, toy(), disguised).quantization
    assert gate is not None
    judged = Detector.load(tmp_path / "runtime_bundle", threads=1).judge([text for text, _ in disguised])
    logits = np.array([each.logit for each in judged])
    pairs = [(ai > human) + (ai == human) / 2 for ai in logits[1::2] for human in logits[::2]]
    assert gate.int8_auroc == pytest.approx(np.mean(pairs))
