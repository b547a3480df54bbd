"""What a manifest says of where a run was made: libraries, accelerators, host, and the commit of the code."""

import importlib.metadata
import re
import subprocess
from pathlib import Path

import pytest

from model_trainer.worker.manifests import (
    git_commit,
    host_facts,
    library_versions,
)


def test_only_installed_libraries_have_a_version() -> None:
    versions = library_versions(("pydantic", "no-such-library"))
    assert versions == {"pydantic": importlib.metadata.version("pydantic")}
    assert library_versions()["torch"].startswith("2.")


class _Cuda:
    def __init__(self, *, names: tuple[str, ...]) -> None:
        self._names = names

    def is_available(self) -> bool:
        return bool(self._names)

    def device_count(self) -> int:
        return len(self._names)

    def get_device_name(self, device: int, /) -> str:
        return self._names[device]


class _Torch:
    def __init__(self, *names: str) -> None:
        self.cuda = _Cuda(names=names)


@pytest.mark.parametrize(
    ("modules", "gpus"),
    [
        ({}, ()),
        ({"torch": _Torch()}, ()),
        ({"torch": _Torch("First", "Second")}, ("First", "Second")),
        ({"torch": object()}, ()),
    ],
)
def test_accelerators_are_named_when_torch_is_there_and_sees_them(
    modules: dict[str, object], gpus: tuple[str, ...]
) -> None:
    assert host_facts(modules).gpus == gpus


def test_the_host_is_described() -> None:
    facts = host_facts()
    assert facts.hostname
    assert facts.python.startswith("3.")
    assert facts.cpu_count >= 1
    assert facts.memory_bytes > 0


def _program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def _checkout(folder: Path) -> Path:
    package = folder / "package"
    package.mkdir()
    (package / "__init__.py").write_text("x = 1\n")
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "first"],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True)
    return package


def test_the_commit_of_the_packages_own_checkout_is_told(tmp_path: Path) -> None:
    commit = git_commit(_checkout(tmp_path))
    assert commit is not None
    assert re.fullmatch("[0-9a-f]{40}", commit)


def test_changed_files_are_told_too(tmp_path: Path) -> None:
    package = _checkout(tmp_path)
    (package / "__init__.py").write_text("x = 2\n")
    assert (git_commit(package) or "").endswith("-dirty")


def test_a_checkout_that_is_not_the_packages_own_is_not_asked(tmp_path: Path) -> None:
    installed = _checkout(tmp_path) / "site-packages"
    installed.mkdir()
    (installed / "__init__.py").touch()
    assert git_commit(installed) is None


@pytest.mark.parametrize(("baked", "told"), [("abc123\n", "abc123"), ("\n", None)])
def test_a_commit_baked_into_the_package_is_believed(tmp_path: Path, baked: str, told: str | None) -> None:
    package = _checkout(tmp_path)
    (package / "COMMIT").write_text(baked)
    assert git_commit(package) == told


def test_a_machine_without_git_has_no_commit(tmp_path: Path) -> None:
    assert git_commit(tmp_path, git="no-such-git") is None


def test_a_git_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    git = _program(tmp_path / "git", "exec sleep 60")
    assert git_commit(tmp_path, git=git, timeout_seconds=0.05) is None
