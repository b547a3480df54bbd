"""Which text detector to train: the encoder, its sizes, and good choices for what the spec leaves out. Torch-free."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from model_trainer.core.compute.machine import Machine
from model_trainer.core.compute.recipes import Defaults, make_recipe, place, refuse_loader, refused
from model_trainer.core.contracts.base import Contract, JsonObject
from model_trainer.core.contracts.detector import DEFAULT_ENCODER, DetectorSpec
from model_trainer.core.contracts.training import MemoryEstimate, Recipe, TrainSpec
from model_trainer.models.text_detector.encoders import (
    BERT,
    DEBERTA,
    KNOWN_ENCODERS,
    EncoderSizes,
    count_parameters,
)
from model_trainer.models.text_detector.token_traits import HIDDEN, NUM_FIGURES, count_lexical_parameters

if TYPE_CHECKING:
    from model_trainer.engine.protocols import TextClassifierBackend

Parts = Literal["encoder", "lexical", "both"]
BUCKETS = 2**17
OWN_ARCHITECTURES = (DEBERTA, BERT)
"""Made from scratch without any model_name."""
_SMALL_WINDOW = 384
_HUB_WINDOW = 512
"""Tokens in a window when nothing is asked for: of an encoder made from scratch, and of a hub's, as most were trained."""
_BYTES = 4
"""Weights, gradients and moments are fp32 in every precision."""
_LEXICAL_VALUES = 100
"""A token's, in the lexical part: traits, hashes and their order."""
_HUB = "hub_"
"""Before the sizes of a hub's encoder in a recipe: nobody asked for them, so no later training inherits them."""


class TextDetectorSpec(DetectorSpec):
    """A request for a text detector. Sizes left out are the encoder's, or small ones (from_scratch)."""

    model_family: Literal["text_detector"]
    architecture: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """Of the encoder that is made from scratch: deberta-v2 (left out) or bert; with model_name that of the hub's."""
    parts: Parts | None = None
    """What judges: the encoder; the lexical part (n-grams of tokens and figures of the text, trained on a CPU in a minute);
    both. Left out: the encoder for one of the hub; both for one made from scratch whose sizes are named; else lexical."""
    lexical_buckets: Annotated[int, Field(ge=256, le=2**24)] | None = None
    """Weights that the n-grams of the lexical part share by hash; left out: 131,072."""


class TextDetectorShape(Contract):
    """`shape` of the recipe. A 0 or an empty text is no part of the model, or not known yet."""

    parts: Parts
    architecture: str = ""
    """transformers' model_type."""
    model_name: str = ""
    """An encoder of the hub that has a part in it."""
    from_scratch: bool
    layers: int = 0
    hidden_size: int = 0
    attention_heads: int = 0
    ffn_size: int = 0
    max_position_embeddings: int = 0
    lexical_buckets: int = 0
    min_params: int = 0
    dropout: float
    gradient_checkpointing: bool

    @classmethod
    def of(cls, recipe: Recipe) -> "TextDetectorShape":
        """The shape a recipe holds."""
        sizes: dict[str, object] = {name.removeprefix(_HUB): value for name, value in recipe.shape.items()}
        return cls.model_validate(sizes)

    def as_recorded(self) -> dict[str, int | float | str | bool]:
        """As it stands in a recipe: what is not there is left out, so that no later training inherits it."""
        hub = "" if self.from_scratch else _HUB
        maybe: dict[str, int | str] = {
            "architecture": self.architecture,
            "model_name": self.model_name,
            f"{hub}layers": self.layers,
            f"{hub}hidden_size": self.hidden_size,
            f"{hub}attention_heads": self.attention_heads,
            f"{hub}ffn_size": self.ffn_size,
            f"{hub}max_position_embeddings": self.max_position_embeddings,
            "lexical_buckets": self.lexical_buckets,
            "min_params": self.min_params,
        }
        return {
            "parts": self.parts,
            "from_scratch": self.from_scratch,
            "dropout": self.dropout,
            "gradient_checkpointing": self.gradient_checkpointing,
            **{name: value for name, value in maybe.items() if value},
        }

    @property
    def is_known(self) -> bool:
        """Whether its parameters can be counted: not of an encoder of the hub that nobody has looked at yet."""
        return self.layers > 0 or self.parts == "lexical"

    def count_parameters(self, vocab_size: int) -> tuple[int, int]:
        """Looked-up and other parameters."""
        embedding, other = 0, 0
        if self.parts != "lexical":
            embedding, other = count_parameters(self.sizes(vocab_size))
            other += self.hidden_size + 1
        if self.parts != "encoder":
            lexical, rest = count_lexical_parameters(self.lexical_buckets)
            embedding, other = embedding + lexical, other + rest
        return embedding, other

    def sizes(self, vocab_size: int) -> EncoderSizes:
        """What its parameters are counted by."""
        return EncoderSizes(
            architecture=self.architecture,
            layers=self.layers,
            hidden_size=self.hidden_size,
            attention_heads=self.attention_heads,
            ffn_size=self.ffn_size,
            max_position_embeddings=self.max_position_embeddings,
            vocab_size=vocab_size,
        )


SMALL = EncoderSizes(
    architecture=DEBERTA,
    layers=4,
    hidden_size=128,
    attention_heads=4,
    ffn_size=512,
    max_position_embeddings=512,
    vocab_size=0,
)
"""What is made from scratch when no size is named: trains on two CPU cores in minutes."""


class TextDetectorFamily:
    """The family's torch-free face."""

    @property
    def name(self) -> str:
        """text_detector."""
        return "text_detector"

    @property
    def title(self) -> str:
        """One line for people."""
        return "Text detector: says how likely a machine wrote a text; calibrated, exported to ONNX"

    @property
    def spec(self) -> type[TrainSpec]:
        """The request body."""
        return TextDetectorSpec

    def supported_tokenizers(self) -> tuple[str, ...]:
        """All kinds: tokens are numbers to it."""
        return ("bpe", "sentencepiece", "char")

    def example(self) -> JsonObject:
        """A request body that works once its data are real."""
        return {
            "model_family": "text_detector",
            "data_paths": ["my-texts.parquet"],
            "from_scratch": True,
            "num_epochs": 3.0,
            "seed": 42,
            "metadata": {"project": "first steps"},
        }

    def resolve(self, spec: TrainSpec, machine: Machine, *, vocab_size: int) -> Recipe:
        """Every choice made for this machine; raises CONFIG_INVALID, DEVICE_UNAVAILABLE."""
        if not isinstance(spec, TextDetectorSpec):
            raise refused("model_family", "This is not a request for text_detector.")
        shape = _from_scratch(spec) if spec.from_scratch else _of_the_hub(spec)
        if shape.parts == "encoder" and spec.lexical_buckets is not None:
            raise refused(
                "lexical_buckets",
                "There is no lexical part: leave lexical_buckets out, or ask for both parts.",
            )
        if shape.parts == "lexical" and spec.gradient_checkpointing:
            raise refused("gradient_checkpointing", "There is no encoder: leave gradient_checkpointing out.")
        refuse_loader(spec)
        rows = vocab_size if spec.from_scratch else max(vocab_size, spec.vocab_size or 0)
        if shape.is_known:
            embedding, other = shape.count_parameters(rows)
            check_min_params(shape.min_params, embedding=embedding, other=other)
        recipe = make_recipe(
            spec,
            place(spec, machine),
            defaults=_small(shape) if spec.from_scratch else _published(shape),
            shape=shape.as_recorded(),
            vocab_size=rows,
        )
        in_the_step_loop: dict[str, object] = {"loader_workers": 0, "pin_memory": False}
        recipe = recipe.model_copy(update=in_the_step_loop)
        longest = shape.max_position_embeddings
        if longest and recipe.max_seq_len > longest:
            otherwise = ", or raise max_position_embeddings" if spec.from_scratch else ""
            raise refused(
                "max_seq_len", f"The encoder has {longest} positions: ask for at most so many{otherwise}."
            )
        return recipe

    def estimate(self, recipe: Recipe) -> MemoryEstimate:
        """Weights, gradients and moments (exactly for DeBERTa and BERT from scratch); activations of one micro-batch as what
        the backward pass keeps. Nothing for an encoder whose sizes nobody knows yet."""
        shape = TextDetectorShape.of(recipe)
        parameters = sum(shape.count_parameters(recipe.vocab_size)) if shape.is_known else 0
        matrices = shape.layers * (4 * shape.hidden_size**2 + 2 * shape.hidden_size * shape.ffn_size)
        matrices += HIDDEN * NUM_FIGURES if shape.lexical_buckets else 0
        moments = {"adamw": 2 * parameters, "muon": 2 * parameters - matrices, "sgd": parameters}
        return MemoryEstimate(
            num_parameters=parameters,
            weights=_BYTES * parameters,
            gradients=_BYTES * parameters,
            optimizer=_BYTES * moments[recipe.optimizer],
            activations=_activations(recipe, shape),
        )

    def classifier(self) -> "TextClassifierBackend":
        """Imports torch and gives the network."""
        from model_trainer.models.text_detector.backend import BACKEND

        return BACKEND


def _from_scratch(spec: TextDetectorSpec) -> TextDetectorShape:
    named = _sizes_named(spec)
    parts = spec.parts or ("both" if named else "lexical")
    if parts == "lexical":
        if named:
            message = f"{named[0]} is of an encoder, and parts: lexical has none. Leave it out, or ask for both parts."
            raise refused(named[0], message)
        return _shape(spec, _UNKNOWN, parts="lexical", model_name="")
    base = KNOWN_ENCODERS.get(spec.model_name or "", SMALL)
    architecture = spec.architecture or base.architecture
    if spec.model_name is None and architecture not in OWN_ARCHITECTURES:
        message = f"architecture must be one of {', '.join(OWN_ARCHITECTURES)}; for another one name a model_name that has it."
        raise refused("architecture", message)
    hidden_size = spec.hidden_size or base.hidden_size
    heads = spec.attention_heads or base.attention_heads
    if hidden_size % heads:
        field = "attention_heads" if spec.attention_heads is not None else "hidden_size"
        message = f"hidden_size ({hidden_size}) must be a multiple of attention_heads ({heads}): name both so that they fit."
        raise refused(field, message)
    sizes = EncoderSizes(
        architecture=architecture,
        layers=spec.layers or base.layers,
        hidden_size=hidden_size,
        attention_heads=heads,
        ffn_size=spec.ffn_size or (4 * spec.hidden_size if spec.hidden_size else base.ffn_size),
        max_position_embeddings=spec.max_position_embeddings
        or max(base.max_position_embeddings, spec.max_seq_len or 0),
        vocab_size=base.vocab_size,
    )
    return _shape(spec, sizes, parts=parts, model_name=spec.model_name or "")


def _of_the_hub(spec: TextDetectorSpec) -> TextDetectorShape:
    """Sizes as complete() put them into the spec, or as the table has them."""
    if spec.parts == "lexical":
        raise refused("parts", "The lexical part alone needs no encoder of the hub: ask for from_scratch.")
    name = spec.model_name or DEFAULT_ENCODER
    known = KNOWN_ENCODERS.get(name, _UNKNOWN)
    sizes = EncoderSizes(
        architecture=spec.architecture or known.architecture,
        layers=spec.layers or known.layers,
        hidden_size=spec.hidden_size or known.hidden_size,
        attention_heads=spec.attention_heads or known.attention_heads,
        ffn_size=spec.ffn_size or known.ffn_size,
        max_position_embeddings=spec.max_position_embeddings or known.max_position_embeddings,
        vocab_size=known.vocab_size,
    )
    return _shape(spec, sizes, parts=spec.parts or "encoder", model_name=name)


def _sizes_named(spec: TextDetectorSpec) -> list[str]:
    """What the spec says of an encoder."""
    said = {
        "architecture": spec.architecture,
        "layers": spec.layers,
        "hidden_size": spec.hidden_size,
        "attention_heads": spec.attention_heads,
        "ffn_size": spec.ffn_size,
        "max_position_embeddings": spec.max_position_embeddings,
        "min_params": spec.min_params,
        "model_name": spec.model_name,
    }
    return [name for name, value in said.items() if value is not None]


def _shape(
    spec: TextDetectorSpec, sizes: EncoderSizes, *, parts: Parts, model_name: str
) -> TextDetectorShape:
    return TextDetectorShape(
        parts=parts,
        lexical_buckets=0 if parts == "encoder" else spec.lexical_buckets or BUCKETS,
        architecture=sizes.architecture,
        model_name=model_name,
        from_scratch=spec.from_scratch,
        layers=sizes.layers,
        hidden_size=sizes.hidden_size,
        attention_heads=sizes.attention_heads,
        ffn_size=sizes.ffn_size,
        max_position_embeddings=sizes.max_position_embeddings,
        min_params=spec.min_params or 0,
        dropout=0.1 if spec.dropout is None else spec.dropout,
        gradient_checkpointing=spec.gradient_checkpointing,
    )


def check_min_params(min_params: int, *, embedding: int, other: int) -> None:
    """Raises CONFIG_INVALID, with both counts apart, when there are fewer parameters than demanded."""
    if embedding + other < min_params:
        message = (
            f"The model has {embedding + other:,} parameters ({embedding:,} in embeddings, {other:,} besides) and "
            f"min_params asks for {min_params:,}: raise layers, hidden_size or ffn_size, or lower min_params."
        )
        raise refused("min_params", message)


def default_window(from_scratch: bool, positions: int) -> int:
    """Tokens in a window when the spec says nothing; `positions` 0 where nobody knows yet."""
    return min(_SMALL_WINDOW if from_scratch else _HUB_WINDOW, positions or _HUB_WINDOW)


def _small(shape: TextDetectorShape) -> Defaults:
    """For what is made from scratch; the lexical part is shallow and bears, and needs, larger steps. README.md has what was
    measured."""
    learning_rate = 5e-3 if shape.parts == "lexical" else 5e-4
    return Defaults(
        max_seq_len=default_window(True, shape.max_position_embeddings),
        batch_size=32,
        cuda_batch_size=64,
        optimizer="adamw",
        learning_rate={"adamw": learning_rate, "muon": learning_rate, "sgd": 0.05},
        matrix_learning_rate=0.01,
        weight_decay=0.1,
        schedule="cosine",
        warmup_steps=50,
        gradient_clip_norm=1.0,
        num_epochs=10.0,
        max_steps=None,
        carries_state=False,
    )


def _published(shape: TextDetectorShape) -> Defaults:
    """What encoders of the hub are usually fine-tuned with (He et al. 2021, table 10; Devlin et al. 2019, section A.3)."""
    return Defaults(
        max_seq_len=default_window(False, shape.max_position_embeddings),
        batch_size=4,
        cuda_batch_size=16,
        optimizer="adamw",
        learning_rate={"adamw": 2e-5, "muon": 2e-5, "sgd": 1e-3},
        matrix_learning_rate=1e-3,
        weight_decay=0.01,
        schedule="linear",
        warmup_steps=100,
        gradient_clip_norm=1.0,
        num_epochs=3.0,
        max_steps=None,
        carries_state=False,
    )


def _activations(recipe: Recipe, shape: TextDetectorShape) -> int:
    """Per token and layer some 16 widths and the perceptron's two; per pair of tokens and head the attention's weights
    before and after dropout. With gradient checkpointing only what enters each layer, and one layer's whole."""
    width = shape.hidden_size
    inner = 16 * width + 2 * shape.ffn_size + 3 * shape.attention_heads * recipe.max_seq_len
    tokens = recipe.batch_size * recipe.max_seq_len
    kept = shape.layers * width + inner if shape.gradient_checkpointing else shape.layers * inner
    lexical = (
        recipe.batch_size * (NUM_FIGURES + 2 * HIDDEN) + tokens * _LEXICAL_VALUES
        if shape.lexical_buckets
        else 0
    )
    return tokens * kept * (4 if recipe.precision == "fp32" else 2) + lexical * _BYTES


_UNKNOWN = EncoderSizes(
    architecture="",
    layers=0,
    hidden_size=0,
    attention_heads=0,
    ffn_size=0,
    max_position_embeddings=0,
    vocab_size=0,
)
"""An encoder of the hub that is not in the table."""
