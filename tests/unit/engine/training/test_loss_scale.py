import pytest
import torch
from torch import nn

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.training.loss_scale import LossScale

FINE = torch.tensor(1.0)
OVERFLOW = torch.tensor(float("inf"))


def test_fp32_and_bf16_are_not_scaled_and_nothing_is_read_from_the_device() -> None:
    scale = LossScale("bf16")
    loss = torch.tensor(2.0)
    assert scale.scaled(loss) is loss
    assert scale.accepts(OVERFLOW)
    scale.unscale([])
    assert scale.state.scale == 1.0


def test_scaled_gradients_come_back_exactly() -> None:
    parameter, unused = nn.Parameter(torch.tensor([1.5, -2.0])), nn.Parameter(torch.zeros(1))
    scale = LossScale("fp16")
    torch.autograd.backward(scale.scaled((parameter**2).sum()))
    assert parameter.grad is not None
    assert parameter.grad[0].item() == 3.0 * 2**16
    scale.unscale([parameter, unused])
    assert parameter.grad.tolist() == [3.0, -4.0]


def test_an_overflow_is_passed_over_at_half_the_scale() -> None:
    scale = LossScale("fp16")
    assert scale.accepts(FINE)
    assert not scale.accepts(OVERFLOW)
    assert not scale.accepts(torch.tensor(float("nan")))
    assert scale.state.scale == 2.0**14
    assert scale.state.num_good_steps == 0


def test_the_scale_doubles_after_many_good_steps() -> None:
    scale = LossScale("fp16")
    assert all(scale.accepts(FINE) for _ in range(1999))
    assert scale.state.scale == 2.0**16
    assert scale.accepts(FINE)
    assert (scale.state.scale, scale.state.num_good_steps) == (2.0**17, 0)


def test_gradients_that_overflow_at_any_scale_have_diverged() -> None:
    scale = LossScale("fp16")
    for _ in range(26):
        scale.accepts(OVERFLOW)
    with pytest.raises(AppError) as caught:
        scale.accepts(OVERFLOW)
    assert caught.value.code is ErrorCode.DIVERGED
