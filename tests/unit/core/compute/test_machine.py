"""What a machine says of itself."""

import os
from pathlib import Path

from model_trainer.core.compute.machine import (
    Machine,
    computes_bf16,
    cpu_flags,
    cpu_model,
    hostname,
    physical_memory_bytes,
    usable_cpus,
)

CPUINFO = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Example CPU @ 2.00GHz
flags\t\t: fpu sse2 avx512_bf16

processor\t: 1
model name\t: Another CPU
flags\t\t: fpu
"""


def machine(cuda_memory_bytes: int) -> Machine:
    return Machine(cpu_count=2, memory_bytes=1, native_bf16=False, cuda_memory_bytes=cuda_memory_bytes)


def test_a_machine_has_cuda_when_a_cuda_device_has_memory() -> None:
    assert machine(1).has_cuda
    assert not machine(0).has_cuda


def test_a_job_may_use_fewer_processors_but_never_more() -> None:
    assert machine(3).limited_to(1) == machine(3).model_copy(update={"cpu_count": 1})
    assert machine(3).limited_to(64) == machine(3)


def test_only_processors_this_process_may_use_count() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert usable_cpus() == len(allowed)


def test_where_a_process_cannot_be_held_to_some_processors_all_of_them_count() -> None:
    assert usable_cpus(object()) == os.cpu_count()


class SystemWithoutPages:
    """Knows sysconf, but not how much memory there is."""

    def __init__(self) -> None:
        self.sysconf_names = {"SC_PAGE_SIZE": 1}

    def sysconf(self, name: str, /) -> int:
        raise AssertionError(name)


def test_memory_that_the_system_does_not_tell_is_zero_unless_a_container_limits_it(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    for system in (object(), SystemWithoutPages()):
        assert physical_memory_bytes(limit, system=system) == 0
    limit.write_text("67108864\n")
    assert physical_memory_bytes(limit, system=object()) == 2**26


def test_the_first_processor_speaks_for_all(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(CPUINFO)

    assert cpu_flags(cpuinfo) == {"fpu", "sse2", "avx512_bf16"}
    assert cpu_model(cpuinfo) == "Example CPU @ 2.00GHz"


def test_a_machine_without_cpuinfo_still_has_a_name(tmp_path: Path) -> None:
    assert cpu_flags(tmp_path / "missing") == frozenset()
    assert cpu_model(tmp_path / "missing")


def test_a_processor_that_names_nothing_has_no_flags(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")

    assert cpu_flags(cpuinfo) == frozenset()
    assert cpu_model(cpuinfo)


def test_bf16_is_native_with_either_instruction_set() -> None:
    assert computes_bf16(frozenset({"fpu", "avx512_bf16"}))
    assert computes_bf16(frozenset({"amx_bf16"}))
    assert not computes_bf16(frozenset({"fpu", "avx512f", "bf16"}))


def test_a_containers_limit_counts_when_it_is_less_than_the_machine(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    whole = physical_memory_bytes(tmp_path / "missing")
    assert whole > 2**26

    for text, expected in (("67108864\n", 2**26), ("max\n", whole), (f"{2**62}\n", whole)):
        limit.write_text(text)
        assert physical_memory_bytes(limit) == expected


def test_a_host_has_a_name() -> None:
    assert hostname()
