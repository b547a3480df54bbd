"""The char-LSTM made, saved and loaded: config.json and model.safetensors, in a layout of its own."""

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
from model_trainer.models.char_lstm.config import CharLstmShape
from model_trainer.models.char_lstm.decoder import CharLstmDecoder
from model_trainer.models.char_lstm.network import CharLstm

_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"


class CharLstmBackend:
    """A LanguageModelBackend."""

    def build(self, recipe: Recipe) -> CharLstm:
        """A new network on the CPU, initialised from torch's global generator."""
        return CharLstm(CharLstmShape.of(recipe), vocab_size=recipe.vocab_size)

    def save(self, model: LanguageModel, recipe: Recipe, folder: Path, *, end_of_text_id: int | None) -> None:
        """Writes the sizes and the weights."""
        tensors = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}
        write_tensors(tensors, folder / _WEIGHTS)
        shape = CharLstmShape.of(recipe)
        config: JsonObject = {
            "architectures": ["CharLstm"],
            "model_type": "char_lstm",
            "vocab_size": recipe.vocab_size,
            **shape.as_recorded(),
            "eos_token_id": end_of_text_id,
        }
        write_atomically(folder / _CONFIG, f"{dump_json(config)}\n".encode())

    def load(self, recipe: Recipe, folder: Path) -> CharLstm:
        """The network saved in `folder`; raises ARTIFACT_CORRUPT when names or shapes do not fit."""
        model = self.build(recipe)
        parameters: dict[str, Tensor] = dict(model.named_parameters())
        try:
            saved = load_file(folder / _WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise _corrupt(f"{_WEIGHTS} cannot be read: {error}") from error
        wanted = {name: tuple(tensor.shape) for name, tensor in parameters.items()}
        found = {name: tuple(tensor.shape) for name, tensor in saved.items()}
        if wanted != found:
            raise _corrupt("names or shapes of the weights are not those of this model")
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(saved[name])
        return model

    def decoder(self, recipe: Recipe, folder: Path, device: Device) -> Decoder:
        """The network saved in `folder`, carrying its state; raises as load()."""
        return CharLstmDecoder(self.load(recipe, folder), device=device)


def _corrupt(why: str) -> AppError:
    return AppError(
        ErrorCode.ARTIFACT_CORRUPT, f"The saved model cannot be loaded: {why}.", facts={"why": why}
    )


BACKEND = CharLstmBackend()
