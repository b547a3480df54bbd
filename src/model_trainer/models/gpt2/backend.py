"""GPT-2 made, saved and loaded in transformers' own files: config.json and model.safetensors."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model_trainer.core.contracts.base import JsonObject, dump_json
from model_trainer.core.contracts.training import Recipe
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import write_atomically
from model_trainer.engine.protocols import Decoder, Device, LanguageModel
from model_trainer.engine.tensor_files import write_tensors
from model_trainer.models.gpt2.config import Gpt2Shape
from model_trainer.models.gpt2.decoder import load_decoder
from model_trainer.models.gpt2.network import Gpt2

_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"
_TOP = {
    "tokens.weight": "transformer.wte.weight",
    "positions.weight": "transformer.wpe.weight",
    "norm.weight": "transformer.ln_f.weight",
    "norm.bias": "transformer.ln_f.bias",
}
_INNER = {
    "norm_1": "ln_1",
    "norm_2": "ln_2",
    "attention.out": "attn.c_proj",
    "expand": "mlp.c_fc",
    "contract": "mlp.c_proj",
}
_JOINT = ("attention.query", "attention.key", "attention.value")
_PARAMETER = re.compile(r"block_(\d+)\.(.+)\.(weight|bias)")


class Gpt2Backend:
    """A LanguageModelBackend."""

    def build(self, recipe: Recipe) -> Gpt2:
        """A new network on the CPU, initialised from torch's global generator."""
        return Gpt2(Gpt2Shape.of(recipe), vocab_size=recipe.vocab_size, num_positions=recipe.max_seq_len)

    def save(self, model: LanguageModel, recipe: Recipe, folder: Path, *, end_of_text_id: int | None) -> None:
        """Writes what AutoModelForCausalLM.from_pretrained(folder) loads."""
        tensors = to_transformers(dict(model.named_parameters()))
        write_tensors(tensors, folder / _WEIGHTS)
        config = _config(recipe, end_of_text_id=end_of_text_id)
        write_atomically(folder / _CONFIG, f"{dump_json(config)}\n".encode())

    def load(self, recipe: Recipe, folder: Path) -> Gpt2:
        """The network saved in `folder`; raises ARTIFACT_CORRUPT when names or shapes do not fit."""
        model = self.build(recipe)
        parameters: dict[str, Tensor] = dict(model.named_parameters())
        try:
            saved = load_file(folder / _WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise _corrupt(f"{_WEIGHTS} cannot be read: {error}") from error
        wanted = {name: tuple(tensor.shape) for name, tensor in to_transformers(parameters).items()}
        found = {name: tuple(tensor.shape) for name, tensor in saved.items()}
        if wanted != found:
            raise _corrupt("names or shapes of the weights are not those of this model")
        with torch.no_grad():
            for name, tensor in from_transformers(saved, list(parameters)).items():
                parameters[name].copy_(tensor)
        return model

    def decoder(self, recipe: Recipe, folder: Path, device: Device) -> Decoder:
        """transformers' own network with the weights saved in `folder`; raises as load()."""
        config = _config(recipe, end_of_text_id=None)  # when a text ends is for who asks to say
        return load_decoder(config, folder / _WEIGHTS, context=recipe.max_seq_len, device=device)


def to_transformers(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our parameters under transformers' names; its Conv1D keeps matrices as [in, out], and the three inputs of attention
    as one."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in parameters.items():
        tensor = tensor.detach().cpu()
        if name in _TOP:
            renamed[_TOP[name]] = tensor.contiguous()
            continue
        index, inner, kind = _parts(name)
        if inner == _JOINT[0]:
            thirds = [parameters[f"block_{index}.{part}.{kind}"].detach().cpu() for part in _JOINT]
            renamed[f"transformer.h.{index}.attn.c_attn.{kind}"] = torch.cat(thirds).t().contiguous()
        elif inner not in _JOINT:
            turned = tensor.t() if tensor.ndim == 2 else tensor
            renamed[f"transformer.h.{index}.{_INNER[inner]}.{kind}"] = turned.contiguous()
    return renamed


def from_transformers(saved: Mapping[str, Tensor], names: list[str]) -> dict[str, Tensor]:
    """The parameters called `names`, out of transformers' state."""
    parameters: dict[str, Tensor] = {}
    for name in names:
        if name in _TOP:
            parameters[name] = saved[_TOP[name]]
            continue
        index, inner, kind = _parts(name)
        if inner in _JOINT:
            joint = saved[f"transformer.h.{index}.attn.c_attn.{kind}"].t()
            parameters[name] = joint.chunk(3)[_JOINT.index(inner)]
        else:
            parameters[name] = saved[f"transformer.h.{index}.{_INNER[inner]}.{kind}"].t()
    return parameters


def _parts(name: str) -> tuple[int, str, str]:
    match = _PARAMETER.fullmatch(name)
    if match is None:
        raise KeyError(name)
    return int(match[1]), match[2], match[3]


def _config(recipe: Recipe, *, end_of_text_id: int | None) -> JsonObject:
    shape = Gpt2Shape.of(recipe)
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": recipe.vocab_size,
        "n_positions": recipe.max_seq_len,
        "n_layer": shape.n_layer,
        "n_head": shape.n_head,
        "n_embd": shape.n_embd,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "initializer_range": 0.02,
        "embd_pdrop": shape.dropout,
        "attn_pdrop": shape.dropout,
        "resid_pdrop": shape.dropout,
        "bos_token_id": end_of_text_id,
        "eos_token_id": end_of_text_id,
        "tie_word_embeddings": True,
        "dtype": "float32",
    }


def _corrupt(why: str) -> AppError:
    return AppError(
        ErrorCode.ARTIFACT_CORRUPT, f"The saved model cannot be loaded: {why}.", facts={"why": why}
    )


BACKEND = Gpt2Backend()
