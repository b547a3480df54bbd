"""Puts the bot together, and lets it speak and listen until it is told to stop."""

import asyncio
from functools import partial

from model_trainer import __version__
from model_trainer.client import TrainerClient
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.feed import EventFeed, WatchList
from model_trainer.discord_bot.bot import Bot
from model_trainer.discord_bot.cards.card import Picture
from model_trainer.discord_bot.cards.curves import loss_curve
from model_trainer.discord_bot.cards.run_story import RunStory
from model_trainer.discord_bot.commands.asking import Asking
from model_trainer.discord_bot.commands.commands import Commands
from model_trainer.discord_bot.discord_messenger import DiscordMessenger
from model_trainer.discord_bot.gate import Gate
from model_trainer.discord_bot.line import Line, end
from model_trainer.discord_bot.needs import Access
from model_trainer.discord_bot.notifications.notifier import Notifier
from model_trainer.discord_bot.owners_channel import OwnersChannel

log = get_logger(__name__)

API_TIMEOUT_SECONDS = 10.0
"""Of the bot's client: an API that hangs holds the bot's few threads no longer."""
CURVE_FILE = "loss.png"


async def serve_bot(
    access: Access, *, feed: EventFeed, watch_list: WatchList, client: TrainerClient, stop: asyncio.Event
) -> None:
    """Until `stop`. Raises UNAUTHORIZED when Discord does not accept the token.

    News are followed, and written down, from the start; they are told as soon as Discord can be reached.
    """
    holder = new_ulid()
    asking = Asking(client)

    async def new_bot() -> Bot:
        return Bot(commands, gate, hints=await commands.hints())

    line = Line(access.token, new_bot)
    messenger = DiscordMessenger(line.bot, OwnersChannel(access.owner_id, watch_list, holder=holder))
    notifier = Notifier(
        feed, watch_list, messenger, partial(curve_of, asking), holder=holder, owner_id=access.owner_id
    )
    commands = Commands(asking, notifier, owner_id=access.owner_id)
    gate = Gate(access.owner_id)
    log.info("discord_bot_started", version=__version__)
    keeping_up = asyncio.create_task(line.keep_up())
    keeping_up.add_done_callback(lambda _ended: stop.set())
    try:
        await notifier.run(stop)
    finally:
        await end(keeping_up)
        asking.close()
        await feed.close()
    if not keeping_up.cancelled():
        keeping_up.result()
    log.info("discord_bot_stopped")


async def curve_of(asking: Asking, story: RunStory) -> Picture | None:
    """The losses of a run as a picture; None when there are too few. Raises what the API answers."""
    series = await asking.ask(lambda client: client.metrics(story.run_id))
    png = await asyncio.to_thread(loss_curve, series.data, family=story.family, run_id=story.run_id)
    return None if png is None else Picture(name=CURVE_FILE, png=png)
