"""The line to Discord: logged in with growing pauses until it stands, put up again when it is lost for good, let go in time."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from pydantic import SecretStr

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.discord_bot.bot import Bot
from model_trainer.discord_bot.discord_errors import (
    CONNECTION_ENDED,
    NOT_DONE,
    TOKEN_REFUSED,
    Closed,
    Refusal,
    name_of,
)

log = get_logger(__name__)

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
CLOSE_SECONDS = 3.0
"""Discord may take so long to say goodbye."""
CANCEL_SECONDS = 0.5
BAD_TOKEN = 4004
BAD_INTENTS = 4014
BAD_REQUEST = 400
NOT_ACCEPTED = (
    "Discord does not accept DISCORD_TOKEN. In its developer portal, under Bot, take Reset Token and set the new one "
    '(README, "The Discord bot").'
)
COMMANDS_REFUSED = (
    "Discord refuses the bot's commands: in its developer portal, under Installation, tick both User Install and Guild "
    'Install (README, "The Discord bot").'
)


class Line:
    """One bot at a time. discord.py resumes a lost connection by itself; a login it can only do once."""

    def __init__(
        self,
        token: SecretStr,
        new_bot: Callable[[], Awaitable[Bot]],
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._token = token
        self._new_bot = new_bot
        self._sleep = sleep
        self._bot: Bot | None = None

    def bot(self) -> Bot | None:
        """The one that is logged in, if one is."""
        return self._bot

    async def keep_up(self) -> None:
        """Until it is cancelled. Raises UNAUTHORIZED where the token is not accepted: that is not tried again."""
        pause_seconds = 0.0
        while True:
            bot = await self._new_bot()
            try:
                await bot.login(self._token.get_secret_value())
                log.info("discord_logged_in", user_id=None if bot.user is None else str(bot.user.id))
                await self._stay(bot)
            except TOKEN_REFUSED as error:
                raise AppError(ErrorCode.UNAUTHORIZED, NOT_ACCEPTED) from error
            except CONNECTION_ENDED as error:
                raise _ended_by_discord(error) from error
            except NOT_DONE as error:
                if not pause_seconds:
                    log.warning("discord_unreachable", detail=name_of(error))
                pause_seconds = min(LONGEST_PAUSE_SECONDS, pause_seconds * 2 or FIRST_PAUSE_SECONDS)
            finally:
                self._bot = None
                await _close(bot)
            await self._sleep(pause_seconds)

    async def _stay(self, bot: Bot) -> None:
        registering = asyncio.create_task(self._register(bot))
        connected = asyncio.create_task(bot.connect())
        self._bot = bot
        try:
            await asyncio.wait({connected})
            connected.result()
        finally:
            await end(registering)
            await end(connected)

    async def _register(self, bot: Bot) -> None:
        """News are told meanwhile, and commands that Discord knows from before are answered."""
        pause_seconds = 0.0
        while True:
            try:
                await bot.register_commands()
            except NOT_DONE as error:
                if not pause_seconds:
                    is_our_set_up = isinstance(error, Refusal) and error.status == BAD_REQUEST
                    detail = COMMANDS_REFUSED if is_our_set_up else name_of(error)
                    log.warning("discord_commands_not_registered", detail=detail)
                pause_seconds = min(LONGEST_PAUSE_SECONDS, pause_seconds * 2 or FIRST_PAUSE_SECONDS)
                await self._sleep(pause_seconds)
            else:
                log.info("discord_commands_registered")
                return


async def end(task: "asyncio.Task[None]") -> None:
    """Cancels until it has ended: on Python 3.11 wait_for() forgets a cancellation that comes with what it waited for."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_SECONDS)
    if not task.cancelled():
        task.exception()  # whoever it concerns has heard of it, or does not want to any more


def _ended_by_discord(error: Exception) -> AppError:
    """discord.py goes on by itself after every code but those that will come again."""
    code = error.code if isinstance(error, Closed) else BAD_INTENTS
    if code == BAD_TOKEN:
        return AppError(ErrorCode.UNAUTHORIZED, NOT_ACCEPTED)
    message = f"Discord has ended the connection for good (code {code}): is there a newer version of the bot?"
    return AppError(ErrorCode.INTERNAL, message)


async def _close(bot: Bot) -> None:
    with suppress(TimeoutError):  # it need not be a good farewell
        async with asyncio.timeout(CLOSE_SECONDS):
            await bot.close()
    await bot.http.close()
