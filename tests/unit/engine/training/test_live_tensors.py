import pytest
import torch

from model_trainer.engine.training.live_tensors import copied, not_finite


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_value_that_is_not_finite_is_named(value: float, dtype: torch.dtype) -> None:
    tensors = {"a": torch.ones(3, 2), "b": torch.ones(5, dtype=dtype), "c": torch.empty(0)}
    assert not_finite(tensors) is None
    tensors["b"][3] = value
    assert not_finite(tensors) == "b"


def test_whole_numbers_are_always_finite() -> None:
    assert not_finite({"steps": torch.tensor(4)}) is None


def test_copies_are_contiguous_and_share_no_memory() -> None:
    live = torch.arange(6.0).reshape(2, 3).t()
    copy = copied({"weight": live})["weight"]
    kept = live.clone()
    live.zero_()
    assert copy.is_contiguous()
    assert torch.equal(copy, kept)
