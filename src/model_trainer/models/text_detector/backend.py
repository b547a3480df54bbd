"""Text detectors made, saved and loaded in transformers' own files: config.json and model.safetensors."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from model_trainer.core.compute.recipes import refused
from model_trainer.core.contracts.base import JsonObject, dump_json, parse_json_object
from model_trainer.core.contracts.detector import DEFAULT_ENCODER, DetectorSpec, WindowPlan
from model_trainer.core.contracts.training import Recipe
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import write_atomically
from model_trainer.engine.protocols import TextClassifier
from model_trainer.engine.tensor_files import write_tensors
from model_trainer.models.text_detector.config import (
    TextDetectorShape,
    TextDetectorSpec,
    check_min_params,
    default_window,
)
from model_trainer.models.text_detector.encoders import (
    BERT,
    DEBERTA,
    FFN_KEYS,
    HEADS_KEYS,
    LAYERS_KEYS,
    POSITION_BUCKETS,
    POSITIONS_KEYS,
    WIDTH_KEYS,
    encoder_sizes,
    first_position,
)
from model_trainer.models.text_detector.hub import (
    Encoder,
    Hub,
    HuggingFaceHub,
    config_json,
    fetched,
    transformers,
)
from model_trainer.models.text_detector.lexical import LexicalParts
from model_trainer.models.text_detector.network import EncoderPart, TextDetector
from model_trainer.serving.windows import plan_windows

_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"
_TOKENIZER = "tokenizer.json"
_OURS = "model_trainer"
"""The key of config.json that transformers has no use for."""
_INSIDE = "encoder_part.encoder."
_SHOWN = "lexical."
"""Before what the lexical part was shown of the training texts, and is no parameter."""
_LEXICAL = "model_trainer_lexical"

_FROM_SCRATCH: dict[str, JsonObject] = {
    DEBERTA: {
        "model_type": DEBERTA,
        "relative_attention": True,
        "max_relative_positions": -1,
        "position_buckets": POSITION_BUCKETS,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "type_vocab_size": 0,
        "pad_token_id": None,
    },
    BERT: {"model_type": BERT, "type_vocab_size": 1, "pad_token_id": None},
}
"""DeBERTa as version 3 has it (He et al. 2021, arXiv 2111.09543). No padding token: what is padded the mask says."""


class TextDetectorBackend:
    """A TextClassifierBackend."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def complete(self, spec: DetectorSpec) -> DetectorSpec:
        """`spec` with the sizes it leaves out as model_name's own configuration has them; see TextClassifierBackend."""
        name = _hub_name(spec)
        if name is None or not isinstance(spec, TextDetectorSpec):
            return spec
        sizes = encoder_sizes(self._config(name))
        if spec.architecture not in (None, sizes.architecture):
            raise refused("architecture", f"{name} is a {sizes.architecture}: leave architecture out.")
        known: dict[str, object] = {
            "architecture": sizes.architecture,
            "layers": spec.layers or sizes.layers,
            "hidden_size": spec.hidden_size or sizes.hidden_size,
            "attention_heads": spec.attention_heads or sizes.attention_heads,
            "ffn_size": spec.ffn_size or sizes.ffn_size,
            "max_position_embeddings": spec.max_position_embeddings or sizes.max_position_embeddings,
        }
        if not spec.from_scratch:
            known["vocab_size"] = sizes.vocab_size
        return spec.model_copy(update=known)

    def write_tokenizer(self, spec: DetectorSpec, folder: Path) -> WindowPlan:
        """Writes model_name's own tokenizer into `folder`; see TextClassifierBackend."""
        name = _hub_name(spec)
        if name is None:
            raise refused("model_name", "Name a model_name to take the tokenizer of, or train a tokenizer.")
        positions = encoder_sizes(self._config(name)).max_position_embeddings
        tokenizer = fetched(name, lambda cached: self._hub.tokenizer(name, cached=cached))
        tokenizer.save_pretrained(str(folder))
        if not (folder / _TOKENIZER).is_file():
            message = (
                f"The tokenizer of {name} cannot be written as tokenizer.json: choose another model_name."
            )
            raise refused("model_name", message)
        fast = Tokenizer.from_file(str(folder / _TOKENIZER))
        prefix, suffix = _around(fast)
        return plan_windows(
            length=spec.max_seq_len or default_window(spec.from_scratch, positions),
            stride=spec.window_stride,
            prefix=prefix,
            suffix=suffix,
            pad_id=tokenizer.pad_token_id or 0,
        )

    def build(self, recipe: Recipe) -> TextDetector:
        """A new network on the CPU; see TextClassifierBackend. Raises CONFIG_INVALID below min_params."""
        shape = TextDetectorShape.of(recipe)
        model = TextDetector(
            encoder=None if shape.parts == "lexical" else self._encoder(shape, recipe),
            lexical=_lexical(shape, recipe),
        )
        total = sum(parameter.numel() for parameter in model.parameters())
        embedding = model.num_embedding_parameters()
        check_min_params(shape.min_params, embedding=embedding, other=total - embedding)
        return model

    def save(self, model: TextClassifier, recipe: Recipe, folder: Path) -> None:
        """Writes files whose encoder, if there is one, AutoModel.from_pretrained(folder) loads."""
        if not isinstance(model, TextDetector):
            raise TypeError(f"a text detector is needed, not {type(model).__name__}")
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _tensors(model).items()}
        write_tensors(tensors, folder / _WEIGHTS)
        part = model.encoder_part
        config: JsonObject = {"model_type": _LEXICAL} if part is None else config_json(part.encoder.config)
        # An encoder that came from a folder would tell of the disk it came from.
        config.pop("_name_or_path", None)
        shape = {name: value for name, value in recipe.shape.items() if name != "model_name"}
        config[_OURS] = {"shape": {**shape}, "pooling": "mean"}
        write_atomically(folder / _CONFIG, f"{dump_json(config)}\n".encode())

    def load(self, recipe: Recipe, folder: Path) -> TextDetector:
        """The network saved in `folder`; raises ARTIFACT_CORRUPT when names or shapes do not fit."""
        try:
            config = parse_json_object((folder / _CONFIG).read_bytes())
            saved = load_file(folder / _WEIGHTS)
        except (OSError, SafetensorError, AppError) as error:
            raise _corrupt(f"{_CONFIG} or {_WEIGHTS} cannot be read: {error}") from error
        config.pop(_OURS, None)
        shape = TextDetectorShape.of(recipe)
        encoder = None if shape.parts == "lexical" else _with_head(_made(config), shape)
        model = TextDetector(encoder=encoder, lexical=_lexical(shape, recipe))
        tensors = _tensors(model)
        wanted = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if wanted != {name: tuple(tensor.shape) for name, tensor in saved.items()}:
            raise _corrupt("names or shapes of the weights are not those of this model")
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(saved[name])
        return model

    def _encoder(self, shape: TextDetectorShape, recipe: Recipe) -> EncoderPart:
        if shape.from_scratch:
            return _with_head(_made(self._own_config(shape, vocab_size=recipe.vocab_size)), shape)
        name = shape.model_name
        return _with_head(fetched(name, lambda cached: self._hub.encoder(name, cached=cached)), shape)

    def _config(self, name: str) -> JsonObject:
        return fetched(name, lambda cached: self._hub.config(name, cached=cached))

    def _own_config(self, shape: TextDetectorShape, *, vocab_size: int) -> JsonObject:
        """The configuration of the architecture with the sizes asked for."""
        config = dict(
            self._config(shape.model_name) if shape.model_name else _FROM_SCRATCH[shape.architecture]
        )
        sizes = {
            LAYERS_KEYS: shape.layers,
            WIDTH_KEYS: shape.hidden_size,
            HEADS_KEYS: shape.attention_heads,
            FFN_KEYS: shape.ffn_size,
            POSITIONS_KEYS: shape.max_position_embeddings + first_position(config),
            ("vocab_size",): vocab_size,
        }
        for keys, size in sizes.items():
            config[next((key for key in keys if key in config), keys[0])] = size
        return config


def _hub_name(spec: DetectorSpec) -> str | None:
    return spec.model_name if spec.from_scratch else spec.model_name or DEFAULT_ENCODER


def _made(config: JsonObject) -> Encoder:
    """An encoder with random weights, from transformers' own initialisation."""
    library = transformers()
    values: dict[str, object] = {name: value for name, value in config.items() if name != "model_type"}
    return library.AutoModel.from_config(library.AutoConfig.for_model(str(config["model_type"]), **values))


def _with_head(encoder: Encoder, shape: TextDetectorShape) -> EncoderPart:
    if shape.gradient_checkpointing:
        encoder.activation_checkpointing_enable({"use_reentrant": False})
    hidden_size = encoder_sizes(config_json(encoder.config)).hidden_size
    part = EncoderPart(encoder, hidden_size=hidden_size, dropout=shape.dropout)
    for module in part.modules():
        if isinstance(module, nn.Dropout):
            module.p = shape.dropout
    return part


def _lexical(shape: TextDetectorShape, recipe: Recipe) -> LexicalParts | None:
    if shape.parts == "encoder":
        return None
    return LexicalParts(
        vocab_size=recipe.vocab_size,
        buckets=shape.lexical_buckets,
        window=recipe.max_seq_len,
        dropout=shape.dropout,
    )


def _tensors(model: TextDetector) -> dict[str, Tensor]:
    """All that is saved, by its name there: an encoder's weights are called as transformers calls them."""
    part = model.encoder_part
    prefix = "" if part is None else part.encoder.base_model_prefix
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.named_parameters():
        inside = name.removeprefix(_INSIDE)
        tensors[name if inside == name else f"{prefix}.{inside}"] = tensor
    shown: dict[str, Tensor] = dict(model.named_buffers())
    return tensors | {name: tensor for name, tensor in shown.items() if name.startswith(_SHOWN)}


def _around(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What a tokenizer puts before and after a text."""
    bare = tokenizer.encode("a", add_special_tokens=False).ids
    dressed = tokenizer.encode("a", add_special_tokens=True).ids
    start = next(
        (place for place in range(len(dressed)) if dressed[place : place + len(bare)] == bare), len(dressed)
    )
    return tuple(dressed[:start]), tuple(dressed[start + len(bare) :])


def _corrupt(why: str) -> AppError:
    return AppError(
        ErrorCode.ARTIFACT_CORRUPT, f"The saved model cannot be loaded: {why}.", facts={"why": why}
    )


BACKEND = TextDetectorBackend(HuggingFaceHub())
