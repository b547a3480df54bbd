"""What a detector's stages found, as tables for people."""

from pathlib import Path

from rich.console import Group, RenderableType

from model_trainer.cli.rendering import plain_table
from model_trainer.core.contracts.calibration import Calibration
from model_trainer.core.contracts.detector_evaluation import DetectorEvaluation, Figure
from model_trainer.core.contracts.export import ExportReport


def calibration_table(calibration: Calibration) -> RenderableType:
    """Temperature, thresholds, and what human texts have to expect of them."""
    lines = [
        f"Temperature {calibration.temperature:.3f}, bias {calibration.bias:+.3f}; "
        f"{calibration.num_human} human and {calibration.num_ai} AI texts; "
        f"ECE {calibration.before.ece:.3f} -> {calibration.after.ece:.3f}."
    ]
    lines += [f"warning: {warning}" for warning in calibration.warnings]
    rows = [
        (
            each.name + (" *" if each.name == calibration.thresholds.decision else ""),
            "none" if each.value is None else f"{each.value:.4f}",
            _share(each.validation_fpr),
            _share(each.validation_tpr),
            ""
            if each.fpr_range is None
            else f"{each.fpr_range.low:.2%} to {each.fpr_range.high:.2%} (n={each.fpr_range.num_human})",
            each.why_missing or "",
        )
        for each in calibration.thresholds.thresholds
    ]
    table = plain_table("threshold", "value", "FPR", "TPR", "FPR on new texts", "", rows=rows)
    return Group(*lines, table)


def evaluation_table(evaluation: DetectorEvaluation) -> RenderableType:
    """Ranking and verdicts, with intervals."""
    ranking = evaluation.ranking
    lines = [
        f"{evaluation.split}: {evaluation.num_human} human and {evaluation.num_ai} AI texts. "
        f"ROC-AUC {figure(ranking.roc_auc)}, TPR at 1 % FPR {figure(ranking.tpr_at_fpr_1)}, "
        f"at 5 % {figure(ranking.tpr_at_fpr_5)}."
    ]
    lines += [f"warning: {warning}" for warning in evaluation.warnings]
    rows = [
        (
            each.name + (" *" if each.name == evaluation.decision else ""),
            f"{each.threshold:.4f}",
            figure(each.f1),
            figure(each.precision),
            figure(each.recall),
            figure(each.fpr),
        )
        for each in evaluation.decisions
    ]
    return Group(*lines, plain_table("threshold", "value", "F1", "precision", "recall", "FPR", rows=rows))


def export_table(report: ExportReport, bundle: Path) -> RenderableType:
    """What is in the bundle, and why."""
    lines = [
        f"ONNX equals torch to {report.parity.max_difference:.1e} on {report.parity.num_windows} windows.",
        f"The bundle holds {report.bundled} weights: {bundle}",
    ]
    gate = report.quantization
    if gate is not None:
        outcome = "passed" if gate.passed else "rejected"
        lines.append(
            f"int8 {outcome}: {gate.why} ({gate.int8_bytes / gate.fp32_bytes:.2f} of the size, "
            f"ROC-AUC loss {gate.auroc_loss:.4f}, {gate.flips:.2%} of verdicts changed)."
        )
    return Group(*lines)


def figure(found: Figure) -> str:
    """A number with its interval."""
    if found.interval is None:
        return f"{found.value:.3f}"
    return f"{found.value:.3f} [{found.interval.low:.3f}, {found.interval.high:.3f}]"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"
