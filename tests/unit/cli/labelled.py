"""Made-up labelled texts that a tiny detector learns in seconds."""

import json
import random
from pathlib import Path

HUMAN = [
    "rain",
    "lane",
    "kettle",
    "brother",
    "muddy",
    "laughed",
    "bicycle",
    "supper",
    "window",
    "awkward",
    "grin",
    "hedge",
]
MACHINE = [
    "furthermore",
    "comprehensive",
    "landscape",
    "delve",
    "tapestry",
    "notably",
    "robust",
    "leverage",
    "ensure",
    "overall",
]
BOTH = [
    "the",
    "a",
    "of",
    "and",
    "to",
    "was",
    "in",
    "it",
    "that",
    "with",
    "for",
    "on",
    "as",
    "at",
    "by",
    "from",
    "this",
]
TINY = (
    "--from-scratch",
    "--layers=1",
    "--hidden-size=16",
    "--attention-heads=2",
    "--ffn-size=32",
    "--set=max_seq_len=48",
    "--set=vocab_size=400",
    "--set=max_steps=12",
    "--set=cpu_threads=1",
    "--set=report.bootstrap_samples=20",
    "--set=report.robustness_texts=8",
    "--set=test_fraction=0.2",
    "--set=holdout_fraction=0.2",
)
"""Options of a training that takes seconds."""


def write_labelled(path: Path, *, pairs: int = 60) -> Path:
    """`pairs` of a human and a machine text each, in words of their own and of both."""
    draw = random.Random(7)
    with path.open("w") as file:
        for number in range(pairs):
            for label, words in (("human", HUMAN), ("ai", MACHINE)):
                text = " ".join(draw.choice(words if draw.random() < 0.4 else BOTH) for _ in range(30))
                file.write(json.dumps({"text": text, "label": label, "group": number}) + "\n")
    return path
