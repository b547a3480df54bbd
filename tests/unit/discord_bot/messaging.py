"""A messenger that is logged in, for as long as a test has something to tell."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import TypeVar

import discord

from model_trainer.discord_bot.discord_messenger import DiscordMessenger
from model_trainer.discord_bot.owners_channel import OwnersChannel
from model_trainer.infra.persistence.memory_watch_list import MemoryWatchList
from tests.e2e.discord_standin import TOKEN
from tests.e2e.discord_world import OWNER_ID

T = TypeVar("T")
HOLDER = "01JD000000000000000000HOLD"


@asynccontextmanager
async def opened(
    kept: MemoryWatchList,
    *,
    owner_id: str = OWNER_ID,
    patience_seconds: float = 20.0,
) -> AsyncIterator[DiscordMessenger]:
    client = discord.Client(intents=discord.Intents(guilds=True), max_ratelimit_timeout=30.0)
    channel = OwnersChannel(int(owner_id), kept, holder=HOLDER)
    try:
        await client.login(TOKEN)
        yield DiscordMessenger(lambda: client, channel, patience_seconds=patience_seconds)
    finally:
        await client.close()


def with_messenger(
    kept: MemoryWatchList,
    action: Callable[[DiscordMessenger], Coroutine[object, object, T]],
    *,
    owner_id: str = OWNER_ID,
    patience_seconds: float = 20.0,
) -> T:
    """What `action` comes to."""

    async def run() -> T:
        async with opened(kept, owner_id=owner_id, patience_seconds=patience_seconds) as messenger:
            return await action(messenger)

    return asyncio.run(run())
