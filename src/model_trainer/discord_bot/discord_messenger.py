"""The owner's direct channel, over discord.py: cards as embeds with buttons, and Discord's refusals as the messenger's two."""

import asyncio
import io
from collections.abc import Callable, Coroutine
from typing import Protocol, TypeVar

import discord

from model_trainer.discord_bot.cards.card import ButtonStyle, Card, Tone
from model_trainer.discord_bot.discord_errors import NOT_DONE, Refusal, name_of
from model_trainer.discord_bot.notifications.messenger import CannotDeliver, MessageGone, MessageRefused
from model_trainer.discord_bot.owners_channel import CLOSED_TO_US, LONG_PAUSE_SECONDS, OwnersChannel

PATIENCE_SECONDS = 25.0
"""So long a call may take. It is not broken off then: discord.py would not survive that in the middle of a global limit."""
NUM_SEARCHED = 300
"""Messages of the channel, from the newest on."""
NOBODY = discord.AllowedMentions.none()
COLOURS: dict[Tone, discord.Colour] = {
    "waiting": discord.Colour.light_grey(),
    "running": discord.Colour.blue(),
    "still": discord.Colour.gold(),
    "good": discord.Colour.green(),
    "bad": discord.Colour.red(),
    "plain": discord.Colour.dark_grey(),
}
STYLES: dict[ButtonStyle, discord.ButtonStyle] = {
    "quiet": discord.ButtonStyle.secondary,
    "primary": discord.ButtonStyle.primary,
    "success": discord.ButtonStyle.success,
    "danger": discord.ButtonStyle.danger,
}

T = TypeVar("T")


class _Ui(Protocol):
    """The part of discord.ui in use, typed."""

    def Button(  # noqa: N802 - the library's name
        self, *, label: str, custom_id: str, style: discord.ButtonStyle
    ) -> discord.ui.Item[discord.ui.View]: ...


_UI: _Ui = discord.ui


def embed_of(card: Card) -> discord.Embed:
    """The card without its buttons."""
    embed = discord.Embed(title=card.title, description=card.text or None, colour=COLOURS[card.tone])
    for field in card.fields:
        embed.add_field(name=field.name, value=field.value, inline=field.is_short)
    if card.mark:
        embed.set_footer(text=card.mark)
    if card.picture is not None:
        embed.set_image(url=f"attachment://{card.picture.name}")
    return embed


def view_of(card: Card) -> discord.ui.View:
    """The card's buttons, maybe none. Nobody waits for them: what is pressed says all there is to know, after a restart too."""
    view = discord.ui.View(timeout=None)
    for button in card.buttons:
        view.add_item(_UI.Button(label=button.label, custom_id=button.press, style=STYLES[button.style]))
    view.stop()
    return view


def files_of(card: Card) -> list[discord.File]:
    """The card's picture, if it has one."""
    picture = card.picture
    return [] if picture is None else [discord.File(io.BytesIO(picture.png), filename=picture.name)]


class DiscordMessenger:
    """Implements Messenger. One call at a time: an edit that hangs does not overtake the next one."""

    def __init__(
        self,
        client: Callable[[], discord.Client | None],
        channel: OwnersChannel,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """`client`: the one that is logged in, if one is."""
        self._client = client
        self._channel = channel
        self._patience_seconds = patience_seconds
        self._calls = asyncio.Lock()
        self._hanging: asyncio.Task[object] | None = None

    async def send(self, card: Card, *, nonce: str) -> str:
        """See Messenger."""

        async def send(channel: discord.PartialMessageable) -> str:
            sent = await channel.send(
                embed=embed_of(card),
                view=view_of(card),
                files=files_of(card),
                nonce=nonce,
                allowed_mentions=NOBODY,
            )
            return str(sent.id)

        return await self._call(send)

    async def edit(self, message_id: str, card: Card) -> None:
        """See Messenger."""

        async def edit(channel: discord.PartialMessageable) -> None:
            await channel.get_partial_message(int(message_id)).edit(
                embed=embed_of(card), view=view_of(card), attachments=files_of(card), allowed_mentions=NOBODY
            )

        await self._call(edit)

    async def find(self, mark: str) -> str | None:
        """See Messenger. Answers to commands are none of these messages, whatever they show."""

        async def find(channel: discord.PartialMessageable) -> str | None:
            async for message in channel.history(limit=NUM_SEARCHED):
                marks = [embed.footer.text for embed in message.embeds]
                if message.author == client.user and message.interaction_metadata is None and mark in marks:
                    return str(message.id)
            return None

        client = self._logged_in()
        return await self._call(find)

    def _logged_in(self) -> discord.Client:
        client = self._client()
        if client is None:
            raise CannotDeliver("not_connected")
        return client

    async def _call(self, action: Callable[[discord.PartialMessageable], Coroutine[object, object, T]]) -> T:
        client = self._logged_in()

        async def call() -> T:
            channel = client.get_partial_messageable(
                await self._channel.find(client), type=discord.ChannelType.private
            )
            return await action(channel)

        async with self._calls:
            try:
                answer = await self._in_time(call)
            except NOT_DONE as error:
                raise self._translated(error) from error
        self._channel.reached()
        return answer

    def _translated(self, error: Exception) -> Exception:
        """As those know it who have something to tell."""
        if isinstance(error, discord.RateLimited):
            return CannotDeliver("rate_limited", retry_after_seconds=error.retry_after)
        if isinstance(error, Refusal):
            match error.status, error.code:
                case _, 10008:  # unknown message
                    return MessageGone()
                case _, 10003 | 50001:  # unknown channel, no access to it
                    self._channel.forget()
                case 400, _:
                    return MessageRefused(name_of(error))
                case 403, _:
                    return self._channel.refused("closed_to_us", CLOSED_TO_US)
                case 429, _:
                    return CannotDeliver("rate_limited", retry_after_seconds=LONG_PAUSE_SECONDS)
                case _:
                    pass
        return CannotDeliver(name_of(error))

    async def _in_time(self, call: Callable[[], Coroutine[object, object, T]]) -> T:
        if self._hanging is not None:
            await self._wait_for(self._hanging)
            self._hanging = None
        task = asyncio.create_task(call())
        try:
            await self._wait_for(task)
        except (CannotDeliver, asyncio.CancelledError):
            self._hanging = task
            # Whoever made the call makes it again; what this one comes to interests nobody.
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            raise
        return task.result()

    async def _wait_for(self, task: "asyncio.Task[T]") -> None:
        done, _ = await asyncio.wait({task}, timeout=self._patience_seconds)
        if not done:
            raise CannotDeliver("no_answer")
