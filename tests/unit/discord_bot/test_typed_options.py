"""What somebody typed so far, out of the nests that Discord puts it into."""

import pytest
from pydantic import ValidationError

from model_trainer.discord_bot.typed_options import Typed, read_typed


def option(name: str, value: object, *, focused: bool = False) -> dict[str, object]:
    return {"name": name, "type": 3, "value": value, **({"focused": True} if focused else {})}


def test_the_option_at_hand_and_those_that_are_filled_in() -> None:
    options = [option("family", "gpt2"), option("max_steps", 12), option("device", "c", focused=True)]

    assert read_typed({"name": "train", "options": options}) == Typed(
        option="device", text="c", others={"family": "gpt2", "max_steps": "12"}
    )


@pytest.mark.parametrize(
    ("data", "name", "text"),
    [
        ({"name": "status", "options": [option("run_id", "", focused=True)]}, "status.run_id", ""),
        (
            {
                "name": "trainer",
                "options": [{"name": "watch", "type": 1, "options": [option("run_id", "01", focused=True)]}],
            },
            "watch.run_id",
            "01",
        ),
    ],
)
def test_a_runs_id_is_named_with_its_command(data: object, name: str, text: str) -> None:
    assert read_typed(data) == Typed(option=name, text=text, others={})


def test_a_command_without_options_has_none() -> None:
    inner = {"name": "runs", "type": 1, "options": []}
    assert read_typed({"name": "trainer", "options": [inner]}) == Typed(option="", text="", others={})


def test_what_is_no_command_is_refused() -> None:
    with pytest.raises(ValidationError):
        read_typed(None)
