"""Who may ask the bot: its owner, in the direct channel with it. Everything else is passed over, with one line in the log a kind."""

from typing import Literal

from model_trainer.core.logging import get_logger

log = get_logger(__name__)

Thing = Literal["command", "button", "suggestion", "message"]
Place = Literal["direct", "guild", "group"]
"""group: any channel without a guild in which the bot is not alone with somebody."""


class Gate:
    """Knows the owner, and what it has told the log already: one line for each thing, place and kind of person."""

    def __init__(self, owner_id: int) -> None:
        """`owner_id`: DISCORD_OWNER_ID."""
        self._owner_id = owner_id
        self._told: set[tuple[Thing, Place, bool]] = set()

    def admits(self, thing: Thing, *, user_id: int, place: Place) -> bool:
        """Whether it is to be answered. A plain message never is: the bot cannot read what it says."""
        is_owner = user_id == self._owner_id
        if is_owner and place == "direct" and thing != "message":
            return True
        if (thing, place, is_owner) not in self._told:
            self._told.add((thing, place, is_owner))
            who = "its owner" if is_owner else "somebody who is not DISCORD_OWNER_ID"
            detail = f"a {thing} of {who}, place: {place}"
            log.warning("discord_passed_over", user_id=str(user_id), detail=detail)
        return False
