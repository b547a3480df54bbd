"""Which label values mean human and which AI, proven or refused: published data has them either way round."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model_trainer.core.contracts.data_report import LabelMeaning, SourceFile
from model_trainer.core.contracts.detector import Label
from model_trainer.engine.data.labelled.faults import bad_field, shown
from model_trainer.engine.data.labelled.names import meaning_in_column, meaning_of_name

NAMES: dict[Label, str] = {0: "human", 1: "AI"}
_WHOLE = re.compile(r"([+-]?)0*(\d+)(?:\.0*)?")
_WAY_OUT = (
    'say what each value means with label_map (for example {"0": 0, "1": 1}; on the command line --label-map 0=human '
    "--label-map 1=ai), use values such as human and ai, or name a column with the generator of every text"
)


@dataclass(slots=True)
class ValueSeen:
    """One value of a label column, and what the generator column says beside it."""

    first_row: int
    num_rows: int = 0
    human: int = 0
    """Rows whose generator clearly says human."""
    machine: int = 0
    """Rows whose generator clearly says AI."""
    other: int = 0
    """Rows whose generator says something else; rows without one count nowhere."""

    def add(self, generator: str | None) -> None:
        """One more row."""
        self.num_rows += 1
        if generator is not None:
            meaning = meaning_of_name(generator)
            self.human += meaning == 0
            self.machine += meaning == 1
            self.other += meaning is None


def label_value(cell: object) -> str | None:
    """A label cell as text: 1, 1.0, "1" and "1.0" are one value; None for a missing one (null, NaN, empty) and for
    what can be no label (lists, bytes)."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if not isinstance(cell, (str, int, float)):
        return None
    text = str(cell).strip()
    if text.casefold() in ("", "nan", "null"):
        return None
    whole = _WHOLE.fullmatch(text)
    if whole is not None:
        sign: str = whole[1]
        digits: str = whole[2]
        return f"-{digits}" if sign == "-" else digits
    return text.casefold() if text.casefold() in ("true", "false") else text


def meanings(
    values: Mapping[str, ValueSeen], *, column: str, label_map: Mapping[str, Label], file: str
) -> tuple[tuple[LabelMeaning, ...], tuple[str, ...]]:
    """What every value of a file's label column means, and warnings. Raises CONFIG_INVALID, naming value and row."""
    asked = {label_value(name) or name: label for name, label in label_map.items()}
    proven: list[LabelMeaning] = []
    warnings: list[str] = []
    for value, seen in values.items():
        meaning = _meaning(value, values, column=column, asked=asked)
        if meaning is None:
            raise bad_field(
                "/columns/label_map" if asked else "/columns/label_col",
                f"column {column!r} holds {shown(value)} (first in row {seen.first_row}), and nothing proves whether that "
                f"is human or AI; {_WAY_OUT}",
                file=file,
            )
        proven.append(meaning)
        denied = _denied(meaning, seen)
        if denied is not None and value not in asked:
            raise bad_field(
                "/columns/label_map",
                f"in column {column!r}, {shown(value)} means {NAMES[meaning.label]} ({meaning.evidence}), but {denied}; "
                "mend the data, or say with label_map what is right",
                file=file,
            )
        if denied is not None:
            warnings.append(f"{file}: label_map says {shown(value)} is {NAMES[meaning.label]}, but {denied}.")
    return tuple(proven), tuple(warnings)


def require_one_meaning(files: Sequence[SourceFile]) -> None:
    """Raises CONFIG_INVALID when the same value of the same column is proven human in one file and AI in another."""
    known: dict[tuple[str, str], tuple[Label, str]] = {}
    for file in files:
        column = next((choice.column for choice in file.columns if choice.role == "label"), None)
        for meaning in file.labels:
            first, where = known.setdefault((column or "", meaning.value), (meaning.label, file.path))
            if first != meaning.label:
                raise bad_field(
                    "/data_paths",
                    f"column {column!r}: {shown(meaning.value)} means {NAMES[first]} in {where} and "
                    f"{NAMES[meaning.label]} in {file.path}; mend one of them, or say with label_map what it means in both",
                )


def _meaning(
    value: str, values: Mapping[str, ValueSeen], *, column: str, asked: Mapping[str, Label]
) -> LabelMeaning | None:
    if value in asked:
        return LabelMeaning(value=value, label=asked[value], evidence="label_map")
    named = meaning_of_name(value)
    if named is not None:
        return LabelMeaning(value=value, label=named, evidence="the value's name")
    in_column = meaning_in_column(column, value)
    if in_column is not None:
        return LabelMeaning(value=value, label=in_column, evidence=f"the column's name, {column!r}")
    return _by_generators(value, values)


def _by_generators(value: str, values: Mapping[str, ValueSeen]) -> LabelMeaning | None:
    """Human, where all generators beside a value say so; AI, where they are all others, and clearly so: by their own
    names, or because another value has all the human ones."""
    seen = values[value]
    if seen.human and not seen.machine and not seen.other:
        evidence = f"the generator of all its {seen.human:,} rows that have one is human"
        return LabelMeaning(value=value, label=0, evidence=evidence)
    if seen.human or not (seen.machine or seen.other):
        return None
    elsewhere = [other for other in values.values() if other.human]
    if len(elsewhere) == 1 and not elsewhere[0].machine and not elsewhere[0].other:
        evidence = f"the generator of none of its {seen.machine + seen.other:,} rows that have one is human"
        return LabelMeaning(value=value, label=1, evidence=evidence)
    if seen.other:
        return None
    evidence = f"the generator of all its {seen.machine:,} rows that have one is a language model"
    return LabelMeaning(value=value, label=1, evidence=evidence)


def _denied(meaning: LabelMeaning, seen: ValueSeen) -> str | None:
    """What generators say against a meaning."""
    against = seen.machine if meaning.label == 0 else seen.human
    if not against:
        return None
    other: Label = 1 if meaning.label == 0 else 0
    return f"the generator of {against:,} of its rows is {NAMES[other]}"
