"""The direct channel with the owner: found again where it was written down, else opened."""

import asyncio

import discord

from model_trainer.core.errors import AppError
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.feed import WatchList
from model_trainer.discord_bot.discord_errors import NOT_DONE, Refusal
from model_trainer.discord_bot.notifications.messenger import CannotDeliver

log = get_logger(__name__)

LONG_PAUSE_SECONDS = 30.0
"""At least so long until Discord is asked again for what only people can change."""
UNKNOWN = 404
NOT_A_USER = "Discord knows no user with the id DISCORD_OWNER_ID: copy yours again (README, The Discord bot, tells how)."
IS_A_BOT = (
    "DISCORD_OWNER_ID is the id of a bot: take the one of a person (README, The Discord bot, tells how)."
)
CLOSED_TO_US = (
    "Discord does not let the bot write to its owner. They must share a server with it or have installed it, and allow "
    "direct messages from there (README, The Discord bot). Is DISCORD_OWNER_ID the right one?"
)


class OwnersChannel:
    """Of one owner and one bot. What only people can mend is told in the log once, until the owner could be written to."""

    def __init__(self, owner_id: int, watch_list: WatchList, *, holder: str) -> None:
        """`holder`: as whom this process holds the watch list."""
        self._owner_id = owner_id
        self._list = watch_list
        self._holder = holder
        self._id: int | None = None
        self._is_wrong = False
        self._told = ""

    async def find(self, client: discord.Client) -> int:
        """Its id. Raises CannotDeliver where there is no such channel, and what discord.py raises."""
        if self._id is None and not self._is_wrong:
            self._id = await self._written_down()
        if self._id is None:
            self._id = await self._opened(client)
            self._is_wrong = False
            await self._write_down(self._id)
        return self._id

    def forget(self) -> None:
        """It is not ours: the one that was written down belongs to another bot."""
        self._id = None
        self._is_wrong = True

    def refused(self, why: str, way_out: str) -> CannotDeliver:
        """The owner cannot be written to for now."""
        if self._told != why:
            self._told = why
            log.error("discord_owner_unreachable", detail=way_out)
        return CannotDeliver(why, retry_after_seconds=LONG_PAUSE_SECONDS)

    def reached(self) -> None:
        """The owner could be written to."""
        self._told = ""

    async def _opened(self, client: discord.Client) -> int:
        try:
            user = await client.fetch_user(self._owner_id)
        except NOT_DONE as error:
            if isinstance(error, Refusal) and error.status == UNKNOWN:
                raise self.refused("owner_unknown", NOT_A_USER) from error
            raise
        if user.bot:
            raise self.refused("owner_is_a_bot", IS_A_BOT)
        return (await user.create_dm()).id

    async def _written_down(self) -> int | None:
        try:
            written = (await asyncio.to_thread(self._list.load)).channel or ""
        except AppError as error:
            log.debug("discord_channel_not_read", detail=error.code)
            return None
        owner, _, channel = written.partition(":")
        return int(channel) if owner == str(self._owner_id) and channel.isdecimal() else None

    async def _write_down(self, channel_id: int) -> None:
        """With whose it is: another owner does not speak there. Where it cannot be written, it is opened again next time."""
        try:
            await asyncio.to_thread(self._list.keep, self._holder, channel=f"{self._owner_id}:{channel_id}")
        except AppError as error:
            log.debug("discord_channel_not_kept", detail=error.code)
