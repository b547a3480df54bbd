"""What is known of an encoder before its weights are there: its sizes, and how many parameters those make. Torch-free."""

from typing import Annotated

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from model_trainer.core.compute.recipes import refused
from model_trainer.core.contracts.base import Contract, JsonObject

DEBERTA = "deberta-v2"
BERT = "bert"
POSITION_BUCKETS = 256
"""Of DeBERTa's relative positions: near ones one by one, far ones in logarithmic buckets (He et al. 2021)."""

WIDTH_KEYS = ("hidden_size", "dim", "d_model")
LAYERS_KEYS = ("num_hidden_layers", "n_layers", "num_layers")
HEADS_KEYS = ("num_attention_heads", "n_heads", "num_heads")
FFN_KEYS = ("intermediate_size", "hidden_dim", "d_ff")
POSITIONS_KEYS = ("max_position_embeddings",)
"""How transformers' configurations call the sizes."""

_COUNT_FROM_PADDING = frozenset(
    {"camembert", "longformer", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl"}
)
"""Their first position is the one after the padding token's id."""
_WRITERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")


class EncoderSizes(Contract):
    """An encoder's shape, as far as memory and windows depend on it."""

    architecture: str
    """transformers' model_type."""
    layers: int
    hidden_size: int
    attention_heads: int
    ffn_size: int
    max_position_embeddings: int
    """Tokens that a window may have."""
    vocab_size: int


def _known(
    architecture: str, layers: int, width: int, heads: int, vocab_size: int, *, ffn_size: int | None = None
) -> EncoderSizes:
    return EncoderSizes(
        architecture=architecture,
        layers=layers,
        hidden_size=width,
        attention_heads=heads,
        ffn_size=ffn_size or 4 * width,
        max_position_embeddings=512,
        vocab_size=vocab_size,
    )


KNOWN_ENCODERS: dict[str, EncoderSizes] = {
    "microsoft/deberta-v3-large": _known(DEBERTA, 24, 1024, 16, 128_100),
    "microsoft/deberta-v3-base": _known(DEBERTA, 12, 768, 12, 128_100),
    "microsoft/deberta-v3-small": _known(DEBERTA, 6, 768, 12, 128_100),
    "microsoft/deberta-v3-xsmall": _known(DEBERTA, 12, 384, 6, 128_100),
    "FacebookAI/roberta-base": _known("roberta", 12, 768, 12, 50_265),
    "FacebookAI/roberta-large": _known("roberta", 24, 1024, 16, 50_265),
    "google-bert/bert-base-cased": _known(BERT, 12, 768, 12, 28_996),
    "google-bert/bert-base-uncased": _known(BERT, 12, 768, 12, 30_522),
    "google-bert/bert-large-uncased": _known(BERT, 24, 1024, 16, 30_522),
}
"""So that a request can be checked against this machine's memory before anybody asks the hub."""


def encoder_sizes(config: JsonObject) -> EncoderSizes:
    """The sizes in a transformers configuration; raises CONFIG_INVALID for what is no encoder."""
    try:
        read = _Config.model_validate(config)
    except ValidationError as error:
        raise _no_encoder("its configuration has no sizes that an encoder has") from error
    writes = [name for name in read.architectures or () if name.endswith(_WRITERS)]
    if read.is_encoder_decoder or read.is_decoder or writes:
        raise _no_encoder(f"it is a {read.model_type} that writes text")
    return EncoderSizes(
        architecture=read.model_type,
        layers=read.layers,
        hidden_size=read.width,
        attention_heads=read.heads,
        ffn_size=read.ffn_size or 4 * read.width,
        max_position_embeddings=read.positions - first_position(config),
        vocab_size=read.vocab_size,
    )


def first_position(config: JsonObject) -> int:
    """Rows of the position table that no token uses."""
    padding = config.get("pad_token_id")
    if config.get("model_type") in _COUNT_FROM_PADDING and isinstance(padding, int):
        return padding + 1
    return 0


def count_parameters(sizes: EncoderSizes) -> tuple[int, int]:
    """Embedding and other parameters of an encoder: exact for DeBERTa v3 and BERT, near for others."""
    width = sizes.hidden_size
    embedding = sizes.vocab_size * width
    other = 2 * width
    if sizes.architecture == DEBERTA:
        embedding += 2 * POSITION_BUCKETS * width
        other += 2 * width
    else:
        embedding += (sizes.max_position_embeddings + 1) * width
    attention = 4 * width * (width + 1)
    perceptron = 2 * width * sizes.ffn_size + sizes.ffn_size + width
    other += sizes.layers * (attention + perceptron + 4 * width)
    return embedding, other


class _Config(BaseModel):
    """The part of a configuration that is read; names differ between architectures."""

    model_config = ConfigDict(extra="ignore", strict=True, protected_namespaces=())

    model_type: str
    layers: Annotated[int, Field(ge=1, validation_alias=AliasChoices(*LAYERS_KEYS))]
    width: Annotated[int, Field(ge=1, validation_alias=AliasChoices(*WIDTH_KEYS))]
    heads: Annotated[int, Field(ge=1, validation_alias=AliasChoices(*HEADS_KEYS))]
    ffn_size: Annotated[int | None, Field(validation_alias=AliasChoices(*FFN_KEYS))] = None
    positions: Annotated[int, Field(ge=1, validation_alias=AliasChoices(*POSITIONS_KEYS))]
    vocab_size: Annotated[int, Field(ge=1)]
    is_encoder_decoder: bool = False
    is_decoder: bool = False
    architectures: list[str] | None = None


def _no_encoder(why: str) -> Exception:
    return refused("model_name", f"model_name must be an encoder, such as microsoft/deberta-v3-base: {why}.")
