"""The owner's channel, as those see it who have something to tell there."""

from typing import Protocol

from model_trainer.discord_bot.cards.card import Card


class Messenger(Protocol):
    """Sends and changes messages in the owner's channel."""

    async def send(self, card: Card, *, nonce: str) -> str:
        """A new message; its id. Raises MessageRefused. The same nonce (at most 25 characters) within a few minutes makes no second one."""
        ...

    async def edit(self, message_id: str, card: Card) -> None:
        """Changes a message, its picture included; raises MessageGone when there is none any more, and MessageRefused."""
        ...

    async def find(self, mark: str) -> str | None:
        """The newest of our own messages whose card has this mark, among the channel's last few hundred."""
        ...


class MessageGone(Exception):
    """Somebody has deleted the message."""


class MessageRefused(Exception):
    """Discord does not take this very message; it may take others."""


class CannotDeliver(Exception):
    """Discord takes nothing for now: it is away, limits us, or does not let us write to the owner. Raised by all of
    Messenger's methods."""

    def __init__(self, why: str, *, retry_after_seconds: float | None = None) -> None:
        """`why`: a short word for the log; `retry_after_seconds`: when Discord said when to come back."""
        super().__init__(why)
        self.why = why
        self.retry_after_seconds = retry_after_seconds
