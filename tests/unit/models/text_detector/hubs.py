"""Small encoders and tokenizers made on the spot, in folders as a hub would give them."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from model_trainer.core.contracts.base import JsonObject
from model_trainer.models.text_detector.hub import Encoder, HubTokenizer, HuggingFaceHub

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "word", "or", "two", "of", "text"]
SIZES = {
    "vocab_size": 16,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
}


class Saved(Protocol):
    """What writes itself into a folder."""

    def save_pretrained(self, folder: Path, /) -> object: ...


def encoder_folder(folder: Path, kind: str = "bert", **values: object) -> Path:
    """An encoder with random weights and a tokenizer of whole words."""
    torch.manual_seed(1)
    config = transformers.AutoConfig.for_model(kind, **SIZES | values)
    make: Callable[[object], Saved] = transformers.AutoModel.from_config
    make(config).save_pretrained(folder)
    return folder


def tokenizer_folder(folder: Path, *, with_padding: bool = True) -> Path:
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    padding = {"pad_token": "[PAD]"} if with_padding else {}
    make: Callable[..., Saved] = transformers.PreTrainedTokenizerFast
    make(
        tokenizer_object=tokenizer, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", **padding
    ).save_pretrained(folder)
    return folder


class FakeHub:
    """A hub that has what it is told, and counts how often it is asked over the network."""

    def __init__(
        self, folder: Path | None = None, *, is_cached: bool = True, error: Exception | None = None
    ) -> None:
        self._folder = folder
        self._is_cached = is_cached
        self._error = error or OSError("couldn't connect")
        self.asked_online = 0

    def config(self, name: str, *, cached: bool) -> JsonObject:
        return HuggingFaceHub().config(self._find(cached), cached=True)

    def encoder(self, name: str, *, cached: bool) -> Encoder:
        return HuggingFaceHub().encoder(self._find(cached), cached=True)

    def tokenizer(self, name: str, *, cached: bool) -> HubTokenizer:
        return HuggingFaceHub().tokenizer(self._find(cached), cached=True)

    def _find(self, cached: bool) -> str:
        if cached and not self._is_cached:
            raise OSError("not in the cache")
        if not cached:
            self.asked_online += 1
        if self._folder is None:
            raise self._error
        return str(self._folder)
