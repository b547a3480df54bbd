"""What the demo tells at its end."""

from pydantic import JsonValue
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from model_trainer.cli.output import printable
from model_trainer.core.contracts.base import Contract

SAMPLE_CHARACTERS = 600


class DemoReport(Contract):
    """What came out and where it lies."""

    family: str
    run_id: str
    tokenizer_id: str
    url: str
    state: str
    model_folder: str
    tokenizer_folder: str
    tokenizer_stats: dict[str, JsonValue]
    metrics: dict[str, JsonValue]
    prompt: str
    continuation: str


def render_report(report: DemoReport) -> RenderableType:
    """Figures, a sample, folders, what to try next."""
    figures = Table(box=None, pad_edge=False, show_header=False)
    figures.add_column(style="bold", no_wrap=True)
    figures.add_column()
    for label, value in (
        ("validation loss", report.metrics.get("loss")),
        ("perplexity", report.metrics.get("perplexity")),
        ("bits per byte", report.metrics.get("bits_per_byte")),
        ("tokenizer: bytes per token", report.tokenizer_stats.get("bytes_per_token")),
    ):
        figures.add_row(label, f"{value:.4f}" if isinstance(value, float) else "")
    figures.add_row("model", Text(report.model_folder))
    figures.add_row("tokenizer", Text(report.tokenizer_folder))
    sample = Text(printable(report.prompt), style="bold")
    sample.append(printable(report.continuation[:SAMPLE_CHARACTERS]), style="not bold")
    return Group(
        Text(""),
        figures,
        Text("\nA sample (the prompt is bold):"),
        Padding(sample, (0, 2)),
        Text("\nStart the services again, with all of this in them:"),
        Padding(Text(f"model-trainer up --state {report.state}", style="cyan"), (0, 2)),
        Text("and ask them, in another terminal:"),
        *[
            Padding(Text(line, style="cyan", no_wrap=True, overflow="ignore"), (0, 2))
            for line in next_steps(report)
        ],
        Text(""),
    )


def next_steps(report: DemoReport) -> tuple[str, ...]:
    """Command lines that work once the services are up again."""
    url = "http://127.0.0.1:8000"
    return (
        f"curl {url}/runs/{report.run_id}",
        f"curl '{url}/runs/{report.run_id}/metrics'",
        f"curl {url}/artifacts/models/{report.run_id}",
        f"curl -X POST {url}/runs/{report.run_id}/evaluate -H 'Content-Type: application/json' "
        """-d '{"split": "validation"}'""",
        f"curl -OJ '{url}/artifacts/models/{report.run_id}/download?path=model.safetensors'",
    )
