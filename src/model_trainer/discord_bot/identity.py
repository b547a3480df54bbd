"""Asks Discord whose token it is, for the doctor."""

import asyncio

import discord
from pydantic import SecretStr

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.discord_bot.cards.safe_text import name
from model_trainer.discord_bot.discord_errors import NOT_DONE, TOKEN_REFUSED
from model_trainer.discord_bot.line import NOT_ACCEPTED

PATIENCE_SECONDS = 5.0


async def whose(token: SecretStr, *, patience_seconds: float = PATIENCE_SECONDS) -> str:
    """The bot's name. Raises UNAUTHORIZED when Discord does not accept the token, SERVICE_UNAVAILABLE when it is away."""
    client = discord.Client(intents=discord.Intents(guilds=True))  # without it the library warns
    try:
        async with asyncio.timeout(patience_seconds):
            await client.login(token.get_secret_value())
    except TOKEN_REFUSED as error:
        raise AppError(ErrorCode.UNAUTHORIZED, NOT_ACCEPTED) from error
    except NOT_DONE as error:
        raise AppError(ErrorCode.SERVICE_UNAVAILABLE, "Discord cannot be reached from here.") from error
    finally:
        await client.close()
    return "" if client.user is None else name(client.user.name)
