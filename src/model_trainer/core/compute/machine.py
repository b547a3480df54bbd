"""The facts recipes are made from: processors, memory, accelerators."""

import os
import platform
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from model_trainer.core.contracts.base import Contract


class Machine(Contract):
    """One machine, as a recipe sees it."""

    cpu_count: int
    memory_bytes: int
    native_bf16: bool
    """The CPU multiplies bf16 itself (AVX-512 BF16 or AMX); without that bf16 is slower than fp32."""
    cuda_memory_bytes: int
    """Of the largest CUDA device; 0 without one."""

    @property
    def has_cuda(self) -> bool:
        """Whether a CUDA device is there."""
        return self.cuda_memory_bytes > 0

    def limited_to(self, cpus: int) -> "Machine":
        """The same machine, of which a job may use so many CPUs."""
        return Machine(
            cpu_count=min(self.cpu_count, cpus),
            memory_bytes=self.memory_bytes,
            native_bf16=self.native_bf16,
            cuda_memory_bytes=self.cuda_memory_bytes,
        )


def usable_cpus(system: object = os) -> int:
    """Processors this process may run on (not the machine's, inside a container).

    Args:
        system: the module os, which knows of affinity on Linux, but not on macOS and Windows.
    """
    if isinstance(system, _KnowsAffinity):
        return len(system.sched_getaffinity(0))
    return os.cpu_count() or 1


def physical_memory_bytes(
    cgroup_limit: Path = Path("/sys/fs/cgroup/memory.max"), *, system: object = os
) -> int:
    """Memory of the machine, or of the container when that is less; 0 where it cannot be told.

    Args:
        cgroup_limit: where a Linux container finds its limit.
        system: the module os, which knows of sysconf everywhere but on Windows.
    """
    limits = [_sysconf_memory(system), _cgroup_limit(cgroup_limit)]
    return min((limit for limit in limits if limit > 0), default=0)


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Instruction-set flags of the first processor; empty where Linux' file is missing."""
    if not cpuinfo.exists():
        return frozenset()
    for line in cpuinfo.read_text(errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return frozenset(value.split())
    return frozenset()


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name."""
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def computes_bf16(flags: frozenset[str]) -> bool:
    """Whether a CPU with these flags multiplies bf16 natively."""
    return bool(flags & {"avx512_bf16", "amx_bf16"})


def hostname() -> str:
    """This host's name."""
    return socket.gethostname()


def _sysconf_memory(system: object) -> int:
    if not isinstance(system, _KnowsSysconf):
        return 0
    if not {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= system.sysconf_names.keys():
        return 0
    return system.sysconf("SC_PHYS_PAGES") * system.sysconf("SC_PAGE_SIZE")


def _cgroup_limit(limit_file: Path) -> int:
    if not limit_file.exists():
        return 0
    text = limit_file.read_text().strip()
    return int(text) if text.isdigit() else 0


@runtime_checkable
class _KnowsAffinity(Protocol):
    def sched_getaffinity(self, process_id: int, /) -> set[int]: ...


@runtime_checkable
class _KnowsSysconf(Protocol):
    @property
    def sysconf_names(self) -> Mapping[str, int]: ...

    def sysconf(self, name: str, /) -> int: ...
