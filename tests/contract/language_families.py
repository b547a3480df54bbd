"""The families of language models under test, found by the registry, in sizes that train in a moment."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.training import CheckpointSpec, Recipe, TrainSpec
from model_trainer.engine.data.token_splits import SplitWriter, TokenSplit
from model_trainer.engine.devices import select_device
from model_trainer.engine.protocols import Decoder, LanguageModel
from model_trainer.engine.tasks.language_modelling import LanguageModellingTask
from model_trainer.engine.training.checkpoint import CheckpointFolder
from model_trainer.engine.training.seed import seed_everything
from model_trainer.engine.training.trainer import fit
from model_trainer.models.family import LanguageFamily
from model_trainer.registry import Registry
from tests.contract.witness import Witness

FAMILIES = {
    name: family
    for name, family in Registry.discover().families().items()
    if isinstance(family, LanguageFamily)
}
MACHINE = Machine(cpu_count=1, memory_bytes=2**33, native_bf16=False, cuda_memory_bytes=0)
SMALL: dict[str, JsonObject] = {
    "gpt2": {"n_layer": 2, "n_head": 2, "n_embd": 32},
    "char_lstm": {"num_layers": 2, "hidden_size": 32, "embedding_size": 16},
}
"""Sizes that train in a moment; a family without an entry is tried at its default size."""
VOCAB = 12


def spec_of(family: LanguageFamily, **asked: object) -> TrainSpec:
    """A small request of a family."""
    body: dict[str, object] = {
        "model_family": family.name,
        "corpus_path": "text",
        "tokenizer_id": "01JCB0A8N7Q4T2V5W6X9Y0Z1AB",
        "max_seq_len": 16,
        "batch_size": 4,
        "dropout": 0.1,
        "max_steps": 20,
        "log_every_steps": 1,
        "eval_every_steps": 7,
        "checkpoint": CheckpointSpec(every_steps=6, keep_last=1),
        "device": "cpu",
    }
    return family.spec.model_validate(body | dict(SMALL.get(family.name, {})) | asked)


def recipe_of(family: LanguageFamily, **asked: object) -> Recipe:
    """What a small request comes to on a small machine."""
    return family.resolve(spec_of(family, **asked), MACHINE, vocab_size=VOCAB)


def split(path: Path, num_tokens: int) -> TokenSplit:
    """A text with a rule to be learnt: it counts to three over and over, but every fifth token is any."""
    generator = torch.Generator().manual_seed(num_tokens)
    noise = torch.randint(0, VOCAB, (num_tokens,), generator=generator).tolist()
    ids = [0]
    for place in range(1, num_tokens):
        ids.append(noise[place] if place % 5 == 0 else (ids[-1] + 1) % 3)
    with path.open("wb") as file:
        writer = SplitWriter(file, token_type="uint16", end_of_text_id=None)
        writer.add("x" * num_tokens, ids, continues=False)
    return TokenSplit(path=path, token_type="uint16", end_of_text_id=None, facts=writer.facts())


def train(
    family: LanguageFamily, recipe: Recipe, folder: Path, checkpoints: str, witness: Witness
) -> LanguageModel:
    """A training on the text above, begun or resumed where its checkpoints lie."""
    seed_everything(recipe.seed)
    model = family.backend().build(recipe)
    device = select_device(recipe.device)
    with LanguageModellingTask(
        train=split(folder / "train.bin", 3000),
        validation=split(folder / "validation.bin", 200),
        recipe=recipe,
        device=device,
    ) as task:
        fitted = fit(
            model=model,
            task=task,
            recipe=recipe,
            device=device,
            checkpoints=CheckpointFolder(folder / checkpoints),
            observer=witness,
        )
    witness.last_metrics = fitted.last_metrics
    return model


def saved(family: LanguageFamily, recipe: Recipe, folder: Path) -> LanguageModel:
    """A network whose predictions are far from even, and its files."""
    seed_everything(3)
    model = family.backend().build(recipe)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    family.backend().save(model, recipe, folder, end_of_text_id=1)
    return model.eval()


def continued(
    decoder: Decoder, prompts: Sequence[Sequence[int]], *, num_tokens: int
) -> tuple[list[list[int]], Tensor]:
    """The likeliest tokens of each row, and the logits [B, num_tokens, V] they were taken from."""
    taken: list[Tensor] = []
    seen: list[Tensor] = []

    def choose(logits_BV: Tensor) -> Tensor | None:
        seen.append(logits_BV.clone())
        taken.append(logits_BV.argmax(-1))
        return None if len(taken) == num_tokens else taken[-1]

    decoder.decode(prompts, choose)
    return torch.stack(taken, 1).tolist(), torch.stack(seen, 1)
