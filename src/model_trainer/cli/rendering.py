"""Answers as tables for people. Whatever the server sent goes through `printable` first."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from pydantic import JsonValue
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from model_trainer.cli.output import printable
from model_trainer.client.answers import ScoredView
from model_trainer.client.views import (
    ArtifactView,
    AttemptView,
    CheckpointView,
    ComparisonView,
    DetectorEvaluationView,
    EvaluationsView,
    EvaluationView,
    FamiliesView,
    FigureView,
    PredictionView,
    RunView,
    TokenizerView,
)

ATTEMPTS_SHOWN = 5
STYLES = {
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "cancelling": "yellow",
    "running": "cyan",
    "paused": "magenta",
}


def run_table(runs: Iterable[RunView]) -> Table:
    """One line a run."""
    table = _table("run", "family", "status", "phase", "progress", "loss", "created")
    for run in runs:
        table.add_row(
            _text(run.run_id),
            _text(run.family),
            _status(run.status),
            _text(run.phase),
            _text(_progress(run)),
            _text(_loss(run.metrics)),
            _text(_when(run.created_at)),
        )
    return table


def tokenizer_table(tokenizers: Iterable[TokenizerView]) -> Table:
    """One line a tokenizer."""
    table = _table("tokenizer", "method", "status", "vocab", "tokens/char", "created")
    for tokenizer in tokenizers:
        stats = tokenizer.stats or {}
        table.add_row(
            _text(tokenizer.tokenizer_id),
            _text(tokenizer.method),
            _status(tokenizer.status),
            _text(_value(tokenizer.vocab_size)),
            _text(_value(stats.get("tokens_per_char"))),
            _text(_when(tokenizer.created_at)),
        )
    return table


def run_card(run: RunView) -> RenderableType:
    """One run in full."""
    rows: list[tuple[str, RenderableType]] = [
        ("run", _text(run.run_id)),
        ("kind", _text(f"{run.kind} {run.family}")),
        ("parent", _text(run.parent_run_id or "")),
        ("status", _status(run.status)),
        ("message", _text(run.message)),
        ("asked for", _text(_asked_for(run))),
        ("go on", _text(_way_on(run))),
        ("progress", _text(_progress(run))),
        ("checkpoint", _text("" if run.checkpoint is None else f"step {run.checkpoint.step}")),
        ("created", _text(_when(run.created_at))),
        ("finished", _text(_when(run.finished_at))),
        ("labels", _text(_pairs(run.metadata))),
        *[(name, _text(_value(value))) for name, value in sorted(run.metrics.items())],
    ]
    if run.problem is not None:
        rows.append(("problem", _text(f"{run.problem.code}: {run.problem.message}")))
        rows += [("", _text(f"{fault.pointer or '/'}: {fault.message}")) for fault in run.problem.faults]
        rows.append(("exception", _text(run.problem.exception or "")))
    rows += [(f"attempt {number}", _text(_attempt(one))) for number, one in _attempts_to_show(run)]
    return _card(rows)


def tokenizer_card(tokenizer: TokenizerView) -> RenderableType:
    """One tokenizer in full."""
    rows: list[tuple[str, RenderableType]] = [
        ("tokenizer", _text(tokenizer.tokenizer_id)),
        ("method", _text(tokenizer.method)),
        ("status", _status(tokenizer.status)),
        ("message", _text(tokenizer.message)),
        ("vocab size", _text(_value(tokenizer.vocab_size))),
        ("created", _text(_when(tokenizer.created_at))),
        ("finished", _text(_when(tokenizer.finished_at))),
        ("labels", _text(_pairs(tokenizer.metadata))),
        *[(name.replace("_", " "), _text(_value(value))) for name, value in (tokenizer.stats or {}).items()],
    ]
    if tokenizer.problem is not None:
        rows.append(("problem", _text(f"{tokenizer.problem.code}: {tokenizer.problem.message}")))
    return _card(rows)


def checkpoint_table(checkpoints: Sequence[CheckpointView]) -> Table:
    """One line a checkpoint."""
    table = _table("step", "saved", "bytes", "loss", "")
    for one in checkpoints:
        words = [
            *(["best"] if one.is_best else []),
            *(["last"] if one.is_last else []),
            *([] if one.problem is None else [f"passed over: {one.problem}"]),
        ]
        table.add_row(
            _text(str(one.step)),
            _text(_when(one.saved_at)),
            _text(f"{one.num_bytes:,}"),
            _text(_loss(one.metrics)),
            _text(", ".join(words)),
        )
    return table


def evaluation_table(evaluations: EvaluationsView) -> Table:
    """One line an evaluation of a language model, or one line a threshold of a detector's."""
    if evaluations.of_detector:
        return _detector_table(evaluations.of_detector)
    return _language_table(evaluations.of_language_model)


def _language_table(evaluations: Sequence[EvaluationView]) -> Table:
    table = _table("split", "loss", "perplexity", "bits/byte", "accuracy", "against")
    for evaluation in evaluations:
        metrics = evaluation.metrics
        table.add_row(
            _text(evaluation.split),
            _text(_value(metrics.loss)),
            _text(_value(metrics.perplexity)),
            _text(_value(metrics.bits_per_byte)),
            _text(_value(metrics.accuracy)),
            _against(evaluation.comparison, "bits/byte"),
        )
    return table


def _detector_table(evaluations: Sequence[DetectorEvaluationView]) -> Table:
    table = _table(
        "split", "ROC-AUC", "verdicts by", "threshold", "F1", "precision", "recall", "FPR", "against"
    )
    for evaluation in evaluations:
        # The threshold that verdicts use comes first; what is true of all stands in its line.
        used = [one for one in evaluation.decisions if one.name == evaluation.decision]
        others = [one for one in evaluation.decisions if one.name != evaluation.decision]
        for place, one in enumerate([*used, *others]):
            table.add_row(
                _text("" if place else evaluation.split),
                _text("" if place else _figure(evaluation.ranking.roc_auc)),
                _text(one.name),
                _text(_value(one.threshold)),
                *(_text(_figure(figure)) for figure in (one.f1, one.precision, one.recall, one.fpr)),
                Text("") if place else _against(evaluation.comparison, "ROC-AUC"),
            )
    return table


def prediction_table(predictions: Sequence[tuple[str, PredictionView]]) -> Table:
    """One line a judged text."""
    table = _table("text", "probability", "verdict", "band", "threshold", "words", "")
    for name, one in predictions:
        table.add_row(
            _text(name),
            _text(_value(one.probability)),
            _text(one.verdict),
            _text(one.band),
            _text(f"{one.threshold_name} {one.threshold:.4f}"),
            _text(f"{one.num_words:,}"),
            _text(" ".join(one.warnings)),
        )
    return table


def score_card(scored: ScoredView) -> RenderableType:
    """The figures; below them one line a token where they were asked for."""
    rows: list[tuple[str, RenderableType]] = [
        ("loss", _text(_value(scored.loss))),
        ("perplexity", _text(_value(scored.perplexity))),
        ("bits/byte", _text(_value(scored.bits_per_byte))),
        ("tokens", _text(f"{scored.num_tokens:,}")),
        ("stride", _text(_value(scored.stride))),
    ]
    if scored.tokens is None:
        return _card(rows)
    tokens = _table("token", "characters", "surprisal")
    for one in scored.tokens:
        tokens.add_row(_text(repr(one.token)), _text(f"{one.start}-{one.end}"), _text(_value(one.surprisal)))
    return Group(_card(rows), tokens)


def artifact_table(artifact: ArtifactView) -> Table:
    """One line a file."""
    table = _table("file", "bytes", "sha256")
    for file in artifact.files:
        table.add_row(_text(file.path), _text(f"{file.num_bytes:,}"), _text((file.sha256 or "")[:16]))
    return table


def families_tables(families: FamiliesView) -> RenderableType:
    """Families, then kinds of tokenizer."""
    models = _table("family", "what it is", "tokenizers")
    for family in families.families:
        models.add_row(_text(family.name), _text(family.title), _text(", ".join(family.supported_tokenizers)))
    kinds = _table("tokenizer", "what it is", "available")
    for kind in families.tokenizers:
        available = "yes" if kind.available else f'no: pip install "model-trainer[{kind.extra}]"'
        kinds.add_row(_text(kind.name), _text(kind.title), _text(available))
    return Group(models, kinds)


def plain_table(*columns: str, rows: Iterable[Sequence[str]]) -> Table:
    """Any table of text."""
    table = _table(*columns)
    for row in rows:
        table.add_row(*map(_text, row))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ("run", "tokenizer", "created", "status"))
    return table


def _card(rows: Iterable[tuple[str, RenderableType]]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        if not (isinstance(value, Text) and not value.plain):
            table.add_row(_text(name), value)
    return table


def _text(value: str) -> Text:
    return Text(printable(value))


def _status(status: str) -> Text:
    return Text(printable(status), style=STYLES.get(status, ""))


def _against(compared: ComparisonView | None, unit: str) -> Text:
    """What a comparison with another run says."""
    if compared is None:
        return Text("")
    verdict = "regression" if compared.regression else "no regression"
    return Text(
        printable(f"{compared.run_id}: {compared.difference:+.4f} {unit}, {verdict}"),
        style="red" if compared.regression else "green",
    )


def _figure(figure: FigureView) -> str:
    """A number, with its interval where it has one."""
    if figure.interval is None:
        return _value(figure.value)
    low, high = figure.interval.get("low", figure.value), figure.interval.get("high", figure.value)
    return f"{figure.value:.4f} [{low:.3f}, {high:.3f}]"


def _progress(run: RunView) -> str:
    """Of the phase it is in; of one that has ended otherwise than well, steps alone: it did not come to 100 %."""
    progress = run.progress
    if progress.total_steps:
        return f"{progress.step}/{progress.total_steps}"
    return (
        "" if run.status in ("failed", "cancelled") or not progress.fraction else f"{progress.fraction:.0%}"
    )


def _asked_for(run: RunView) -> str:
    """What has been asked for and is not done yet."""
    if run.status in ("cancelled", "paused"):
        return ""
    return "cancel" if run.cancel_requested else "pause" if run.pause_requested else ""


def _way_on(run: RunView) -> str:
    """The command that lets a run go on which stands still, where there is one."""
    can_go_on = run.kind == "train" and run.status in ("paused", "failed", "cancelled")
    return f"model-trainer run resume {run.run_id}" if can_go_on else ""


def _attempts_to_show(run: RunView) -> list[tuple[int, AttemptView]]:
    """The last few, once there was more than one; each with its number."""
    numbered = list(enumerate(run.attempts, start=1))
    return numbered[-ATTEMPTS_SHOWN:] if len(numbered) > 1 else []


def _attempt(attempt: AttemptView) -> str:
    """When, by whom, and what ended it."""
    began, ended = _moment(attempt.started_at_ms), _moment(attempt.ended_at_ms)
    words = [f"{began} to {ended or 'now'}", attempt.owner]
    if attempt.problem is not None:
        why = f"{attempt.problem.code}: {attempt.problem.message}"
        words.append(f"{why} ({attempt.problem.exception})" if attempt.problem.exception else why)
    return "  ".join(words)


def _moment(milliseconds: int | None) -> str:
    """A time of an attempt, in UTC like the others."""
    return "" if milliseconds is None else _when(datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat())


def _loss(metrics: Mapping[str, float]) -> str:
    found = next((metrics[name] for name in ("validation_loss", "loss") if name in metrics), None)
    return _value(found)


def _value(value: JsonValue) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _pairs(pairs: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in pairs.items())


def _when(time: str | None) -> str:
    """An ISO time to the second, in UTC as the server says it."""
    return "" if time is None else time[:19].replace("T", " ")
