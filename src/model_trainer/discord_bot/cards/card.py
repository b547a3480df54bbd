"""What the bot shows: one card a message, within Discord's limits whatever it is made of.

Knows nothing of Discord's library, and holds only text that is safe to send.
"""

from dataclasses import dataclass
from typing import Literal, NewType

from model_trainer.discord_bot.cards.lengths import length_of, shortened

SafeText = NewType("SafeText", str)
"""Made by safe_text alone: no mention, no markdown, no control character, nothing that looks like a path or a secret."""

Tone = Literal["waiting", "running", "still", "good", "bad", "plain"]
ButtonStyle = Literal["quiet", "primary", "success", "danger"]

LONGEST_TITLE = 256
LONGEST_TEXT = 4096
LONGEST_MARK = 2048
LONGEST_FIELD_NAME = 256
LONGEST_FIELD_VALUE = 1024
LONGEST_LABEL = 80
LONGEST_PRESS = 100
LONGEST_SUGGESTION = 100
MOST_FIELDS = 25
MOST_BUTTONS = 25
"""Five in each of five rows."""
LONGEST_CARD = 6000
"""Title, text, mark, names and values of fields, all together."""
NOTHING = SafeText("\u2013")
"""Stands where Discord wants some text and there is none."""


@dataclass(frozen=True, slots=True)
class Field:
    """A name and a value; short ones stand side by side."""

    name: SafeText
    value: SafeText
    is_short: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", _fitted(self.name, LONGEST_FIELD_NAME))
        object.__setattr__(self, "value", _fitted(self.value, LONGEST_FIELD_VALUE))


@dataclass(frozen=True, slots=True)
class Button:
    """Something to press; `press` comes back when it is pressed (at most 100 characters)."""

    label: SafeText
    press: str
    style: ButtonStyle = "quiet"

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", _fitted(self.label, LONGEST_LABEL))


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG file that belongs to a card."""

    name: str
    png: bytes


@dataclass(frozen=True, slots=True)
class Card:
    """One message. It fits itself to Discord's limits when it is made, because Discord refuses a message that does not."""

    title: SafeText
    text: SafeText = SafeText("")
    fields: tuple[Field, ...] = ()
    tone: Tone = "plain"
    mark: str = ""
    """Stands at its foot: the run id by which a run's message is found again."""
    buttons: tuple[Button, ...] = ()
    picture: Picture | None = None

    def __post_init__(self) -> None:
        title, mark = _fitted(self.title, LONGEST_TITLE), shortened(self.mark, LONGEST_MARK)
        room = LONGEST_CARD - length_of(title) - length_of(mark)
        text = shortened(self.text, min(LONGEST_TEXT, room))
        object.__setattr__(self, "title", title)
        object.__setattr__(self, "mark", mark)
        object.__setattr__(self, "text", SafeText(text))
        object.__setattr__(self, "fields", _that_fit(self.fields, room - length_of(text)))
        object.__setattr__(self, "buttons", _that_can_be_pressed(self.buttons))


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody who gave a command or pressed a button is shown."""

    card: Card
    in_place: bool = False
    """It takes the place of the answer whose button was pressed, instead of standing beneath it."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One value that is offered while an option is typed."""

    label: SafeText
    value: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", _fitted(self.label, LONGEST_SUGGESTION))


def _fitted(text: SafeText, limit: int) -> SafeText:
    """Within the limit, and not blank."""
    return SafeText(shortened(text, limit)) if text.strip() else NOTHING


def _that_fit(fields: tuple[Field, ...], room: int) -> tuple[Field, ...]:
    """The first fields that find room together."""
    kept: list[Field] = []
    for field in fields[:MOST_FIELDS]:
        room -= length_of(field.name) + length_of(field.value)
        if room < 0:
            break
        kept.append(field)
    return tuple(kept)


def _that_can_be_pressed(buttons: tuple[Button, ...]) -> tuple[Button, ...]:
    """No press twice, which Discord refuses, and none too long to come back whole."""
    by_press = {one.press: one for one in reversed(buttons) if 0 < length_of(one.press) <= LONGEST_PRESS}
    return tuple(one for one in buttons if by_press.get(one.press) is one)[:MOST_BUTTONS]
