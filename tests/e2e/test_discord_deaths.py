"""The Discord bot that is killed, starts while everything is away, or is one of two: one message a run, and the right one."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.discord_standin import StandIn
from tests.e2e.discord_town import SHORT, Bot, Town, nothing_leaked, wait_until


@pytest.fixture
def discord(town: Town) -> Iterator[StandIn]:
    """A Discord on which nobody has spoken yet, and no bot."""
    town.forget_what_is_watched()
    with StandIn() as standin:
        yield standin
    nothing_leaked(town, standin)


@pytest.fixture
def new_bot(town: Town, discord: StandIn) -> Iterator[Callable[[], Bot]]:
    """Makes bots; none of them outlives the test."""
    with ExitStack() as stops:

        def make() -> Bot:
            bot = Bot(town.stack, discord)
            stops.callback(bot.stop)
            return bot

        yield make


@pytest.fixture
def bot(new_bot: Callable[[], Bot]) -> Bot:
    """A bot that is connected."""
    bot = new_bot()
    bot.start_and_wait()
    return bot


def test_what_happened_while_the_owner_took_no_messages_is_told_afterwards(
    discord: StandIn, town: Town, bot: Bot
) -> None:
    discord.close_direct_messages(True)
    run_id = town.order(steps=SHORT)
    discord.wait(lambda: any(each.status == 403 for each in discord.requests), "a refused message")
    wait_until(lambda: town.client.run(run_id).status == "completed", "the run")
    refused = len([each for each in discord.requests if each.status == 403])
    discord.close_direct_messages(False)
    bot.stop()  # it would ask again only in minutes
    bot.start_and_wait()
    discord.wait_until_told(run_id, "completed")

    assert refused == 1, "it does not insist"
    assert len(discord.about(run_id)) == 1


def test_a_bot_that_starts_while_everything_is_away_waits_for_it(
    discord: StandIn, town: Town, new_bot: Callable[[], Bot]
) -> None:
    bot = new_bot()
    down = discord.fail(503, path="^/users/@me$")
    town.take_api_away()
    town.stack.redis.stop()
    try:
        bot.start()
        assert down.reached.wait(60), "it asks Discord"
        down.lift()
        discord.wait_until_connected()
        without = discord.ask("trainer status")
    finally:
        town.stack.redis.start()
        town.bring_api_back()
    with town.long_run() as run_id:
        discord.ask("trainer watch", run_id=run_id)
        discord.wait_until_told(run_id, "running")
    discord.wait_until_told(run_id, "cancelled")

    assert bot.stop() == 0
    assert "does not answer" in without.now.text


def test_of_two_bots_one_tells_and_the_other_takes_over_when_it_is_killed(
    discord: StandIn, town: Town, bot: Bot, new_bot: Callable[[], Bot]
) -> None:
    with town.long_run() as run_id:
        first = discord.wait_until_told(run_id, "running")
        second = new_bot()
        second.start_and_wait()
        told = len(first.versions)
        listed = discord.ask("trainer watch")
        bot.kill()
        town.let_the_hold_run_out()
    discord.wait_until_told(run_id, "cancelled")

    assert second.stop() == 0
    assert run_id not in listed.now.text, "the second one follows nothing yet"
    assert told >= 1
    assert discord.about(run_id) == [first]


def test_a_bot_that_was_killed_in_the_middle_of_a_run_goes_on_where_it_was(
    discord: StandIn, town: Town, bot: Bot
) -> None:
    with town.long_run() as run_id:
        before = discord.wait_until_told(run_id, "running")
        bot.kill()
        missed = town.order(steps=SHORT)
        wait_until(lambda: town.client.run(missed).status == "completed", "the run nobody heard of")
    bot.start_and_wait()
    after = discord.wait_until_told(run_id, "cancelled")
    discord.wait_until_told(missed, "completed")

    assert (discord.about(run_id), len(discord.about(missed))) == ([after], 1)
    assert after is before
    assert discord.about(missed)[0].now.pictures


@pytest.mark.parametrize("is_carried_out", [True, False])
def test_a_bot_that_was_killed_while_it_sent_a_message_does_not_send_it_twice(
    discord: StandIn, town: Town, bot: Bot, is_carried_out: bool
) -> None:
    order = discord.hold if is_carried_out else discord.hang
    sending = order(method="POST", path="/messages$")
    with town.long_run() as run_id:
        assert sending.reached.wait(60), discord.told()
        discord.wait(
            lambda: len(discord.about(run_id)) == int(is_carried_out), "the message to be there, or not"
        )
        bot.kill()
        sending.lift()
        discord.world.forget_nonces()
        town.let_the_hold_run_out()
        bot.start_and_wait()
        discord.wait_until_told(run_id, "running")
    discord.wait_until_told(run_id, "cancelled")

    assert len(discord.about(run_id)) == 1


def test_a_wrong_token_ends_the_bot_with_one_sentence_after_one_request(discord: StandIn, town: Town) -> None:
    bot = Bot(town.stack, discord, token="not-the-token-of-anybody")
    before = len(bot.log.read_bytes()) if bot.log.exists() else 0
    bot.start()

    assert bot.wait() == 1
    assert [(each.path, each.status) for each in discord.requests] == [("/users/@me", 401)]
    told = bot.log.read_bytes()[before:].decode()
    assert "DISCORD_TOKEN" in told
    assert "not-the-token-of-anybody" not in told
    assert "Traceback" not in told
