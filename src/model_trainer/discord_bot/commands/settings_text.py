"""Settings as somebody types them in one line: key=value, key=value."""

from model_trainer.core.errors import AppError, ErrorCode, FieldFault

OPENING = {"[": "]", "{": "}", "(": ")"}
QUOTES = "\"'"
LONGEST = 1000
"""Characters of one line."""
FORM = "must be of the form key=value, key=value"


def read_settings(text: str) -> list[tuple[str, str]]:
    """Each name with its value as it was typed; raises CONFIG_INVALID for what is no such line."""
    if len(text) > LONGEST:
        raise _refused(f"must be at most {LONGEST:,} characters: order longer ones over the API")
    pairs: list[tuple[str, str]] = []
    for part in split_settings(text):
        name, equals, value = part.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise _refused(FORM)
        pairs.append((name.strip(), value.strip()))
    return pairs


def split_settings(text: str) -> list[str]:
    """The parts between commas, blank ones left out; commas inside brackets and quotes belong to a value."""
    return [part.strip() for part in cut_at_commas(text) if part.strip()]


def cut_at_commas(text: str) -> list[str]:
    """The parts between commas, as they stand; the last is what is being typed."""
    parts = [""]
    closing: list[str] = []
    quote = ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in QUOTES and parts[-1].rstrip().endswith(("=", ",", ":", *OPENING)):
            # Elsewhere it is an apostrophe.
            quote = character
        elif character in OPENING:
            closing.append(OPENING[character])
        elif closing and character == closing[-1]:
            closing.pop()
        elif character == "," and not closing:
            parts.append("")
            continue
        parts[-1] += character
    return parts


def _refused(why: str) -> AppError:
    return AppError(ErrorCode.CONFIG_INVALID, f"settings {why}.", faults=[FieldFault("/settings", why)])
