"""The program in docs/serving.md reads texts as the detector does, whatever letters they are written in."""

import json
import re
from pathlib import Path

import pytest

from model_trainer.core.contracts.detector import Reading
from model_trainer.serving.reading import read_text, tables

PAGE = (Path(__file__).parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")


def read_by_the_example(text: str, reading: Reading) -> str:
    (function,) = re.findall(r"^def read\(text\):\n(?:    .*\n)+", PAGE, flags=re.MULTILINE)
    told: dict[str, str] = {}
    known = {
        "re": re,
        "manifest": reading.model_dump(),
        "tables": json.loads(json.dumps(tables())),
        "told": told,
        "text": text,
    }
    exec(f"{function}told['read'] = read(text)", known)  # noqa: S102 - our own page
    return told["read"]


@pytest.mark.parametrize(
    "text",
    [
        "plain letters \t and  spaces",
        "l\u043e\u043ek-\u0430likes in a L\u0430tin t\u0435xt",
        "a Latin text that quotes \u043f\u0440\u0438\u0432\u0435\u0442 and \u03b1\u03b2\u03b3\u03b4 as they are",
        "\u043f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440 and one more word",
        "in\u200bvisible\u00a0and \uff46\uff55\uff4c\uff4c",
    ],
)
@pytest.mark.parametrize("normalise_unicode", [True, False])
@pytest.mark.parametrize("collapse_whitespace", [True, False])
def test_the_example_reads_as_the_detector_does(
    text: str, normalise_unicode: bool, collapse_whitespace: bool
) -> None:
    reading = Reading(collapse_whitespace=collapse_whitespace, normalise_unicode=normalise_unicode)
    assert read_by_the_example(text, reading) == read_text(text, reading)
