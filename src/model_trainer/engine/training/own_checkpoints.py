"""The checkpoints that a run can go on from: those that verify and are its own; the others are told and passed over."""

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.protocols import TrainingObserver
from model_trainer.engine.training.checkpoint import CheckpointFolder, Snapshot
from model_trainer.engine.training.same_run import check_same_run


class OwnCheckpoints:
    """Finds and loads them, all bytes verified."""

    def __init__(
        self,
        checkpoints: CheckpointFolder,
        *,
        observer: TrainingObserver,
        recipe_sha256: str,
        data_sha256: str,
        total_steps: int,
    ) -> None:
        """By the digests and the length a run knows its own."""
        self._checkpoints = checkpoints
        self._observer = observer
        self._recipe_sha256 = recipe_sha256
        self._data_sha256 = data_sha256
        self._total_steps = total_steps

    def newest(self) -> tuple[Snapshot | None, tuple[int, ...]]:
        """The newest good one, if there is any, and the steps of those that were passed over on the way to it.

        Raises DATA_CHANGED when it is of this run, but was made with other data.
        """
        passed_over: list[int] = []
        for step in reversed(self._checkpoints.steps()):
            snapshot = self.of_step(step)
            if snapshot is not None:
                return snapshot, tuple(passed_over)
            passed_over.append(step)
        return None, tuple(passed_over)

    def of_step(self, step: int) -> Snapshot | None:
        """The one of `step` if it is good. Raises as newest() does."""
        try:
            snapshot = self._checkpoints.load(step, sign=self._observer.stop_requested)
            check_same_run(
                snapshot,
                recipe_sha256=self._recipe_sha256,
                data_sha256=self._data_sha256,
                total_steps=self._total_steps,
            )
        except AppError as error:
            if error.code is ErrorCode.DATA_CHANGED:
                raise
            self._observer.checkpoint_rejected(path=self._checkpoints.path_of(step), why=error.message)
            return None
        return snapshot
