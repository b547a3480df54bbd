"""The Discord bot while others fail it: lost connections, limits, outages. Nothing is lost, nothing told twice."""

from collections.abc import Iterator

import pytest

from tests.e2e.discord_standin import StandIn
from tests.e2e.discord_town import SHORT, Bot, Town, nothing_leaked, wait_until


@pytest.fixture(scope="module")
def running(town: Town) -> Iterator[StandIn]:
    """One bot for all tests of this file: it comes through all of it."""
    town.forget_what_is_watched()
    with StandIn() as standin:
        bot = Bot(town.stack, standin)
        bot.start_and_wait()
        yield standin
        assert bot.stop() == 0
        nothing_leaked(town, standin)  # with what it logged at its end


@pytest.fixture
def discord(town: Town, running: StandIn) -> Iterator[StandIn]:
    """What a test has left is looked through."""
    yield running
    nothing_leaked(town, running)


def versions_are_new(discord: StandIn, run_id: str) -> bool:
    """Whether no edit of a run's message has repeated the version before it."""
    (said,) = discord.about(run_id)
    return all(one.text != other.text for one, other in zip(said.versions, said.versions[1:], strict=False))


def registered(discord: StandIn) -> int:
    """How often commands were registered."""
    return len([each for each in discord.requests if each.method == "PUT"])


def test_a_gateway_that_is_lost_is_resumed_or_begun_anew_and_nothing_is_told_twice(
    discord: StandIn, town: Town
) -> None:
    gateway = discord.gateway
    sessions, resumes, registrations = len(gateway.sessions), gateway.resumes, registered(discord)
    with town.long_run() as run_id:
        discord.wait_until_told(run_id, "running")
        for code in (4000, None):
            discord.shut_gateway(True)
            discord.drop_gateway(code)
            discord.wait(lambda: not gateway.is_connected, "the connection to be lost")
            asked = discord.give_command("status", {"run_id": run_id})
            discord.shut_gateway(False)
            assert discord.answer(asked).now.mark == run_id
        discord.ask_to_reconnect()
        discord.wait(lambda: gateway.resumes == resumes + 3, "the third resumption")
        discord.invalidate_session()
        discord.wait_until_connected(sessions=sessions + 1)
        assert discord.ask("status", run_id=run_id).now.mark == run_id
    discord.wait_until_told(run_id, "cancelled")

    assert (len(gateway.sessions), gateway.resumes) == (sessions + 1, resumes + 3)
    assert registered(discord) == registrations, "Discord knows the commands already"
    assert versions_are_new(discord, run_id)


def test_limits_and_outages_of_discord_are_waited_for(discord: StandIn, town: Town) -> None:
    limits = [
        discord.limit(0.2, method="POST", path="/messages$", times=2),
        discord.limit(0.2, method="PATCH", path="/messages/", times=1),
        discord.limit(0.2, path="^/(interactions|webhooks)/", times=2),
        discord.limit(0.2, is_global=True),
    ]
    with town.long_run() as run_id:
        discord.wait_until_told(run_id, "running")
        shown = discord.ask("status", run_id=run_id)
        broken = [discord.fail(503, path="/messages"), discord.cut(path="/messages")]
        town.end(run_id)
        for each in broken:
            assert each.reached.wait(60), discord.told()
            each.lift()
        discord.wait_until_told(run_id, "cancelled")

    assert [each.hits for each in limits] == [2, 1, 2, 1]
    assert shown.now.mark == run_id
    assert versions_are_new(discord, run_id)


def test_a_redis_that_goes_and_comes_back_costs_no_news(discord: StandIn, town: Town) -> None:
    with town.long_run() as run_id:
        discord.wait_until_told(run_id, "running")
        town.stack.redis.stop()
        without = discord.ask("trainer watch", run_id=run_id)
        town.stack.redis.start()
        wait_until(town.client.is_ready, "the service to be ready again")
    discord.wait_until_told(run_id, "cancelled")
    later = town.order(steps=SHORT)
    discord.wait_until_told(later, "completed")

    assert "away" in without.now.text or "not" in without.now.text
    assert (len(discord.about(run_id)), len(discord.about(later))) == (1, 1)


def test_an_api_that_is_away_is_said_in_a_sentence(discord: StandIn, town: Town) -> None:
    town.take_api_away()
    try:
        said = [
            discord.ask("trainer runs"),
            discord.ask("status", run_id="01J00000000000000000000000"),
            discord.ask("trainer status"),
        ]
        discord.autocomplete("status", "run_id")  # is answered, with what is known or with nothing
    finally:
        town.bring_api_back()

    assert all("The API does not answer" in each.now.text for each in said), [each.now.text for each in said]
    assert discord.ask("trainer status").now.title == "Model Trainer is ready"
