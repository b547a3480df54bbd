"""Where tensors live: one module a kind of device. Nothing above this package asks torch which device it is on."""

from model_trainer.engine.devices.cuda import cuda_has_bf16, is_cuda_build
from model_trainer.engine.devices.probe import allow_tf32, probe_machine, select_device, set_threads

__all__ = ["allow_tf32", "cuda_has_bf16", "is_cuda_build", "probe_machine", "select_device", "set_threads"]
