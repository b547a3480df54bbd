"""The facts recipes are made from: processors, memory, accelerators."""

import os
import platform
import socket
from pathlib import Path

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


def usable_cpus() -> int:
    """Processors this process may run on (not the machine's, inside a container)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # pragma: no cover - only where the affinity call is missing (macOS, Windows)


def physical_memory_bytes(cgroup_limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Memory of the machine, or of the container when that is less; 0 where it cannot be told."""
    limits = [_sysconf_memory(), _cgroup_limit(cgroup_limit)]
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


def _sysconf_memory() -> int:
    if not hasattr(os, "sysconf"):
        return 0  # pragma: no cover - Windows
    names = os.sysconf_names
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return 0  # pragma: no cover - systems without these names
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _cgroup_limit(limit_file: Path) -> int:
    if not limit_file.exists():
        return 0
    text = limit_file.read_text().strip()
    return int(text) if text.isdigit() else 0
