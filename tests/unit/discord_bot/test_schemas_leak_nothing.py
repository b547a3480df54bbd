"""Hostile and secret-looking texts everywhere in a family's schema: what is offered, hinted at and refused by it."""

import json

import httpx
import pytest

from model_trainer.discord_bot.commands.train_form import TrainForm
from tests.unit.discord_bot.desk import desk_over
from tests.unit.discord_bot.hostile import LOUD, PRIVATE, assert_harmless, assert_silent
from tests.unit.discord_bot.told import RUN


def schema_of(text: str) -> dict[str, object]:
    """A family whose schema says the same everywhere."""
    said = {"type": "string", "description": text, "default": text}
    names = ("corpus_path", "tokenizer_id", "shell", "max_steps", "device", "seed", text)
    fields: dict[str, object] = dict.fromkeys(names, said)
    nested = {"properties": {text: said, "inner": said}, "default": {"inner": text}}
    properties = fields | {"precision": {"enum": [text], "description": text}, "nested": nested}
    example = {"max_steps": text, "shell": text}
    schema = {"properties": properties, "required": ["shell", text]}
    return {"name": "gpt2", "title": "GPT-2", "example": example, "json_schema": schema}


@pytest.mark.parametrize("text", [*PRIVATE, *LOUD[:5]], ids=lambda text: ascii(text[:30]))
def test_of_what_a_schema_says_nothing_private_gets_out(text: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=json.dumps({"families": [schema_of(text)]}))

    form = TrainForm(family="gpt2", corpus="books", tokenizer=RUN, device="tpu", settings="precision=1, x=2")
    with desk_over(answer) as desk:
        options = ("max_steps", "device", "precision", "seed", "settings")
        offers = [one for option in options for one in desk.offers(option, family="gpt2")]
        offers += desk.offers("settings", "shell=", family="gpt2")
        hints = desk.run(lambda commands: commands.hints()).values()
        refused = desk.run(lambda commands: commands.train(form, idempotency_key="k"))

    labels: list[object] = [*(one.label for one in offers), *hints, refused]
    assert_harmless(labels)
    if text in PRIVATE:
        assert_silent([labels, offers])
