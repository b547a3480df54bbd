"""Fills a virtual environment: torch in the build that was asked for first, then this project with its extras.

Runs on the environment's own Python with nothing but the standard library. Versions come from constraints.txt.
torch goes first and alone because an extra index is asked about every package of an install, and one that cannot
be reached costs pip some seconds of retries each time.
"""

import argparse
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
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
    parser.add_argument(
        "--torch", choices=["cpu", "cuda"], default="cpu", help="which build of torch to take"
    )
    parser.add_argument("--extras", default="all,dev", help="extras of pyproject.toml, comma-separated")
    parser.add_argument(
        "--no-editable", dest="editable", action="store_false", help="copy instead of linking src/"
    )
    parser.add_argument("--stamp", type=Path, help="file to touch afterwards, as make's memory")
    options = parser.parse_args(arguments, namespace=_Options(stamp=None))
    status = install(torch=options.torch, extras=options.extras, editable=options.editable)
    if status == 0 and options.stamp is not None:
        _leave_stamp(options.stamp)
    return status


def install(*, torch: str, extras: str, editable: bool) -> int:
    """Install torch and then the project; return the first exit status that is not 0."""
    if {"all", "worker"} & set(extras.split(",")):
        status = _install_torch(torch)
        if status != 0:
            return status
    link = ["--editable"] if editable else []
    return _pip("install", "--constraint", str(ROOT / "constraints.txt"), *link, f"{ROOT}[{extras}]")


def _install_torch(build: str) -> int:
    version = _pinned_torch()
    installed = _installed_torch()
    if build == "cuda":
        if installed is not None and installed.endswith(CPU_LABEL):
            return _pip("uninstall", "--yes", "torch")
        return 0
    # Only Linux has CUDA inside PyPI's default wheel; elsewhere the plain one is the CPU build.
    if platform.system() != "Linux" or installed == version + CPU_LABEL:
        return 0
    if _pip("install", "--no-deps", "--quiet", "--quiet", f"torch=={version}{CPU_LABEL}") == 0:
        return 0
    print(f"No CPU build of torch {version} in the sources pip knows; adding PyTorch's own, {CPU_INDEX}")
    return _pip("install", "--no-deps", *PATIENCE, "--extra-index-url", CPU_INDEX, f"torch=={version}")


def _pinned_torch() -> str:
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition("==")
        if name == "torch":
            return version
    raise SystemExit("constraints.txt does not pin torch: run `make constraints`")


def _installed_torch() -> str | None:
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
