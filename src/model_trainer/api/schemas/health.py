"""Whether the service lives and can work."""

from typing import Literal

from model_trainer.core.contracts.base import Contract


class HealthView(Contract):
    """The process answers."""

    status: Literal["ok"] = "ok"
    version: str


class ReadyView(Contract):
    """Everything a run needs is there."""

    status: Literal["ready"] = "ready"
    workers: dict[str, int]
    """Live workers by queue."""
    free_disk_bytes: int
