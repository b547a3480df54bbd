"""What is offered while settings are typed: names of the family's fields, and behind a name what may stand there."""

from collections.abc import Callable, Iterator

from pydantic import JsonValue

from model_trainer.discord_bot.cards.card import SafeText, Suggestion
from model_trainer.discord_bot.cards.safe_text import joined, say
from model_trainer.discord_bot.commands.family_schema import (
    FAMILY,
    LABELS,
    OWNER,
    TOKENIZER,
    FamilySchema,
    SpecField,
    as_text,
)
from model_trainer.discord_bot.commands.settings_text import cut_at_commas
from model_trainer.discord_bot.commands.train_form import PLAIN_OPTIONS

DEFAULT, EXAMPLE, LEAST = SafeText(" (default)"), SafeText(" (example)"), SafeText(" (the least)")
NO_NOTE = SafeText("")


def value_suggestions(field: SpecField, typed: str, *, example: JsonValue = None) -> list[Suggestion]:
    """What may stand in one field: its choices; else what stands there when nothing is given, an example, the least."""
    return [
        Suggestion(label=joined([say("{value}", value=value), note], ""), value=value)
        for value, note in _values(field, example)
        if value.lower().startswith(typed.lower())
    ]


def setting_suggestions(schema: FamilySchema, typed: str) -> list[Suggestion]:
    """Whole lines that go on from what was typed: with a name while one is typed, with a value behind its =."""
    *done, last = cut_at_commas(typed)
    kept = ", ".join(part.strip() for part in done if part.strip())
    before = f"{kept}, " if kept else ""
    field_name, equals, value = last.strip().partition("=")
    if not equals:
        given = {part.partition("=")[0].strip() for part in done}
        wanted = field_name.strip().lower()
        fields = [field for field in _offered(schema) if field.name not in given and wanted in field.name]
        # What must be given comes first, then what begins as was typed.
        fields.sort(key=_rank(wanted))
        return [Suggestion(_described(field), f"{before}{field.name}=") for field in fields]
    return [
        Suggestion(
            say("{name} = {value}", name=field.name, value=one.label), f"{before}{field.name}={one.value}"
        )
        for field in _offered(schema)
        if field.name == field_name.strip()
        for one in value_suggestions(field, value.strip())
    ]


def _values(field: SpecField, example: JsonValue) -> Iterator[tuple[str, SafeText]]:
    """Each value once, with what there is to say of it."""
    default = None if field.default is None else as_text(field.default)
    choices = field.choices or (("true", "false") if "boolean" in field.types else ())
    if choices:
        yield from ((choice, DEFAULT if choice == default else NO_NOTE) for choice in choices)
        return
    noted = ((field.default, DEFAULT), (example, EXAMPLE), (field.minimum, LEAST))
    told: set[str] = set()
    for value, note in noted:
        if value is not None and not isinstance(value, list | dict) and as_text(value) not in told:
            told.add(as_text(value))
            yield as_text(value), note


def _offered(schema: FamilySchema) -> Iterator[SpecField]:
    """Fields that have no option of their own, those inside mappings instead of the mappings."""
    corpus = schema.corpus()
    named = [schema.find(option) for option in PLAIN_OPTIONS]
    taken = {
        FAMILY,
        OWNER,
        TOKENIZER,
        LABELS,
        *(field.name for field in (corpus, *named) if field is not None),
    }
    return (field for field in schema.fields.values() if field.name not in taken and not field.is_nested)


def _rank(wanted: str) -> Callable[[SpecField], tuple[bool, bool]]:
    def rank(field: SpecField) -> tuple[bool, bool]:
        return not field.is_required, not field.name.startswith(wanted)

    return rank


def _described(field: SpecField) -> SafeText:
    default = "" if field.default is None else f", default {as_text(field.default)}"
    return say("{name}: {wanted}{default}", name=field.name, wanted=field.wanted(), default=default)
