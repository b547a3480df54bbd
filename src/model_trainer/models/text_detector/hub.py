"""Encoders of the Hugging Face hub, its cache, or a local folder, by way of transformers: found, read, or refused.

What the cache has is taken as it is there, without a word to the hub; HF_TOKEN, HF_HOME and HF_HUB_OFFLINE are
huggingface_hub's own and honoured by it.
"""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from torch import Tensor, dtype, float32

from model_trainer.core.compute.recipes import refused
from model_trainer.core.contracts.base import JsonObject, parse_json_object
from model_trainer.core.errors import AppError, ErrorCode, FieldFault

T = TypeVar("T")


class EncoderOutput(Protocol):
    """What an encoder says."""

    @property
    def last_hidden_state(self) -> Tensor:
        """[B, T, C]."""
        ...


class EncoderConfig(Protocol):
    """A transformers configuration."""

    def to_dict(self) -> dict[str, object]:
        """Everything in it."""
        ...


class Encoder(Protocol):
    """A transformers encoder; a torch module too."""

    @property
    def base_model_prefix(self) -> str:
        """What its weights' names begin with inside a larger model."""
        ...

    @property
    def config(self) -> EncoderConfig:
        """How it was made."""
        ...

    def forward(self, *, input_ids: Tensor, attention_mask: Tensor) -> EncoderOutput:
        """Hidden states of the last layer."""
        ...

    def activation_checkpointing_enable(self, activation_checkpointing_kwargs: dict[str, bool]) -> None:
        """Keeps less for the backward pass and computes it again there."""
        ...


class HubTokenizer(Protocol):
    """A transformers tokenizer."""

    @property
    def pad_token_id(self) -> int | None:
        """Fills windows up."""
        ...

    def save_pretrained(self, folder: str) -> object:
        """Writes tokenizer.json and tokenizer_config.json."""
        ...


class Hub(Protocol):
    """Where encoders come from."""

    def config(self, name: str, *, cached: bool) -> JsonObject:
        """The configuration of `name`; `cached`: without the network."""
        ...

    def encoder(self, name: str, *, cached: bool) -> Encoder:
        """`name` with its weights, in fp32."""
        ...

    def tokenizer(self, name: str, *, cached: bool) -> HubTokenizer:
        """The tokenizer of `name`."""
        ...


def fetched(name: str, fetch: Callable[[bool], T]) -> T:
    """What `fetch(cached)` gives: from the cache or a local folder when it is there, else from the hub.

    Raises SERVICE_UNAVAILABLE when neither can be had, CONFIG_INVALID when the hub has no such encoder or does not let
    us, both naming /model_name and the ways out.
    """
    try:
        return fetch(True)
    except (OSError, ValueError) as error:
        if Path(name).is_dir():
            raise _unusable(name, error) from error
    try:
        return fetch(False)
    except OSError as error:
        if _refuses(error):
            raise _unusable(name, error) from error
        message = (
            f"{name} is not in the cache (HF_HOME) and the Hugging Face hub is out of reach. Fill the cache where there is a "
            "network, name a local folder as model_name, or ask for from_scratch."
        )
        fault = FieldFault("/model_name", message)
        raise AppError(ErrorCode.SERVICE_UNAVAILABLE, message, faults=[fault]) from error
    except ValueError as error:
        raise _unusable(name, error) from error


class HuggingFaceHub:
    """The hub and its cache, by transformers."""

    def config(self, name: str, *, cached: bool) -> JsonObject:
        """The configuration of `name`."""
        return config_json(transformers().AutoConfig.from_pretrained(name, local_files_only=cached))

    def encoder(self, name: str, *, cached: bool) -> Encoder:
        """`name` with its weights, in fp32 whatever they were saved in."""
        return transformers().AutoModel.from_pretrained(name, local_files_only=cached, dtype=float32)

    def tokenizer(self, name: str, *, cached: bool) -> HubTokenizer:
        """The tokenizer of `name`."""
        return transformers().AutoTokenizer.from_pretrained(name, local_files_only=cached)


class _Configs(Protocol):
    def from_pretrained(self, name: str, *, local_files_only: bool) -> EncoderConfig: ...

    def for_model(self, model_type: str, **values: object) -> EncoderConfig: ...


class _Models(Protocol):
    def from_pretrained(self, name: str, *, local_files_only: bool, dtype: dtype) -> Encoder: ...

    def from_config(self, config: EncoderConfig) -> Encoder: ...


class _Tokenizers(Protocol):
    def from_pretrained(self, name: str, *, local_files_only: bool) -> HubTokenizer: ...


@runtime_checkable
class Transformers(Protocol):
    """The part of the library that is used here."""

    @property
    def AutoConfig(self) -> _Configs: ...  # noqa: N802 - the library's name

    @property
    def AutoModel(self) -> _Models: ...  # noqa: N802 - the library's name

    @property
    def AutoTokenizer(self) -> _Tokenizers: ...  # noqa: N802 - the library's name


def transformers(library: str = "transformers") -> Transformers:
    """The library, imported when it is needed: that takes seconds."""
    module: object = importlib.import_module(library)
    if not isinstance(module, Transformers):
        raise TypeError(f"{library} has no AutoConfig, AutoModel and AutoTokenizer")
    return module


def config_json(config: EncoderConfig) -> JsonObject:
    """A configuration as JSON."""
    return parse_json_object(json.dumps(config.to_dict(), default=str))


def _refuses(error: BaseException | None) -> bool:
    """Whether the hub itself said no: there is no such repository or file, or it is closed to us."""
    while error is not None:
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if "LocalEntryNotFoundError" in kinds:  # an EntryNotFoundError too, but only the cache's
            return False
        if kinds & _REFUSALS:
            return True
        error = error.__cause__
    return False


def _unusable(name: str, error: Exception) -> AppError:
    why = str(error).strip().split("\n", 1)[0][:300]
    return refused(
        "model_name",
        f"model_name {name} gives no encoder ({why}). Name one of the Hugging Face hub (with HF_TOKEN if it is closed), or a "
        "folder with config.json, tokenizer.json and model.safetensors.",
    )


_REFUSALS = frozenset({"EntryNotFoundError", "HFValidationError", "RepositoryNotFoundError"})
"""Of huggingface_hub.errors; a closed repository is a RepositoryNotFoundError too."""
