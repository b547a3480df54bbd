"""Fills a virtual environment: torch in the build that was asked for first, then this project with its extras.

Runs on the environment's own Python with nothing but the standard library. Versions come from constraints.txt.
torch goes first and alone because an extra index is asked about every package of an install, and one that cannot
be reached costs pip some seconds of retries each time.
"""

import argparse
import importlib
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILDS = ("cpu", "cuda")
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CPU_LABEL = "+cpu"
PATIENCE = ("--retries", "1", "--timeout", "15")


class _Options(argparse.Namespace):
    torch: str
    extras: str
    editable: bool
    stamp: Path | None


def main(arguments: list[str]) -> int:
    """Install and return pip's exit status; write the stamp file when all went well."""
    parser = argparse.ArgumentParser(description="Install Model Trainer into the environment of this Python.")
    parser.add_argument("--torch", choices=BUILDS, default="cpu", help="which build of torch to take")
    parser.add_argument("--extras", default="all,dev", help="extras of pyproject.toml, comma-separated")
    parser.add_argument(
        "--no-editable", dest="editable", action="store_false", help="copy src/, do not link it"
    )
    parser.add_argument("--stamp", type=Path, help="file to touch afterwards, as make's memory")
    options = parser.parse_args(arguments, namespace=_Options(stamp=None))
    status = 0
    if {"all", "worker"} & set(options.extras.split(",")):
        status = _install_torch(options.torch)
    if status == 0:
        status = _install_project(extras=options.extras, editable=options.editable)
    if status == 0 and options.stamp is not None:
        _leave_stamp(options.stamp)
    return status


def torch_attempts(*, build: str, system: str, installed: str | None, version: str) -> list[list[str]]:
    """Return pip commands to try in turn until one succeeds; empty where the project's own install does it all."""
    if build == "cuda":
        from_cpu = installed is not None and installed.endswith(CPU_LABEL)
        return [["uninstall", "--yes", "torch"]] if from_cpu else []
    # Only Linux has CUDA inside PyPI's default wheel; elsewhere the plain one is the CPU build.
    if system != "Linux" or installed == version + CPU_LABEL:
        return []
    return [
        ["install", "--no-deps", "-qqq", f"torch=={version}{CPU_LABEL}"],
        ["install", "--no-deps", *PATIENCE, "--extra-index-url", CPU_INDEX, f"torch=={version}"],
    ]


def _install_torch(build: str) -> int:
    version = _pinned_torch()
    status = 0
    for attempt in torch_attempts(
        build=build, system=platform.system(), installed=_installed_torch(), version=version
    ):
        if CPU_INDEX in attempt:
            print(f"No CPU build of torch in the sources pip knows; adding PyTorch's own, {CPU_INDEX}")
        status = _pip(*attempt)
        if status == 0:
            break
    if build == "cpu" and platform.system() == "Linux" and _installed_torch() == version:
        print("No CPU build could be reached: this is the CUDA one, and its libraries follow (some GB).")
    return status


def _install_project(*, extras: str, editable: bool) -> int:
    link = ["--editable"] if editable else []
    project = f"{ROOT}[{extras}]" if extras else str(ROOT)
    return _pip("install", "--constraint", str(ROOT / "constraints.txt"), *link, project)


def _pinned_torch() -> str:
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition("==")
        if name == "torch":
            return version
    raise SystemExit("constraints.txt does not pin torch: run `make constraints`")


def _installed_torch() -> str | None:
    importlib.invalidate_caches()
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def _pip(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "pip", *arguments], check=False).returncode


def _leave_stamp(stamp: Path) -> None:
    for other in stamp.parent.glob(".installed-*"):
        other.unlink()
    stamp.touch()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
