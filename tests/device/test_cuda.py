"""What only a CUDA device can show; skipped where there is none."""

from pathlib import Path

import pytest
import torch

from model_trainer.core.contracts.training import Precision
from model_trainer.engine.devices import probe_machine, select_device
from model_trainer.engine.devices.cuda import list_cuda
from model_trainer.models.family import LanguageFamily
from tests.contract.language_families import FAMILIES, continued, recipe_of, saved, train
from tests.contract.witness import Witness

pytestmark = [pytest.mark.device, pytest.mark.skipif(not list_cuda(), reason="needs a CUDA device")]


def test_the_machine_is_probed_and_the_device_named() -> None:
    machine = probe_machine()
    device = select_device("cuda")
    assert machine.has_cuda
    assert device.name == "cuda"
    tensor = device.move(torch.ones(4, 4))
    device.synchronize()
    assert tensor.device.type == "cuda"
    assert 0 < device.memory_bytes() < machine.cuda_memory_bytes


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_products_are_computed_in_the_precision_asked_for(precision: Precision, dtype: torch.dtype) -> None:
    device = select_device("cuda")
    tensor = device.move(torch.ones(4, 4))
    with device.autocast(precision):
        assert (tensor @ tensor).dtype is dtype


def test_restored_generators_draw_the_same_numbers_again() -> None:
    device = select_device("cuda")
    state = device.rng_state()
    first = torch.rand(4, device="cuda")
    device.load_rng_state(state)
    assert torch.equal(torch.rand(4, device="cuda"), first)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_family_trains_and_resumes_on_cuda(
    family: LanguageFamily, precision: Precision, tmp_path: Path
) -> None:
    recipe = recipe_of(family, precision="fp32").model_copy(update={"device": "cuda", "precision": precision})
    train(family, recipe, tmp_path, "checkpoints", Witness(stop_after=11))
    resumed = Witness()
    model = train(family, recipe, tmp_path, "checkpoints", resumed)
    assert resumed.resumed_at in (6, 7)
    assert all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_decoder_says_on_cuda_what_it_says_on_the_cpu(family: LanguageFamily, tmp_path: Path) -> None:
    recipe = recipe_of(family)
    saved(family, recipe, tmp_path)
    prompts = [[1, 2, 3], [4], [place % 5 for place in range(16)]]
    answers = [
        continued(family.backend().decoder(recipe, tmp_path, select_device(name)), prompts, num_tokens=40)
        for name in ("cpu", "cuda")
    ]
    assert answers[0][0] == answers[1][0]
    torch.testing.assert_close(answers[0][1], answers[1][1].cpu(), rtol=0, atol=1e-3)
