import pytest
import torch
from torch import Tensor, nn

from model_trainer.core.contracts.training import OptimizerName
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.training.optimizer import build_optimizer
from tests.unit.engine.training.toys import ToyModel, toy_recipe


def with_gradients(model: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return model


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_adamw_moves_as_torchs_own_and_decays_matrices_only() -> None:
    ours, theirs = with_gradients(ToyModel()), with_gradients(ToyModel())
    optimizer = build_optimizer(ours, toy_recipe())
    matrices = [p for p in theirs.parameters() if p.ndim == 2]
    vectors = [p for p in theirs.parameters() if p.ndim == 1]
    reference = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=0.025,
        betas=(0.9, 0.95),
    )
    optimizer.set_rates(0.5)
    for _ in range(3):
        optimizer.step()
        reference.step()
    for ours_p, theirs_p in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(ours_p, theirs_p, atol=1e-7)


def test_muon_moves_the_hidden_matrix_by_an_orthogonal_step_and_leaves_the_rest_to_adamw() -> None:
    model = with_gradients(ToyModel())
    before = weights(model)
    optimizer = build_optimizer(model, toy_recipe(optimizer="muon", weight_decay=0.0))
    optimizer.step()
    moved = (before["hidden.weight"] - model.get_parameter("hidden.weight").detach()) / 0.02
    # A 4x3 matrix, scaled by sqrt(4 / 3): Newton-Schulz leaves singular values between about 0.7 and 1.2.
    singular = torch.linalg.svdvals(moved) / (4 / 3) ** 0.5
    assert bool(((singular > 0.6) & (singular < 1.3)).all())
    # AdamW's first step is the learning rate in every direction.
    step = (before["head.weight"] - model.get_parameter("head.weight").detach()).abs()
    assert torch.allclose(step, torch.full_like(step, 0.05), rtol=1e-3)
    assert {path.split("/")[0] for path in optimizer.state()} == {"muon", "adamw_matrices", "adamw_vectors"}


def test_sgd_decays_decoupled_from_its_momentum() -> None:
    model = with_gradients(nn.Linear(2, 1, bias=False))
    weight, gradient = weights(model)["weight"], next(model.parameters()).grad
    assert gradient is not None
    optimizer = build_optimizer(model, toy_recipe(optimizer="sgd", learning_rate=0.5, momentum=0.9))
    optimizer.step()
    optimizer.step()
    once = weight * (1 - 0.5 * 0.1) - 0.5 * gradient
    twice = once * (1 - 0.5 * 0.1) - 0.5 * (0.9 * gradient + gradient)
    assert torch.allclose(next(model.parameters()), twice, atol=1e-6)


def test_muon_is_refused_for_a_model_that_does_not_name_its_matrices() -> None:
    with pytest.raises(AppError, match="adamw") as caught:
        build_optimizer(nn.Linear(2, 2), toy_recipe(optimizer="muon"))
    assert caught.value.code is ErrorCode.CONFIG_INVALID


def test_muon_without_any_matrix_is_adamw() -> None:
    class NoMatrices(nn.Linear):
        def is_matrix_parameter(self, name: str) -> bool:
            return False

    model = with_gradients(NoMatrices(2, 2, bias=False))
    optimizer = build_optimizer(model, toy_recipe(optimizer="muon"))
    optimizer.step()
    assert {path.split("/")[0] for path in optimizer.state()} == {"adamw_matrices"}


@pytest.mark.parametrize("name", ["adamw", "muon", "sgd"])
def test_a_restored_state_takes_bitwise_the_same_next_step(name: OptimizerName) -> None:
    recipe = toy_recipe(optimizer=name)
    straight, resumed = ToyModel(), ToyModel()
    first, second = build_optimizer(straight, recipe), build_optimizer(resumed, recipe)
    for seed in range(3):
        with_gradients(straight, seed)
        first.step()
    resumed.load_state_dict(straight.state_dict())
    second.load_state({path: tensor.clone() for path, tensor in first.state().items()})
    for optimizer, model in ((first, straight), (second, resumed)):
        with_gradients(model, 9)
        optimizer.set_rates(0.7)
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))


def test_a_state_of_another_optimizer_is_refused_and_changes_nothing() -> None:
    adamw = build_optimizer(with_gradients(ToyModel()), toy_recipe())
    adamw.step()
    muon = build_optimizer(ToyModel(), toy_recipe(optimizer="muon"))
    with pytest.raises(AppError) as caught:
        muon.load_state(adamw.state())
    assert caught.value.code is ErrorCode.CHECKPOINT_INVALID
    assert muon.state() == {}


def test_gradients_are_dropped_not_zeroed() -> None:
    model = with_gradients(ToyModel())
    build_optimizer(model, toy_recipe()).zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())
