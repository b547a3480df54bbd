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
    """The figures and a sample."""
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
    sample = Text(printable(report.prompt), style="bold")
    sample.append(printable(report.continuation[:SAMPLE_CHARACTERS]), style="not bold")
    return Group(figures, Text("\nA sample, behind a prompt:"), Padding(sample, (0, 2)))


def render_next_steps(report: DemoReport) -> Text:
    """Where things lie and what to try; every line is whole, to be copied."""
    lines = Text("\nThe model:     ").append(report.model_folder)
    lines.append("\nThe tokenizer: ").append(report.tokenizer_folder)
    lines.append("\n\nStart the services again, with all of this in them:\n")
    lines.append(f"  model-trainer up --state {report.state}\n", style="cyan")
    lines.append("and ask them, in another terminal:\n")
    for line in next_steps(report):
        lines.append(f"  {line}\n", style="cyan")
    return lines


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
