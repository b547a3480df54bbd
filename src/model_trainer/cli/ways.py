"""The ways into the real world, as the installed command takes them. Each imports what it needs when it is taken."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from model_trainer.cli.session import Doors, Ways

if TYPE_CHECKING:
    from model_trainer.client import TrainerClient
    from model_trainer.core.config import Settings

PROGRAM_SECONDS = 60.0


def real_ways(doors: Doors) -> Ways:
    """Nothing is opened yet; the doors come from above, where all of them are known."""
    return Ways(
        connect=connect,
        settings=read_settings,
        environment=read_environment,
        doors=doors,
        run_program=run_program,
    )


def connect(url: str, api_key: str | None) -> "TrainerClient":
    """A client over the network."""
    from model_trainer.client import TrainerClient

    return TrainerClient(url, api_key=api_key)


def read_settings(env_file: Path | None) -> "Settings":
    """The settings of this process."""
    from model_trainer.core.config import load_settings

    return load_settings(env_file=env_file)


def read_environment() -> dict[str, str]:
    """What processes we start inherit."""
    from model_trainer.core.config.settings import process_environment

    return process_environment()


def run_program(command: Sequence[str], *, timeout_seconds: float = PROGRAM_SECONDS) -> tuple[int, str]:
    """A short program's exit code and what it said."""
    try:
        ended = subprocess.run(
            list(command),
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return 124, f"no answer within {timeout_seconds:.0f} seconds"
    return ended.returncode, ended.stdout or ended.stderr
