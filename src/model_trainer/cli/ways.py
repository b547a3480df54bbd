"""The ways into the real world, as the installed command takes them."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from model_trainer.cli.house import House
from model_trainer.cli.session import Ways
from model_trainer.core.config import Settings, load_settings
from model_trainer.core.config.settings import process_environment

if TYPE_CHECKING:
    from model_trainer.client import TrainerClient

PROGRAM_SECONDS = 60.0


def real_ways() -> Ways:
    """Nothing is opened yet."""
    return Ways(
        connect=connect,
        settings=read_settings,
        environment=process_environment,
        doors=House(),
        run_program=run_program,
    )


def connect(url: str, api_key: str | None) -> "TrainerClient":
    """A client over the network."""
    from model_trainer.client import TrainerClient

    return TrainerClient(url, api_key=api_key)


def read_settings(env_file: Path | None) -> Settings:
    """The settings of this process."""
    return load_settings(env_file=env_file)


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
