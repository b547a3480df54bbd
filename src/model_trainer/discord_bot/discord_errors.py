"""What discord.py raises, typed: what Discord refused, and what keeps it from being asked at all."""

from typing import Protocol, runtime_checkable

import aiohttp
import discord


@runtime_checkable
class Refusal(Protocol):
    """discord.HTTPException: an HTTP status, and Discord's own code (0 for none)."""

    status: int
    code: int


@runtime_checkable
class Closed(Protocol):
    """discord.ConnectionClosed: with which code the gateway ended the connection."""

    code: int
    reason: str


class _Library(Protocol):
    @property
    def HTTPException(self) -> type[Exception]: ...  # noqa: N802 - the library's name
    @property
    def LoginFailure(self) -> type[Exception]: ...  # noqa: N802 - the library's name
    @property
    def ConnectionClosed(self) -> type[Exception]: ...  # noqa: N802 - the library's name


_DISCORD: _Library = discord
NOT_DONE: tuple[type[Exception], ...] = (
    _DISCORD.HTTPException,
    discord.RateLimited,
    discord.GatewayNotFound,
    aiohttp.ClientError,
    OSError,
)
"""Of a call: it may be tried again, or not, but it is nobody's mistake here. A timeout is an OSError."""
TOKEN_REFUSED = _DISCORD.LoginFailure
CONNECTION_ENDED: tuple[type[Exception], ...] = (_DISCORD.ConnectionClosed, discord.PrivilegedIntentsRequired)
"""By Discord, and it would do so again."""


def name_of(error: BaseException) -> str:
    """For the log: numbers and names, nothing that anybody wrote."""
    return f"{error.status} {error.code}" if isinstance(error, Refusal) else type(error).__name__
