import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from model_trainer.core.contracts.detector import ExportSpec
from model_trainer.engine.export.quantize import EXCLUSIONS, Judged, gate_of, quantize, quantize_behind_gate
from model_trainer.engine.export.to_onnx import export_onnx
from tests.unit.engine.export.toys import PLAN, ToyClassifier, calibration

SPEC = ExportSpec(quantize=True)
ANY_SIZE = ExportSpec(quantize=True, max_size=1.0)
RANDOM = np.random.default_rng(0)
LABELS = np.array([0, 1] * 200, dtype=np.int8)
LOGITS = RANDOM.normal(size=400) + 2 * LABELS


def _judged(logits: NDArray[np.float64], words: Sequence[int] | None = None) -> Judged:
    lengths = np.full(len(logits), 10, dtype=np.int32) if words is None else np.array(words, dtype=np.int32)
    return Judged(logits=logits, labels=LABELS[: len(logits)], num_words=lengths)


def _gate(before: Judged, after: Judged, spec: ExportSpec = SPEC) -> tuple[bool, str]:
    gate = gate_of(before, after, sizes=(100, 30), excluded=("x",), calibration=calibration(), spec=spec)
    assert (gate.fp32_bytes, gate.int8_bytes, gate.excluded_nodes) == (100, 30, ("x",))
    return gate.passed, gate.why


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose embedding is most of it."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("wide") / "model.onnx"
    export_onnx(ToyClassifier(vocab_size=4000, width=64), path, windows=PLAN)
    return path


def test_the_same_verdicts_pass_and_few_texts_say_how_little_they_show() -> None:
    assert _gate(_judged(LOGITS), _judged(LOGITS)) == (
        True,
        "AUROC falls by 0.0000, 0.00% of verdicts change (on 400 texts, which cannot tell less than 0.8% from none)",
    )
    many, labels = np.tile(LOGITS, 2), np.tile(LABELS, 2)
    words = np.full(800, 10, dtype=np.int32)
    judged = Judged(logits=many, labels=labels, num_words=words)
    assert _gate(judged, judged) == (True, "AUROC falls by 0.0000, 0.00% of verdicts change")


@pytest.mark.parametrize(("int8_bytes", "passes"), [(90, True), (91, False)])
def test_int8_that_saves_no_space_is_rejected(int8_bytes: int, *, passes: bool) -> None:
    gate = gate_of(
        _judged(LOGITS),
        _judged(LOGITS),
        sizes=(100, int8_bytes),
        excluded=(),
        calibration=calibration(),
        spec=SPEC,
    )
    assert gate.passed is passes
    assert ("nothing is gained" in gate.why) is not passes


def test_auroc_is_scikit_learns() -> None:
    after = np.round(LOGITS)
    gate = gate_of(
        _judged(LOGITS), _judged(after), sizes=(1, 1), excluded=(), calibration=calibration(), spec=SPEC
    )
    assert gate.fp32_auroc == pytest.approx(roc_auc_score(LABELS, LOGITS))
    assert gate.int8_auroc == pytest.approx(roc_auc_score(LABELS, after))
    assert gate.auroc_loss == pytest.approx(gate.fp32_auroc - gate.int8_auroc)
    assert gate.num_texts == 400


def test_lost_order_is_rejected_though_no_verdict_changes() -> None:
    far = np.where(LABELS == 1, 50.0, -50.0)  # on either side of any threshold
    before = _judged(far + LOGITS)
    worse = far + LOGITS
    worse[LABELS == 1] = 60.0
    worse[1] = 49.0
    passed, why = _gate(_judged(worse), before, ExportSpec(quantize=True, max_auroc_loss=0.0))
    assert passed, why
    spec = ExportSpec(quantize=True, max_auroc_loss=0.001, max_flips=1.0)
    assert _gate(_judged(LOGITS), _judged(np.zeros(400)), spec)[0] is False


@pytest.mark.parametrize(("flipped", "passes"), [(2, True), (3, False)])
def test_more_than_half_a_percent_of_changed_verdicts_is_too_many(flipped: int, *, passes: bool) -> None:
    before = np.where(LABELS == 1, 9.0, -9.0)
    after = before.copy()
    after[1 : 2 * flipped : 2] = -1.5  # still above all human texts
    passed, why = _gate(_judged(before), _judged(after))
    assert passed is passes
    if not passes:
        assert why == "0.75% of verdicts change, more than 0.50%"


def test_verdicts_go_by_the_threshold_of_the_texts_length() -> None:
    undone = calibration(temperature=1.0)
    close = np.array([0.0, 1.0])  # the probability crosses 0.5 of short texts before 0.625 of long ones
    shifted = close + 0.3
    flips = [
        gate_of(
            _judged(close, [words, words]),
            _judged(shifted, [words, words]),
            sizes=(1, 1),
            excluded=(),
            calibration=undone,
            spec=SPEC,
        ).flips
        for words in (10, 30)
    ]
    assert flips == [0.5, 0.0]


def test_the_same_file_gives_the_same_int8_bytes_embedding_included(
    wide: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    quantize(wide, tmp_path / "one")
    quantize(wide, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").stat().st_size < 0.3 * wide.stat().st_size
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert logging.getLogger().filters == []


def test_int8_that_passes_at_once_leaves_no_node_out(wide: Path, tmp_path: Path) -> None:
    gate = quantize_behind_gate(
        wide,
        tmp_path / "int8",
        before=_judged(LOGITS),
        judge=lambda _: LOGITS + 1e-9,
        calibration=calibration(),
        spec=SPEC,
    )
    assert gate.passed
    assert gate.excluded_nodes == ()
    assert gate.int8_bytes == (tmp_path / "int8").stat().st_size
    assert gate.fp32_bytes == wide.stat().st_size


def test_the_worst_nodes_are_left_in_fp32_until_the_rest_passes(wide: Path, tmp_path: Path) -> None:
    tried: list[int] = []

    def judge(path: Path) -> NDArray[np.float64]:
        tried.append(path.stat().st_size)
        return LOGITS if len(tried) == 2 else -LOGITS

    gate = quantize_behind_gate(
        wide,
        tmp_path / "int8",
        before=_judged(LOGITS),
        judge=judge,
        calibration=calibration(),
        spec=ANY_SIZE,
    )
    assert gate.passed
    assert len(gate.excluded_nodes) == 1
    assert tried[1] > tried[0]
    kept = {node.name for node in onnx.load_model(tmp_path / "int8").graph.node}
    assert gate.excluded_nodes[0] in kept


def test_int8_that_never_passes_is_rejected_with_its_best_attempt(wide: Path, tmp_path: Path) -> None:
    answers = [-LOGITS, np.zeros(400) + 9.0, np.where(LABELS == 1, LOGITS, -9.0)[::-1]]
    tried: list[Path] = []

    def judge(path: Path) -> NDArray[np.float64]:
        tried.append(path)
        return answers[len(tried) - 1]

    gate = quantize_behind_gate(
        wide,
        tmp_path / "int8",
        before=_judged(LOGITS),
        judge=judge,
        calibration=calibration(),
        spec=ANY_SIZE,
    )
    # Three nodes have weights: leaving 0, 1 and 2 out are the attempts.
    assert len(tried) == 3 < 1 + len(EXCLUSIONS)
    assert not gate.passed
    assert "of verdicts change" in gate.why
    flips = [
        gate_of(
            _judged(LOGITS),
            _judged(answer),
            sizes=(1, 1),
            excluded=(),
            calibration=calibration(),
            spec=ANY_SIZE,
        ).flips
        for answer in answers
    ]
    assert gate.flips == min(flips) < max(flips)
