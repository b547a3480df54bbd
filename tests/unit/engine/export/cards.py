"""Model cards for tests: one of a detector with everything measured, and its parts."""

import json

import yaml

from model_trainer.core.contracts.base import JsonObject, parse_json_object
from model_trainer.core.contracts.data_report import (
    DataReport,
    Duplicates,
    LengthStats,
    ShortcutFinding,
    SourceFile,
    SplitFigures,
)
from model_trainer.core.contracts.detector import DecisionName, TrainingConfig
from model_trainer.core.contracts.detector_evaluation import (
    Decisions,
    DetectorComparison,
    DetectorEvaluation,
    Figure,
    Interval,
    NullTest,
    Ranking,
    Robustness,
    Slice,
)
from model_trainer.core.contracts.export import ExportReport, Parity, QuantizationGate
from model_trainer.core.contracts.model_card import ModelCard
from model_trainer.engine.export.card import make_card
from tests.unit.engine.export.toys import QUALITY, calibration, config

NASTY = "evil | name](http://x)\n---\n# <script>`x` \u2028 license: mit"
WORDS = LengthStats(mean=200.0, p5=80.0, p50=190.0, p95=400.0, max=900)


def figure_of(value: float) -> Figure:
    return Figure(value=value, interval=Interval(low=value - 0.01, high=value + 0.01))


def data_report() -> DataReport:
    return DataReport(
        data_sha256="a" * 64,
        text_sha256={"train": "b" * 64},
        files=(SourceFile(path=NASTY, num_bytes=10, sha256="c" * 64, num_rows=2000, columns=(), labels=()),),
        num_rows=2000,
        num_empty=3,
        duplicates=Duplicates(same_label=7, conflicting=2, joined_groups=1),
        group_evidence="column pair_id",
        splits={
            "train": SplitFigures(
                num_rows=1600, num_groups=800, num_human=800, num_ai=799, human_words=WORDS, ai_words=None
            )
        },
        domains={"news": 1900, "poems": 99, "law": 100},
        generators={f"gpt-{number:02}": 5 for number in range(12)},
        audit=(
            ShortcutFinding(
                feature="newlines",
                roc_auc=0.94,
                direction="higher_is_ai",
                is_shortcut=True,
                message="newlines alone reach AUROC 0.940",
            ),
            ShortcutFinding(
                feature="digits",
                roc_auc=0.52,
                direction="lower_is_ai",
                is_shortcut=False,
                message="digits: fine",
            ),
        ),
        audit_blocks=True,
        warnings=(),
    )


def decisions(name: DecisionName, *, kept: bool | None) -> Decisions:
    return Decisions(
        name=name,
        threshold=0.6125,
        f1=figure_of(0.81),
        precision=figure_of(0.82),
        recall=figure_of(0.83),
        accuracy=figure_of(0.84),
        mcc=figure_of(0.65),
        fpr=Figure(value=0.034),
        fpr_by_source=0.034,
        promised_fpr=None if kept is None else Interval(low=0.001, high=0.023),
        kept_promise=kept,
    )


def evaluation(*, comparison: DetectorComparison | None = None) -> DetectorEvaluation:
    return DetectorEvaluation(
        run_id=config().run_id,
        evaluation_id="test",
        split="test",
        data_sha256="a" * 64,
        text_sha256="b" * 64,
        num_human=210,
        num_ai=212,
        num_groups=205,
        ranking=Ranking(
            roc_auc=figure_of(0.9312345),
            pr_auc=figure_of(0.92),
            tpr_at_fpr_1=figure_of(0.55),
            tpr_at_fpr_5=figure_of(0.75),
        ),
        decisions=(
            decisions("max_f1", kept=None),
            decisions("fpr_1", kept=False),
            decisions("fpr_5", kept=True),
        ),
        decision="max_f1",
        probabilities=QUALITY,
        ece_interval=Interval(low=0.01, high=0.05),
        reliability=(),
        uncertain=0.125,
        slices=(
            Slice(
                column="domain",
                value=NASTY,
                num_human=5,
                num_ai=0,
                roc_auc=None,
                fpr=0.2,
                tpr=None,
                accuracy=0.8,
                threshold="max_f1",
            ),
        ),
        robustness=(
            Robustness(
                attack="homoglyphs",
                num_texts=300,
                roc_auc=0.9,
                roc_auc_loss=0.03,
                tpr=0.7,
                fpr=0.04,
                flips=0.055,
            ),
        ),
        null_test=NullTest(roc_auc_low=0.455, roc_auc_high=0.546, p_value=0.001),
        comparison=comparison,
        warnings=("Few groups.",),
    )


def export_report(gate: QuantizationGate | None) -> ExportReport:
    return ExportReport(
        opset=20,
        parity=Parity(num_windows=11, max_difference=2.5e-7, tolerance=1e-4, passed=True),
        quantization=gate,
        bundled="fp32",
        onnx_sha256="9" * 64,
    )


def new_card(
    *,
    data: DataReport | None = None,
    evaluation: DetectorEvaluation | None = None,
    export: ExportReport | None = None,
    name: str = "detector",
    trained: TrainingConfig | None = None,
) -> ModelCard:
    told = calibration().model_copy(update={"warnings": ("Fitted on few texts.",)})
    return make_card(
        name=name,
        config=trained or config(),
        calibration=told,
        data=data,
        evaluation=evaluation,
        export=export,
        libraries={"torch": "2.13.0", "numpy": "2.4"},
    )


def full_card() -> ModelCard:
    gate = QuantizationGate(
        num_texts=2000,
        fp32_bytes=1000,
        int8_bytes=330,
        fp32_auroc=0.93,
        int8_auroc=0.9,
        auroc_loss=0.03,
        flips=0.02,
        excluded_nodes=("a", "b"),
        passed=False,
        why="AUROC falls by 0.03",
    )
    return new_card(data=data_report(), evaluation=evaluation(), export=export_report(gate))


def head_of(page: str) -> JsonObject:
    _, head, _ = page.split("---\n", 2)
    return parse_json_object(json.dumps(yaml.safe_load(head)))


def row_of(page: str, start: str) -> list[str]:
    (row,) = [line for line in page.splitlines() if line.startswith(f"| {start} |")]
    return [cell.strip() for cell in row.strip("|").split("|")]
