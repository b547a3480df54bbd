"""What the bot writes down of a run it follows: how far the story is, what was told of it, and in which message."""

from collections.abc import Iterable

from pydantic import ValidationError

from model_trainer.core.contracts.base import Contract
from model_trainer.core.logging import get_logger
from model_trainer.discord_bot.cards.run_story import RunStory

log = get_logger(__name__)

NUM_ENDED_KEPT = 100
"""A failed run may be resumed and then goes on in its message, so ended runs stay for a while."""
NONCE_LENGTH = 25
"""Discord takes no longer ones."""


class RunNote(Contract):
    """One followed run. Its message is found in `message_id`, or, after a crash, by its mark in the channel."""

    story: RunStory
    told: RunStory | None = None
    """The story as the message shows it; None: nothing was told yet."""
    told_at_ms: int = 0
    """By the bot's clock."""
    message_id: str | None = None
    may_be_sent: bool = False
    """There may be a message although `message_id` is None: look before another one is sent."""
    lacks_curve: bool = False
    """The end was told without the picture that belongs to it."""
    times_gone: int = 0
    """How often the message was deleted and had to be sent anew."""
    by_hand: bool = False
    """Somebody asked to watch it: it is followed whoever ordered it."""
    is_muted: bool = False
    """Somebody asked not to hear of it: the story goes on untold."""

    @property
    def run_id(self) -> str:
        """Whose note it is."""
        return self.story.run_id

    @property
    def has_ended(self) -> bool:
        """Whether the run has, as far as its story goes."""
        return self.story.status.is_terminal

    @property
    def has_news(self) -> bool:
        """Whether something of the story is still to be told."""
        told = self.told or RunStory(run_id=self.run_id)
        # Not by number alone: where Redis lost events, the story that was told may be the longer one.
        return not self.is_muted and (self.story.seq, self.story.heard_at_ms) != (told.seq, told.heard_at_ms)

    @property
    def nonce(self) -> str:
        """The same for each try at one message; another one for a message that takes the place of a deleted one."""
        again = f"-{self.times_gone}" if self.times_gone else ""
        return f"{self.run_id}{again}"[-NONCE_LENGTH:]

    def heard(self, story: RunStory) -> "RunNote":
        """With a story that came further."""
        return self._with({"story": story})

    def about_to_send(self) -> "RunNote":
        """Written down before a message is sent."""
        return self._with({"may_be_sent": True})

    def after_telling(
        self, story: RunStory, *, message_id: str, at_ms: int, lacks_curve: bool = False
    ) -> "RunNote":
        """The message shows this story now; a newer one may wait already."""
        return self._with(
            {
                "told": story,
                "told_at_ms": at_ms,
                "message_id": message_id,
                "may_be_sent": False,
                "lacks_curve": lacks_curve,
            }
        )

    def after_deletion(self) -> "RunNote":
        """The message was deleted: there may be another one."""
        return self._with({"message_id": None, "may_be_sent": True, "times_gone": self.times_gone + 1})

    def watched(self) -> "RunNote":
        """By hand. A run that was muted is told at once."""
        return self._with({"by_hand": True, "is_muted": False, "told": None if self.is_muted else self.told})

    def muted(self) -> "RunNote":
        """Not told any more, until it is watched by hand. Its message stays known."""
        return self._with({"by_hand": False, "is_muted": True})

    def _with(self, changes: dict[str, object]) -> "RunNote":
        return self.model_copy(update=changes)


def read_note(run_id: str, text: str) -> RunNote:
    """A note as it was written down. One that cannot be read (a newer bot's) is begun anew: nothing is told twice, since
    its message is looked for."""
    try:
        return RunNote.model_validate_json(text)
    except ValidationError:
        log.warning("discord_note_unreadable", run_id=run_id)
        return RunNote(story=RunStory(run_id=run_id), may_be_sent=True, by_hand=True)


def outdated(notes: Iterable[RunNote]) -> frozenset[str]:
    """Ids of ended runs that need not be kept: everything is told, and there are NUM_ENDED_KEPT newer ones."""
    done = [note for note in notes if note.has_ended and not note.has_news]
    done.sort(key=lambda note: (note.story.heard_at_ms, note.run_id), reverse=True)
    return frozenset(note.run_id for note in done[NUM_ENDED_KEPT:])
