"""What every family of detectors must keep, found by the registry: a new one is held to all of it by existing."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.base import JsonObject, dump_json
from model_trainer.core.contracts.detector import DetectorSpec, Label, Reading
from model_trainer.core.contracts.training import CheckpointSpec, Precision, Recipe, TrainSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.data.labelled_windows import LabelledWindows, write_windows
from model_trainer.engine.devices import probe_machine, select_device
from model_trainer.engine.protocols import StopReason, TextClassifier
from model_trainer.engine.tasks.labelled_text import LabelledTextTask
from model_trainer.engine.training.checkpoint import CheckpointFolder
from model_trainer.engine.training.micro_batch import halved
from model_trainer.engine.training.seed import seed_everything
from model_trainer.engine.training.trainer import fit
from model_trainer.models.family import DetectorFamily
from model_trainer.registry import Registry
from model_trainer.serving.windows import plan_windows
from tests.contract.witness import Crashed, Witness, same, weights

MACHINE = Machine(cpu_count=1, memory_bytes=2**33, native_bf16=False, cuda_memory_bytes=0)
SMALL: dict[str, list[JsonObject]] = {
    "text_detector": [
        {"layers": 1, "hidden_size": 16, "attention_heads": 2, "lexical_buckets": 256},
        {"layers": 1, "hidden_size": 16, "attention_heads": 2, "architecture": "bert", "parts": "encoder"},
        {"lexical_buckets": 256},
    ]
}
"""Sizes that train in a moment; a family without an entry is tried at its default size."""
VOCAB = 24
TOKENS = [" word" if place % 2 else "." for place in range(VOCAB)]
INTERRUPTIONS: list[tuple[StopReason | None, Precision]] = [
    (StopReason.PAUSE, "fp32"),
    (None, "bf16" if probe_machine().native_bf16 else "fp32"),
]
"""None: a crash. What a checkpoint holds does not depend on why it was needed."""


@dataclass(frozen=True)
class Kind:
    """A family at one of its sizes."""

    family: DetectorFamily
    sizes: JsonObject

    def spec(self, **asked: object) -> TrainSpec:
        body: dict[str, object] = {
            "model_family": self.family.name,
            "data_paths": ("texts.csv",),
            "from_scratch": True,
            "max_seq_len": 16,
            "batch_size": 4,
            "dropout": 0.1,
            "max_steps": 20,
            "log_every_steps": 1,
            "eval_every_steps": 7,
            "checkpoint": CheckpointSpec(every_steps=6, keep_last=1),
            "device": "cpu",
        }
        return self.family.spec.model_validate(body | dict(self.sizes) | asked)

    def recipe(self, **asked: object) -> Recipe:
        return self.family.resolve(self.spec(**asked), MACHINE, vocab_size=VOCAB)


FAMILIES = {
    name: family
    for name, family in Registry.discover().families().items()
    if isinstance(family, DetectorFamily)
}
KINDS = {
    f"{name} {place}": Kind(family, sizes)
    for name, family in FAMILIES.items()
    for place, sizes in enumerate(SMALL.get(name, [{}]))
}
pytestmark = pytest.mark.usefixtures("one_thread")
for_every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
for_every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@dataclass(frozen=True)
class Row:
    text: str
    label: Label
    group: int = 0
    domain: str | None = None
    generator: str | None = None
    num_words: int = 1


def texts(folder: Path, number: int) -> LabelledWindows:
    """AI texts are of the first letters, human ones of the last."""
    generator = torch.Generator().manual_seed(number)
    rows = []
    for place in range(number):
        label: Label = 1 if place % 2 else 0
        length = 3 + place % 17
        first = "defghijk" if label else "lmnopqrs"
        drawn = torch.randint(0, 8, (length,), generator=generator).tolist()
        rows.append(Row("".join(first[at] for at in drawn), label))

    def encode(texts: Sequence[str]) -> list[list[int]]:
        return [[ord(letter) - 97 for letter in text] for text in texts]

    return write_windows(
        rows,
        encode=encode,
        plan=plan_windows(length=16, stride=None, prefix=(1,), suffix=(2,), pad_id=0),
        reading=Reading(collapse_whitespace=False, normalise_unicode=False),
        folder=folder,
    )


def train(kind: Kind, recipe: Recipe, folder: Path, checkpoints: str, witness: Witness) -> TextClassifier:
    seed_everything(recipe.seed)
    model = kind.family.classifier().build(recipe)
    device = select_device(recipe.device)
    train_texts = texts(folder / "train", 48)
    model.prepare(tokens=TOKENS, documents=train_texts.texts)
    task = LabelledTextTask(
        train=train_texts,
        validation=texts(folder / "validation", 11),
        recipe=recipe,
        device=device,
        focal_gamma=0.5,
        positive_weight=1.5,
    )
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


@for_every_kind
def test_a_request_survives_the_way_through_json(kind: Kind) -> None:
    asked = kind.spec(metadata={"a": "b"})
    assert isinstance(asked, DetectorSpec)
    assert kind.family.spec.model_validate_json(asked.model_dump_json()) == asked


@for_every_family
def test_the_example_is_a_valid_request_for_this_family(family: DetectorFamily) -> None:
    example = family.spec.model_validate_json(dump_json(family.example()))
    assert example.model_family == family.name
    assert family.resolve(example, MACHINE, vocab_size=VOCAB).model_family == family.name


@for_every_family
def test_a_family_introduces_itself(family: DetectorFamily) -> None:
    assert FAMILIES[family.name] is family
    assert family.title
    assert set(family.supported_tokenizers()) <= set(Registry.discover().tokenizers())


@for_every_family
def test_the_recipe_without_any_wish_is_complete(family: DetectorFamily) -> None:
    bare = family.spec.model_validate({"model_family": family.name, "data_paths": ("texts.csv",)})
    recipe = family.resolve(bare, MACHINE, vocab_size=VOCAB)
    assert (recipe.num_epochs is None) != (recipe.max_steps is None)
    assert family.estimate(recipe).total() > 0


@for_every_kind
def test_the_recipe_is_a_function_of_request_and_machine_and_survives_json(kind: Kind) -> None:
    recipe = kind.recipe()
    assert kind.recipe() == recipe
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


@for_every_kind
def test_a_device_that_is_not_there_is_refused(kind: Kind) -> None:
    with pytest.raises(AppError) as caught:
        kind.recipe(device="cuda")
    assert caught.value.code is ErrorCode.DEVICE_UNAVAILABLE


@for_every_kind
def test_a_demand_for_more_parameters_is_refused_by_name(kind: Kind) -> None:
    with pytest.raises(AppError) as caught:
        kind.recipe(min_params=10**12)
    assert caught.value.faults[0].pointer == "/min_params"


@for_every_kind
def test_the_estimate_counts_parameters_exactly(kind: Kind) -> None:
    recipe = kind.recipe()
    model = kind.family.classifier().build(recipe)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert kind.family.estimate(recipe).num_parameters == total
    assert 0 < model.num_embedding_parameters() < total


@for_every_kind
def test_a_logit_is_one_number_a_window_whatever_is_padded(kind: Kind) -> None:
    model = kind.family.classifier().build(kind.recipe()).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    ids_BT = torch.randint(0, VOCAB, (2, 12))
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[1, 5:] = 0
    with torch.no_grad():
        together = model.forward(ids_BT, mask_BT)
        alone = model.forward(ids_BT[1:, :5], mask_BT[1:, :5])
        heads_HB = model.training_logits(ids_BT, mask_BT)
    assert together.shape == (2,)
    assert together.dtype is torch.float32
    assert together[1].item() == pytest.approx(alone.item(), abs=1e-4)
    assert bool((heads_HB.amin(0) - 1e-6 <= together).all()), "a mean of what the heads say"
    assert bool((together <= heads_HB.amax(0) + 1e-6).all()), "a mean of what the heads say"


@for_every_kind
def test_the_same_seed_makes_the_same_network(kind: Kind) -> None:
    networks = []
    for _ in range(2):
        seed_everything(5)
        networks.append(weights(kind.family.classifier().build(kind.recipe())))
    assert same(*networks)


@for_every_kind
def test_the_loss_falls_within_twenty_steps(kind: Kind, tmp_path: Path) -> None:
    witness = Witness()
    at_once: dict[str, object] = {
        "dropout": 0.0,
        "batch_size": 16,
        "optimizer": {"name": "adamw", "learning_rate": 0.01},
        "schedule": {"name": "constant", "warmup_steps": 0},
    }
    train(kind, kind.recipe(**at_once), tmp_path, "checkpoints", witness)
    losses = [row["loss"] for _, row in witness.rows if "loss" in row]
    assert len(losses) == 20
    assert sum(losses[-3:]) / 3 < 0.7 * losses[0]
    assert witness.last_metrics["validation_roc_auc"] > 0.9


@for_every_kind
@pytest.mark.parametrize(("reason", "precision"), INTERRUPTIONS)
def test_interrupted_at_any_step_a_run_ends_bitwise_like_one_that_was_not(
    kind: Kind, tmp_path: Path, reason: StopReason | None, precision: Precision
) -> None:
    """With dropout, micro-batches, and checkpoints that are written beside training."""
    asked: dict[str, object] = {
        "max_steps": 5,
        "batch_size": 2,
        "gradient_accumulation_steps": 2,
        "eval_every_steps": 3,
        "checkpoint": CheckpointSpec(every_steps=2, keep_last=2),
    }
    recipe = kind.recipe(**asked).model_copy(update={"precision": precision})
    straight = Witness()
    expected = train(kind, recipe, tmp_path, "straight", straight)
    for step in range(1, 6):
        first, second = Witness(step, reason), Witness()
        with pytest.raises(Crashed) if reason is None else nullcontext():
            train(kind, recipe, tmp_path, f"resumed {step}", first)
        result = train(kind, recipe, tmp_path, f"resumed {step}", second)
        assert same(result.state_dict(), expected.state_dict()), f"interrupted after step {step}"
        assert second.last_metrics == straight.last_metrics
        kept = [row for row in first.rows if row[0] <= second.resumed_at]
        assert kept + second.rows == straight.rows


@for_every_kind
def test_a_run_that_ran_out_of_memory_goes_on_with_half_the_micro_batch(kind: Kind, tmp_path: Path) -> None:
    recipe = kind.recipe(dropout=0.0, max_steps=6, eval_every_steps=3)
    smaller = halved(recipe)
    assert smaller is not None
    straight, first, second = Witness(), Witness(4, StopReason.PAUSE), Witness()
    train(kind, recipe, tmp_path, "straight", straight)
    train(kind, recipe, tmp_path, "resumed", first)
    train(kind, smaller, tmp_path, "resumed", second)
    assert second.resumed_at == 4
    for (_, ours), (_, theirs) in zip(first.rows + second.rows, straight.rows, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)


@for_every_kind
def test_what_is_loaded_is_what_was_saved(kind: Kind, tmp_path: Path) -> None:
    recipe = kind.recipe()
    seed_everything(3)
    backend = kind.family.classifier()
    model = backend.build(recipe)
    model.prepare(tokens=TOKENS, documents=texts(tmp_path / "texts", 9).texts)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        backend.save(model, recipe, tmp_path / name)
    loaded = backend.load(recipe, tmp_path / "a")
    assert same(loaded.state_dict(), model.state_dict())
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"config.json", "model.safetensors"}
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@for_every_kind
def test_muon_moves_matrices_only(kind: Kind) -> None:
    model = kind.family.classifier().build(kind.recipe())
    moved = [parameter for name, parameter in model.named_parameters() if model.is_matrix_parameter(name)]
    assert moved
    assert all(parameter.ndim == 2 for parameter in moved)


@for_every_kind
def test_without_a_name_no_hub_is_asked(kind: Kind) -> None:
    asked = kind.spec()
    assert isinstance(asked, DetectorSpec)
    assert kind.family.classifier().complete(asked) is asked
