"""A run's events as the command line reads them."""

from model_trainer.client.views import ProgressView, ServerEvent, View


class News(View):
    """One event; which fields say something depends on its type (docs/events.md)."""

    type: str = ""
    job_id: str = ""
    phase: str = ""
    message: str = ""
    progress: ProgressView | None = None
    step: int | None = None
    total_steps: int | None = None
    metrics: dict[str, float] = {}
    timings: dict[str, float] = {}
    split: str = ""
    path: str = ""
    why: str = ""
    error_code: str = ""
    num_parameters: int = 0
    device: str = ""
    precision: str = ""
    reason: str | None = None


def news_of(event: ServerEvent) -> News:
    """What an event of a stream says; the envelope (its number and time) is left aside."""
    return News.model_validate(event.data.get("event", event.data))
