"""What commands need of those who follow runs."""

from typing import Protocol


class Watching(Protocol):
    """Runs whose news the owner is told. Its methods raise AppErrors."""

    async def watch(self, run_id: str) -> None:
        """Tells of this run from now on, whoever ordered it."""
        ...

    async def unwatch(self, run_id: str) -> bool:
        """Tells of this run no more; False when it was not watched."""
        ...

    def watched(self) -> tuple[str, ...]:
        """Run ids, newest first."""
        ...
