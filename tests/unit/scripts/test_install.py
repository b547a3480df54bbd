"""Which build of torch an install tries, and in what order."""

import pytest

from scripts.install import CPU_INDEX, torch_attempts


def test_on_linux_the_configured_sources_come_first_and_pytorchs_index_second() -> None:
    first, second = torch_attempts(build="cpu", system="Linux", installed=None, version="2.13.0")

    assert first[-1] == "torch==2.13.0+cpu"
    assert CPU_INDEX not in first
    assert second[-3:] == ["--extra-index-url", CPU_INDEX, "torch==2.13.0"]


def test_the_extra_index_is_asked_about_torch_alone() -> None:
    attempts = torch_attempts(build="cpu", system="Linux", installed=None, version="2.13.0")

    assert all("--no-deps" in attempt for attempt in attempts)


@pytest.mark.parametrize("system", ["Darwin", "Windows"])
def test_elsewhere_the_plain_wheel_is_the_cpu_build(system: str) -> None:
    assert torch_attempts(build="cpu", system=system, installed=None, version="2.13.0") == []


def test_a_cpu_build_that_is_there_stays() -> None:
    assert torch_attempts(build="cpu", system="Linux", installed="2.13.0+cpu", version="2.13.0") == []


def test_going_back_from_cuda_replaces_the_build() -> None:
    attempts = torch_attempts(build="cpu", system="Linux", installed="2.13.0", version="2.13.0")

    assert attempts[0][-1] == "torch==2.13.0+cpu"


def test_asking_for_cuda_removes_a_cpu_build_first() -> None:
    attempts = torch_attempts(build="cuda", system="Linux", installed="2.13.0+cpu", version="2.13.0")

    assert attempts == [["uninstall", "--yes", "torch"]]


@pytest.mark.parametrize("installed", [None, "2.13.0"])
def test_asking_for_cuda_needs_nothing_else_beforehand(installed: str | None) -> None:
    assert torch_attempts(build="cuda", system="Linux", installed=installed, version="2.13.0") == []
