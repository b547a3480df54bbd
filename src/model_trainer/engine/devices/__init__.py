"""Where tensors live: one module a kind of device. Nothing above this package asks torch which device it is on."""

from model_trainer.engine.devices.cuda import is_cuda_build
from model_trainer.engine.devices.probe import probe_machine, select_device, set_threads

__all__ = ["is_cuda_build", "probe_machine", "select_device", "set_threads"]
