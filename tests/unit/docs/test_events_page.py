from pathlib import Path
from typing import get_args

import pytest

from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.events import SSE_NAMES, Event

PAGE = Path(__file__).parents[3] / "docs" / "events.md"


@pytest.mark.parametrize("kind", get_args(Event), ids=lambda kind: kind.__name__)
def test_the_page_on_events_has_a_true_row_for_each_event(kind: type[Contract]) -> None:
    fields = kind.model_fields
    name = fields["type"].default
    own = ", ".join(f"`{field}`" for field in fields if field not in ("type", "job_id", "user_id"))
    row = f"| `{name}` | `{SSE_NAMES[name]}` | {own} | {(kind.__doc__ or '').strip()} |"
    assert row in PAGE.read_text().splitlines()


def test_the_page_on_events_names_no_event_that_is_gone() -> None:
    names = {line.split("`")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `trainer.")}
    assert names == set(SSE_NAMES)
