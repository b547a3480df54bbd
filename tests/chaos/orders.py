"""What the stack is ordered to train: a tiny model of every family, with dropout, long enough to be killed in."""

import time
from pathlib import Path

from model_trainer.client import TrainerClient
from model_trainer.core.contracts.base import JsonObject
from model_trainer.models.family import LanguageFamily
from model_trainer.registry import Registry

WORDS = ("the", "cat", "sat", "on", "a", "mat", "and", "looked", "at", "one", "small", "bird")
TEXT = "".join(f"{WORDS[n % 12]} {WORDS[(n * 7) % 12]} {WORDS[(n * n) % 12]}.\n" for n in range(1500))
CORPUS = "corpus.txt"
COMMON: JsonObject = {
    "corpus_path": CORPUS,
    "max_seq_len": 16,
    "batch_size": 4,
    "dropout": 0.1,
    "precision": "fp32",
    "cpu_threads": 1,
    "device": "cpu",
}
SIZES: dict[str, JsonObject] = {
    "gpt2": {"n_layer": 1, "n_head": 2, "n_embd": 16},
    "char_lstm": {"num_layers": 1, "hidden_size": 16, "embedding_size": 8},
}
"""Of each family the tiniest model. A new family is put under fire as soon as its sizes stand here; until then every
round fails and says so."""

ANSWER_SECONDS = 60.0


def training(family: str, tokenizer_id: str, *, steps: int, every: int) -> JsonObject:
    """The order of one run: a checkpoint every so many steps, a row of the series at each."""
    assert family in SIZES, f"give the family {family} a tiny size in {__name__}.SIZES"
    return {
        **COMMON,
        **SIZES[family],
        "model_family": family,
        "tokenizer_id": tokenizer_id,
        "max_steps": steps,
        "log_every_steps": 1,
        "eval_every_steps": 50,
        "checkpoint": {"every_steps": every, "keep_last": 2, "keep_best": True},
    }


def families() -> tuple[str, ...]:
    """Every family of language models that can be trained here."""
    found = Registry.discover().families()
    return tuple(sorted(name for name, family in found.items() if isinstance(family, LanguageFamily)))


def prepare(client: TrainerClient, data_root: Path) -> str:
    """Puts the corpus there and has a tokenizer trained; its id."""
    (data_root / CORPUS).write_text(TEXT)
    order: JsonObject = {"method": "char", "corpus_path": CORPUS, "vocab_size": 60}
    tokenizer_id = client.train_tokenizer(order).tokenizer_id
    deadline = time.monotonic() + ANSWER_SECONDS
    while (found := client.tokenizer(tokenizer_id)).status != "completed":
        assert found.status in ("queued", "running"), found
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return tokenizer_id
