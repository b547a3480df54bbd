"""A model card as README.md in the Hub's format: a head for programs (YAML), a page for people (Markdown).

Names in it came with somebody's data: they are escaped, so that none of them can add a line, a link or a tag.
"""

import re
from collections.abc import Iterable, Sequence

from pydantic import JsonValue

from model_trainer.core.artifact_files import BUNDLE
from model_trainer.core.contracts.base import JsonObject, dump_json
from model_trainer.core.contracts.calibration import Calibration, Threshold
from model_trainer.core.contracts.data_report import DataReport
from model_trainer.core.contracts.detector_evaluation import Decisions, DetectorEvaluation, Figure, Interval
from model_trainer.core.contracts.export import ExportReport
from model_trainer.core.contracts.model_card import ModelCard

_MARKUP = re.compile(r"[\\`*_\[\]<>#|~&$@]|(?<=:)//|(?<=www)\.|^[-+]")
_LONGEST = 1000


def page_of(card: ModelCard) -> str:
    """README.md."""
    sections = [
        _head(card),
        f"# {text(card.name)}",
        "Tells texts that a language model wrote from texts that people wrote. The probability is calibrated on "
        "validation texts; class 1 is AI.",
        _section("Intended use", _bullets(card.intended_use)),
        _section("Limits", _bullets(card.limits)),
        _section("How to use it", _use(card)),
        _section("Training", _training(card)),
        *([] if card.data is None else [_section("Data", _data(card.data))]),
        *([] if card.evaluation is None else [_section("Evaluation", _evaluation(card.evaluation))]),
        _section("Calibration", _calibration(card.calibration)),
        _section("Thresholds", _thresholds(card.calibration)),
        *([] if card.export is None else [_section("Export", _export(card.export))]),
        _section("Made with", _table(("library", "version"), sorted(card.libraries.items()))),
    ]
    return "\n\n".join(sections) + "\n"


def text(words: str) -> str:
    """`words` on one line, with nothing that Markdown or HTML would take for markup or a link."""
    return _MARKUP.sub(r"\\\g<0>", plain(words))


def plain(words: str) -> str:
    """`words` on one line of printable characters, not too many."""
    line = "".join(letter if letter.isprintable() else " " for letter in words).strip()
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def _head(card: ModelCard) -> str:
    """JSON is YAML, and cannot be broken out of."""
    name = plain(card.name)
    head: JsonObject = {
        "license": "other",
        "library_name": "onnx" if card.export is not None else "model-trainer",
        "pipeline_tag": "text-classification",
        "tags": ["ai-generated-text-detection", "text-classification", "calibrated", card.model_family],
    }
    if card.base_model is not None:
        head["base_model"] = plain(card.base_model)
    if card.evaluation is not None:
        metrics: list[JsonValue] = [
            {"type": kind, "name": title, "value": round(value, 6)}
            for kind, title, value in _headline(card.evaluation)
        ]
        result: JsonObject = {
            "task": {"type": "text-classification", "name": "AI text detection"},
            "dataset": {"type": "private", "name": f"{card.evaluation.split} texts of run {card.run_id}"},
            "metrics": metrics,
        }
        head["model-index"] = [{"name": name, "results": [result]}]
    lines = [f"{key}: {dump_json(value)}" for key, value in head.items()]
    return "\n".join(["---", *lines, "---"])


def _headline(evaluation: DetectorEvaluation) -> list[tuple[str, str, float]]:
    ranking = evaluation.ranking
    chosen = [made for made in evaluation.decisions if made.name == evaluation.decision]
    return [
        ("roc_auc", "ROC AUC", ranking.roc_auc.value),
        ("pr_auc", "PR AUC", ranking.pr_auc.value),
        ("tpr_at_fpr_1", "TPR at 1 % FPR", ranking.tpr_at_fpr_1.value),
        ("tpr_at_fpr_5", "TPR at 5 % FPR", ranking.tpr_at_fpr_5.value),
        *[("f1", f"F1 at threshold {made.name}", made.f1.value) for made in chosen],
        *[("accuracy", f"Accuracy at threshold {made.name}", made.accuracy.value) for made in chosen],
        ("brier_score", "Brier score", evaluation.probabilities.brier),
        ("ece", "Expected calibration error", evaluation.probabilities.ece),
    ]


def _use(card: ModelCard) -> str:
    if card.export is None:
        return "It was not exported: `model-trainer export-onnx` makes the folder that serves it."
    return (
        f"`{BUNDLE}/` holds all that is needed, without torch and transformers: "
        f"`DETECTOR_ONNX_PATH={BUNDLE}/model.onnx`, the tokenizer in `{BUNDLE}/model/`, the calibration in "
        f"`{BUNDLE}/calibration.json`. `docs/serving.md` of model-trainer has a program of 60 lines; or:\n\n"
        "```python\n"
        "from pathlib import Path\n\n"
        "from model_trainer.serving.detector import Detector\n\n"
        f'detector = Detector.load(Path("{BUNDLE}"), threads=None)\n'
        'print(detector.judge(["A text of at least sixty words ..."]))\n'
        "```"
    )


def _training(card: ModelCard) -> str:
    facts = {
        "run": card.run_id,
        "family": card.model_family,
        "base model": card.base_model or "none (random weights)",
        "parameters": f"{card.num_parameters:,}, of them in embeddings {card.num_embedding_parameters:,}",
        "tokens in a window": card.max_tokens,
        **{key.replace("_", " "): value for key, value in card.training.items()},
    }
    return _table(("choice", "value"), [(key, str(value)) for key, value in facts.items()])


def _data(data: DataReport) -> str:
    splits = _table(
        ("split", "texts", "source documents", "human", "AI", "median words human / AI"),
        [
            (
                name,
                f"{each.num_rows:,}",
                f"{each.num_groups:,}",
                f"{each.num_human:,}",
                f"{each.num_ai:,}",
                " / ".join(
                    "-" if words is None else f"{words.p50:g}" for words in (each.human_words, each.ai_words)
                ),
            )
            for name, each in data.splits.items()
        ],
    )
    files = _table(
        ("file", "texts", "SHA-256"), [(each.path, f"{each.num_rows:,}", each.sha256) for each in data.files]
    )
    left_out = (
        f"Left out: {data.num_empty:,} empty texts, {data.duplicates.same_label:,} duplicates, "
        f"{data.duplicates.conflicting:,} rows of texts with both labels. Groups: {text(data.group_evidence)}"
    )
    counts = [
        _table((kind, "texts"), [(name, f"{number:,}") for name, number in rows.items()])
        for kind, rows in (("domain", data.domains), ("generator", data.generators))
        if rows
    ]
    audit = [
        _table(
            ("trivial feature", "AUROC alone", "shortcut"),
            [
                (each.feature, f"{each.roc_auc:.3f}", "yes" if each.is_shortcut else "no")
                for each in data.audit
            ],
        )
    ]
    return "\n\n".join([splits, left_out, files, *counts, *(audit if data.audit else [])])


def _evaluation(evaluation: DetectorEvaluation) -> str:
    ranking, quality = evaluation.ranking, evaluation.probabilities
    said = (
        f"On the {text(evaluation.split)} split: {evaluation.num_human:,} human and {evaluation.num_ai:,} AI texts of "
        f"{evaluation.num_groups:,} source documents. In brackets: 95 % of the bootstrap's resamplings by source document."
    )
    figures = [
        ("ROC AUC", _figure(ranking.roc_auc)),
        ("PR AUC", _figure(ranking.pr_auc)),
        ("TPR at 1 % FPR", _figure(ranking.tpr_at_fpr_1)),
        ("TPR at 5 % FPR", _figure(ranking.tpr_at_fpr_5)),
        ("Brier score", f"{quality.brier:.4f}"),
        ("NLL", f"{quality.nll:.4f}"),
        (
            "ECE, 15 bins of equal mass",
            f"{quality.ece:.4f}{_range(evaluation.ece_interval, 'expected if calibrated')}",
        ),
        ("within the abstain band", f"{evaluation.uncertain:.2%}"),
        (
            "AUROC with shuffled labels",
            f"{evaluation.null_test.roc_auc_low:.3f} to {evaluation.null_test.roc_auc_high:.3f}",
        ),
    ]
    by_length = [] if evaluation.by_length is None else [_verdicts(evaluation.by_length, "by length")]
    decisions = _table(
        ("threshold", "F1", "precision", "recall", "accuracy", "MCC", "FPR", "promised FPR"),
        [*(_verdicts(made, f"{made.threshold:.4f}") for made in evaluation.decisions), *by_length],
    )
    return "\n\n".join(
        [
            said,
            _table(("figure", "value"), figures),
            decisions,
            *_slices(evaluation),
            *_comparison(evaluation),
        ]
    )


def _verdicts(made: Decisions, where: str) -> tuple[str, ...]:
    promised = made.promised_fpr
    figures = (made.f1, made.precision, made.recall, made.accuracy, made.mcc, made.fpr)
    return (
        f"{made.name} ({where})",
        *map(_figure, figures),
        "-" if promised is None else f"{promised.low:.2%} to {promised.high:.2%}",
    )


def _slices(evaluation: DetectorEvaluation) -> list[str]:
    parts: list[str] = []
    if evaluation.slices:
        rows = [
            (
                each.column,
                each.value,
                f"{each.num_human:,} / {each.num_ai:,}",
                _share(each.roc_auc),
                _share(each.fpr),
                _share(each.tpr),
            )
            for each in evaluation.slices
        ]
        parts += ["### Slices", _table(("by", "value", "human / AI", "AUROC", "FPR", "TPR"), rows)]
    if evaluation.robustness:
        rows_of_attacks = [
            (
                each.attack,
                f"{each.num_texts:,}",
                _share(each.roc_auc),
                f"{each.roc_auc_loss:+.4f}",
                _share(each.tpr),
                _share(each.fpr),
                f"{each.flips:.2%}",
            )
            for each in evaluation.robustness
        ]
        columns = ("attack", "texts", "AUROC", "AUROC lost", "TPR", "FPR", "verdicts changed")
        parts += ["### Robustness", _table(columns, rows_of_attacks)]
    return parts


def _comparison(evaluation: DetectorEvaluation) -> list[str]:
    found = evaluation.comparison
    if found is None:
        return []
    verdict = "a regression" if found.regression else "no regression"
    where = "the same texts" if found.same_data else "different texts"
    return [
        f"Against run {text(found.run_id)} on {where}: AUROC {found.ours:.4f} against {found.theirs:.4f}, a difference of "
        f"{found.difference:+.4f}{_range(found.interval, 'paired bootstrap')}; {verdict}."
    ]


def _calibration(calibration: Calibration) -> str:
    before, after = calibration.before, calibration.after
    facts = (
        f"Fitted on {calibration.num_human:,} human and {calibration.num_ai:,} AI texts ({calibration.fitted_on}): "
        f"temperature {calibration.temperature:.4f}, bias {calibration.bias:.4f}; undone before: focal gamma "
        f"{calibration.focal_gamma:g}, class weight {calibration.positive_weight:g}."
    )
    rows = [
        ("NLL", f"{before.nll:.4f}", f"{after.nll:.4f}"),
        ("Brier score", f"{before.brier:.4f}", f"{after.brier:.4f}"),
        ("ECE", f"{before.ece:.4f}", f"{after.ece:.4f}"),
        ("slope (1 is right)", f"{before.slope:.3f}", f"{after.slope:.3f}"),
        ("intercept (0 is right)", f"{before.intercept:.3f}", f"{after.intercept:.3f}"),
    ]
    return f"{facts}\n\n{_table(('on the texts it was fitted on', 'before', 'after'), rows)}"


def _thresholds(calibration: Calibration) -> str:
    told = calibration.thresholds
    rows = [_threshold(each, is_default=each.name == told.decision) for each in told.thresholds]
    table = _table(("name", "AI above", "FPR to expect", "source documents it rests on", "note"), rows)
    band = told.band
    if band is None:
        return f"{table}\n\nNo abstain band: {text(told.why_no_band or 'none was found')}"
    return (
        f"{table}\n\nAbstain band: human up to {band.low:.4f}, AI above {band.high:.4f}, uncertain between."
    )


def _threshold(threshold: Threshold, *, is_default: bool) -> tuple[str, ...]:
    promise = threshold.fpr_range
    note = threshold.why_missing or ("used unless another is named" if is_default else "")
    return (
        threshold.name,
        "-" if threshold.value is None else f"{threshold.value:.4f}",
        "-" if promise is None else f"{promise.expected:.2%} ({promise.low:.2%} to {promise.high:.2%})",
        "-" if promise is None else f"{promise.num_human:,}",
        note,
    )


def _export(export: ExportReport) -> str:
    said = (
        f"ONNX opset {export.opset}, bundled as {export.bundled}. Largest difference to torch on "
        f"{export.parity.num_windows} windows: {export.parity.max_difference:.2g} (allowed {export.parity.tolerance:g})."
    )
    gate = export.quantization
    if gate is None:
        return said
    verdict = "taken" if gate.passed else "rejected"
    return (
        f"{said} int8 was {verdict} on {gate.num_texts:,} validation texts: {text(gate.why)}; {gate.int8_bytes:,} bytes "
        f"instead of {gate.fp32_bytes:,}; nodes left in fp32: {len(gate.excluded_nodes)}."
    )


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}"


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {text(line)}" for line in lines)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return "\n".join([*lines, *(f"| {' | '.join(text(cell) for cell in row)} |" for row in rows)])


def _figure(figure: Figure) -> str:
    return f"{figure.value:.4f}{_range(figure.interval, '')}"


def _range(interval: Interval | None, what: str) -> str:
    if interval is None:
        return ""
    return f" ({what + ': ' if what else ''}{interval.low:.4f} to {interval.high:.4f})"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
