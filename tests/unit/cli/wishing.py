"""What somebody wishes of a detector on the command line, for tests."""

from model_trainer.cli.detecting import NOTHING, Gpu, Wishes, body_of
from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.base import JsonObject

CPU = Gpu(
    machine=Machine(cpu_count=2, memory_bytes=0, native_bf16=False, cuda_memory_bytes=0), has_bf16=False
)


def wishes(**changes: object) -> Wishes:
    given = {name: getattr(NOTHING, name) for name in Wishes.__slots__}
    return Wishes(**{**given, "data_paths": ("x.csv",), **changes})


def body(wished: Wishes, gpu: Gpu = CPU) -> JsonObject:
    return body_of(wished, finish=True, probe=lambda: gpu)
