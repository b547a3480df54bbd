"""Descriptions of options, from schemas and without them."""

import asyncio
import threading

import httpx
import pytest

from model_trainer.client.views import KindView
from model_trainer.discord_bot.commands.hints import OURS, option_hint, train_hints
from model_trainer.models.gpt2 import FAMILY as GPT2
from model_trainer.models.text_detector import FAMILY as TEXT_DETECTOR
from tests.unit.client.fake_api import FakeApi
from tests.unit.discord_bot.desk import WalnutFamily, desk_over, kind_of

KINDS = [kind_of(GPT2), kind_of(TEXT_DETECTOR), kind_of(WalnutFamily())]


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("batch_size", "Windows in one micro-batch (a whole number at least 1 and at most 1,000,000)"),
        ("device", "What to train on (one of: auto, cpu, cuda)"),
        (
            "learning_rate",
            "Peak learning rate of AdamW or SGD (with muon: of the parameters that are not matrices)",
        ),
        ("family", OURS["family"]),
        ("corpus", OURS["corpus"]),
        ("settings", OURS["settings"]),
    ],
)
def test_an_option_is_described_by_the_families(option: str, hint: str) -> None:
    described = option_hint(option, KINDS)
    assert described.startswith(hint)
    assert len(described) <= 100


def test_bounds_are_said_where_all_families_agree() -> None:
    body = {"properties": {"seed": {"type": "integer", "minimum": 5, "description": "Fixes all."}}}
    other = KindView.model_validate({"name": "other", "json_schema": body})
    assert option_hint("seed", [other]) == "Fixes all (a whole number at least 5)"
    assert option_hint("seed", [other, *KINDS]) == "Fixes all (by family)"
    assert option_hint("seed", []) == OURS["seed"]


def test_what_finds_no_room_is_left_out_whole() -> None:
    assert option_hint("max_seq_len", KINDS).endswith("(and the context of a transformer)")


def test_an_api_that_is_away_or_slow_leaves_our_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    with desk_over(FakeApi().handle) as desk:
        assert desk.run(lambda commands: commands.hints()) == OURS
    assert "NOT_FOUND" in capsys.readouterr().out
    end = threading.Event()

    def hang(_request: httpx.Request) -> httpx.Response:
        assert end.wait(10)
        return httpx.Response(200, json={"families": []})

    with desk_over(hang) as desk:

        async def test() -> None:
            assert await train_hints(desk.asking, patience_seconds=0.01) == OURS
            end.set()

        asyncio.run(test())
    assert "timeout" in capsys.readouterr().out
