"""Several torch optimizers that step as one, with a state of named tensors that survives a checkpoint bit for bit."""

from collections.abc import Iterator, Mapping
from typing import Protocol, assert_never, runtime_checkable

import torch
from torch import Tensor, nn

from model_trainer.core.contracts.training import Recipe
from model_trainer.core.errors import AppError, ErrorCode


@runtime_checkable
class HasMatrices(Protocol):
    """A network that says which of its parameters Muon may move."""

    def is_matrix_parameter(self, name: str) -> bool:
        """A hidden matrix, not an embedding, a head or a bias."""
        ...


class TorchOptimizer(Protocol):
    """What is used of a torch.optim.Optimizer."""

    param_groups: list[dict[str, object]]

    @property
    def state(self) -> Mapping[Tensor, dict[str, Tensor]]:
        """Tensors of each parameter, by name."""
        ...

    def step(self) -> object:
        """Moves the parameters."""
        ...


Named = dict[str, nn.Parameter]


class Part:
    """One torch optimizer over some of the parameters, and its peak learning rate."""

    def __init__(
        self, name: str, optimizer: TorchOptimizer, *, parameters: Named, peak: float, decay: float = 0
    ) -> None:
        """`decay` is for optimizers without a decoupled weight decay of their own."""
        self.name = name
        self.optimizer = optimizer
        self.parameters = parameters
        self._peak = peak
        self._decay = decay
        self._rate = peak

    def set_rate(self, multiplier: float) -> None:
        """Sets the learning rate to `multiplier` times its peak."""
        self._rate = self._peak * multiplier
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate

    def step(self) -> None:
        """Moves the parameters by their gradients."""
        if self._decay:
            with torch.no_grad():
                torch._foreach_mul_(list(self.parameters.values()), 1 - self._rate * self._decay)
        self.optimizer.step()


class CombinedOptimizer:
    """Steps its parts one after the other."""

    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts

    def set_rates(self, multiplier: float) -> None:
        """Sets every learning rate to `multiplier` times its peak."""
        for part in self._parts:
            part.set_rate(multiplier)

    def step(self) -> None:
        """Moves all parameters by their gradients."""
        for part in self._parts:
            part.step()

    def zero_grad(self) -> None:
        """Drops all gradients."""
        for part in self._parts:
            for parameter in part.parameters.values():
                parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Moments and step counts as `part/parameter/name`; empty before the first step. Not copies."""
        return {
            f"{part.name}/{name}/{key}": tensor
            for part in self._parts
            for name, parameter in part.parameters.items()
            for key, tensor in _state_of(part, parameter).items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restores what state() gave, on the parameters' own devices; raises CHECKPOINT_INVALID when it is not of these
        parameters."""
        groups = _grouped(state)
        known = {(part.name, name): (part, parameter) for part, name, parameter in self._all()}
        if groups and set(groups) != set(known):
            raise AppError(
                ErrorCode.CHECKPOINT_INVALID, "The optimizer's state belongs to another model or optimizer."
            )
        for place, tensors in groups.items():
            part, parameter = known[place]
            # fused AdamW wants its step counts where the parameters are; Muon has none.
            restored = {key: tensor.to(parameter.device) for key, tensor in tensors.items()}
            _state_of(part, parameter).update(restored)

    def _all(self) -> Iterator[tuple[Part, str, nn.Parameter]]:
        for part in self._parts:
            for name, parameter in part.parameters.items():
                yield part, name, parameter


def build_optimizer(model: nn.Module, recipe: Recipe) -> CombinedOptimizer:
    """The recipe's optimizer over all of the model's parameters.

    Weight decay touches matrices only: shrinking biases and normalisation scales helps nothing. Raises CONFIG_INVALID when
    Muon is asked for and the model does not say which of its matrices it may move.
    """
    parameters = dict(model.named_parameters())
    match recipe.optimizer:
        case "adamw":
            return CombinedOptimizer(_adamw(parameters, recipe))
        case "sgd":
            return CombinedOptimizer(_sgd(parameters, recipe))
        case "muon":
            if not isinstance(model, HasMatrices):
                raise AppError(
                    ErrorCode.CONFIG_INVALID,
                    "This family has no parameters that Muon could move: ask for adamw.",
                )
            matrices = {name: p for name, p in parameters.items() if model.is_matrix_parameter(name)}
            others = {name: p for name, p in parameters.items() if name not in matrices}
            moved = [_muon(matrices, recipe)] if matrices else []
            return CombinedOptimizer([*moved, *_adamw(others, recipe)])
        case _:
            assert_never(recipe.optimizer)


def _muon(matrices: Named, recipe: Recipe) -> Part:
    """Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/: momentum, orthogonalised by Newton-Schulz steps."""
    optimizer: TorchOptimizer = torch.optim.Muon(
        list(matrices.values()),
        lr=recipe.matrix_learning_rate,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        nesterov=True,
        adjust_lr_fn="original",
    )
    return Part("muon", optimizer, parameters=matrices, peak=recipe.matrix_learning_rate)


def _adamw(parameters: Named, recipe: Recipe) -> list[Part]:
    return [
        Part(name, _one_adamw(some, recipe, decay), parameters=some, peak=recipe.learning_rate)
        for name, some, decay in _by_decay("adamw", parameters, recipe)
    ]


def _one_adamw(parameters: Named, recipe: Recipe, decay: float) -> TorchOptimizer:
    return torch.optim.AdamW(
        list(parameters.values()),
        lr=recipe.learning_rate,
        betas=(recipe.beta1, recipe.beta2),
        weight_decay=decay,
        fused=True,
    )


def _sgd(parameters: Named, recipe: Recipe) -> list[Part]:
    return [
        Part(name, _one_sgd(some, recipe), parameters=some, peak=recipe.learning_rate, decay=decay)
        for name, some, decay in _by_decay("sgd", parameters, recipe)
    ]


def _one_sgd(parameters: Named, recipe: Recipe) -> TorchOptimizer:
    return torch.optim.SGD(list(parameters.values()), lr=recipe.learning_rate, momentum=recipe.momentum)


def _by_decay(kind: str, parameters: Named, recipe: Recipe) -> list[tuple[str, Named, float]]:
    matrices = {name: p for name, p in parameters.items() if p.ndim >= 2}
    vectors = {name: p for name, p in parameters.items() if p.ndim < 2}
    parts = [(f"{kind}_matrices", matrices, recipe.weight_decay), (f"{kind}_vectors", vectors, 0.0)]
    return [part for part in parts if part[1]]


def _state_of(part: Part, parameter: nn.Parameter) -> dict[str, Tensor]:
    """The optimizer's own dictionary for a parameter (it makes an empty one on first sight), tensors only."""
    return part.optimizer.state[parameter]


def _grouped(state: Mapping[str, Tensor]) -> dict[tuple[str, str], dict[str, Tensor]]:
    groups: dict[tuple[str, str], dict[str, Tensor]] = {}
    for path, tensor in state.items():
        part, name, key = path.split("/")
        groups.setdefault((part, name), {})[key] = tensor
    return groups
