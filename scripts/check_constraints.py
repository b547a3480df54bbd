"""Holds pyproject.toml, poetry.lock and constraints.txt together; `--write` makes constraints.txt from the lock.

Knows nothing of Poetry itself, of the network or of what is installed: it reads three files and compares them.
"""

import argparse
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydantic import BaseModel, Field

ROOT = Path(__file__).resolve().parent.parent

LEFT_TO_TORCH = re.compile(r"^(nvidia-|cuda-|triton)")
"""The CUDA build of torch pins these itself, and the lock holds two versions of some; a CPU build needs none."""

HEADER = (
    "# Made from poetry.lock by `make constraints`; change pyproject.toml and the lock, not this file.\n"
    "# CUDA libraries are left out: the CUDA build of torch pins its own.\n"
)


class _Toml(Protocol):
    def loads(self, text: str, /) -> object: ...


TOML: _Toml = tomllib


class LockedPackage(BaseModel):
    """One package as the lock pins it."""

    name: str
    version: str
    source: dict[str, str] | None = None


class Lock(BaseModel):
    """What this script reads of poetry.lock."""

    package: list[LockedPackage]
    extras: dict[str, list[str]] = Field(default_factory=dict)


class Project(BaseModel):
    """What this script reads of pyproject.toml's [project] table."""

    dependencies: list[str]
    optional_dependencies: dict[str, list[str]] = Field(default_factory=dict, alias="optional-dependencies")


class PyProject(BaseModel):
    """pyproject.toml as far as it concerns versions."""

    project: Project


class _Options(argparse.Namespace):
    write: bool


def render_constraints(lock: Lock) -> str:
    """Return the text of constraints.txt for a lock; ValueError if a package that stays has two versions."""
    pins: dict[str, str] = {}
    for package in lock.package:
        name = canonicalize_name(package.name)
        if LEFT_TO_TORCH.match(name):
            continue
        if name in pins and pins[name] != package.version:
            raise ValueError(
                f"poetry.lock holds {name} twice ({pins[name]}, {package.version}): narrow it down"
            )
        pins[name] = package.version
    return HEADER + "".join(f"{name}=={version}\n" for name, version in sorted(pins.items()))


def find_drift(*, pyproject: PyProject, lock: Lock, constraints: str) -> list[str]:
    """Return one sentence for each way in which the three files disagree; empty when they agree."""
    return [
        *_lock_against_project(pyproject.project, lock),
        *_foreign_sources(lock.package),
        *_constraints_against_lock(lock, constraints),
    ]


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Compare the files under `root`, or rewrite constraints.txt; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write constraints.txt from poetry.lock first")
    options = parser.parse_args(arguments, namespace=_Options())
    pyproject = PyProject.model_validate(TOML.loads((root / "pyproject.toml").read_text(encoding="utf-8")))
    lock = Lock.model_validate(TOML.loads((root / "poetry.lock").read_text(encoding="utf-8")))
    target = root / "constraints.txt"
    if options.write:
        target.write_text(render_constraints(lock), encoding="utf-8", newline="\n")
    constraints = target.read_text(encoding="utf-8") if target.exists() else ""
    faults = find_drift(pyproject=pyproject, lock=lock, constraints=constraints)
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def _lock_against_project(project: Project, lock: Lock) -> list[str]:
    locked: defaultdict[str, set[str]] = defaultdict(set)
    for package in lock.package:
        locked[canonicalize_name(package.name)].add(package.version)
    asked = [
        *project.dependencies,
        *(line for lines in project.optional_dependencies.values() for line in lines),
    ]
    faults = [fault for line in asked for fault in _unmet(Requirement(line), locked)]
    if _extras(project.optional_dependencies) != _extras(lock.extras):
        faults.append("poetry.lock has other extras than pyproject.toml: run `poetry lock`")
    return sorted(set(faults))


def _unmet(requirement: Requirement, locked: Mapping[str, set[str]]) -> list[str]:
    versions = locked.get(canonicalize_name(requirement.name))
    if versions is None:
        return [f"{requirement.name} is in pyproject.toml but not in poetry.lock: run `poetry lock`"]
    return [
        f"pyproject.toml asks for {requirement}, poetry.lock holds {version}: run `poetry lock`"
        for version in sorted(versions)
        if not requirement.specifier.contains(version, prereleases=True)
    ]


def _extras(table: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    return {
        extra: sorted(canonicalize_name(Requirement(line).name) for line in lines)
        for extra, lines in sorted(table.items())
    }


def _foreign_sources(packages: Iterable[LockedPackage]) -> list[str]:
    return [
        f"poetry.lock takes {package.name} from {package.source.get('url', 'a place of its own')}: "
        "lock against the public index"
        for package in packages
        if package.source is not None
    ]


def _constraints_against_lock(lock: Lock, constraints: str) -> list[str]:
    wanted, found = set(render_constraints(lock).splitlines()), set(constraints.splitlines())
    return [
        *(f"constraints.txt lacks `{line}`: run `make constraints`" for line in sorted(wanted - found)),
        *(
            f"constraints.txt has `{line}`, the lock does not: run `make constraints`"
            for line in sorted(found - wanted)
        ),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
