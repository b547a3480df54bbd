from pathlib import Path

import pytest
import torch
from torch import nn

from model_trainer.core.compute.machine import usable_cpus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.devices import (
    allow_tf32,
    cuda_has_bf16,
    is_cuda_build,
    probe_machine,
    select_device,
    set_threads,
)
from model_trainer.engine.devices.cpu import CpuDevice
from model_trainer.engine.devices.cuda import CudaFacts, capability_of_largest, largest_cuda, list_cuda


def test_the_cpu_is_always_there_and_keeps_what_it_is_given() -> None:
    device = select_device("cpu")
    tensor = torch.ones(3)
    module = nn.Linear(2, 2)
    device.move_module(module)
    device.synchronize()
    device.release()
    assert device.name == "cpu"
    assert device.move(tensor) is tensor
    assert module.weight.device.type == "cpu"


def test_bf16_computes_matrix_products_in_half_precision_and_only_inside() -> None:
    device = CpuDevice()
    left, right = torch.ones(2, 2), torch.ones(2, 2)
    with device.autocast("bf16"):
        assert (left @ right).dtype is torch.bfloat16
    with device.autocast("fp32"):
        assert (left @ right).dtype is torch.float32
    assert (left @ right).dtype is torch.float32


def test_fp16_is_refused_on_the_cpu() -> None:
    with pytest.raises(AppError, match="needs CUDA") as caught:
        CpuDevice().autocast("fp16")
    assert caught.value.code is ErrorCode.CONFIG_INVALID


def test_an_error_inside_autocast_comes_out_and_ends_it() -> None:
    with pytest.raises(KeyError), CpuDevice().autocast("bf16"):
        raise KeyError
    assert (torch.ones(1, 1) @ torch.ones(1, 1)).dtype is torch.float32


def test_memory_of_the_cpu_is_the_resident_set_in_bytes(tmp_path: Path) -> None:
    statm = tmp_path / "statm"
    statm.write_text("5000 300 100 1 0 900 0\n")
    page = CpuDevice(statm).memory_bytes() / 300
    assert page in (4096, 16384, 65536)
    assert CpuDevice(tmp_path / "missing").memory_bytes() == 0


def test_restored_generators_draw_the_same_numbers_again() -> None:
    device = CpuDevice()
    state = device.rng_state()
    first = torch.rand(4)
    device.load_rng_state(state)
    assert torch.equal(torch.rand(4), first)


def test_tf32_is_a_mode_of_the_process_that_can_be_taken_back() -> None:
    before = torch.get_float32_matmul_precision()
    try:
        allow_tf32(True)
        assert torch.get_float32_matmul_precision() == "high"
        allow_tf32(False)
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(before)


def test_cards_since_ampere_compute_bf16_and_no_card_does_not() -> None:
    assert cuda_has_bf16(lambda: (8, 0))
    assert cuda_has_bf16(lambda: (9, 0))
    assert not cuda_has_bf16(lambda: (7, 5))
    assert not cuda_has_bf16(lambda: None)
    assert cuda_has_bf16() == ((capability_of_largest() or (0, 0)) >= (8, 0))


def test_the_cuda_device_with_most_memory_is_taken_and_the_first_of_equals() -> None:
    cards = [CudaFacts(0, "small", 8), CudaFacts(1, "large", 24), CudaFacts(2, "twin", 24)]
    assert largest_cuda(lambda: cards) == cards[1]
    assert largest_cuda(list) is None


def test_a_machine_is_described_by_what_this_process_may_use() -> None:
    machine = probe_machine()
    assert machine.cpu_count == usable_cpus()
    assert machine.memory_bytes > 0
    assert machine.has_cuda is bool(list_cuda())


@pytest.mark.skipif(bool(list_cuda()), reason="there is a CUDA device, so it would not be refused")
def test_cuda_is_refused_where_there_is_none() -> None:
    with pytest.raises(AppError) as caught:
        select_device("cuda")
    assert caught.value.code is ErrorCode.DEVICE_UNAVAILABLE


def test_a_build_without_cuda_need_not_ask_a_driver() -> None:
    assert is_cuda_build() or not list_cuda()


def test_threads_are_set_for_the_whole_process() -> None:
    before = torch.get_num_threads()
    set_threads(1)
    assert torch.get_num_threads() == 1
    set_threads(before)
