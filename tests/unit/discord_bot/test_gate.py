"""Who may ask the bot, and that everybody else costs one line in the log."""

import itertools

import pytest
import structlog

from model_trainer.discord_bot.gate import Gate, Place, Thing

OWNER, STRANGER = 7, 8
THINGS: tuple[Thing, ...] = ("command", "button", "suggestion", "message")
PLACES: tuple[Place, ...] = ("direct", "guild", "group")


@pytest.mark.parametrize(
    ("thing", "place", "user_id"), list(itertools.product(THINGS, PLACES, (OWNER, STRANGER)))
)
def test_only_what_the_owner_asks_in_the_direct_channel_is_answered(
    thing: Thing, place: Place, user_id: int
) -> None:
    is_asked = thing != "message" and place == "direct" and user_id == OWNER

    assert Gate(OWNER).admits(thing, user_id=user_id, place=place) is is_asked


def test_each_kind_of_thing_that_is_passed_over_is_logged_once() -> None:
    gate = Gate(OWNER)
    everything = list(itertools.product(THINGS, PLACES, (OWNER, STRANGER, STRANGER + 1)))

    with structlog.testing.capture_logs() as lines:
        for thing, place, user_id in everything * 3:
            gate.admits(thing, user_id=user_id, place=place)

    told = [line["detail"] for line in lines]
    assert len(told) == len(set(told)) == 24 - 3
    assert {line["event"] for line in lines} == {"discord_passed_over"}
    assert lines[0] == {
        "event": "discord_passed_over",
        "log_level": "warning",
        "user_id": str(STRANGER),
        "detail": "a command of somebody who is not DISCORD_OWNER_ID, place: direct",
    }
