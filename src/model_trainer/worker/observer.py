"""The engine's news, carried to the run: progress and events to the lease, rows to the series."""

from pathlib import Path

from model_trainer.core.artifact_files import CHECKPOINTS
from model_trainer.core.checkpoints import name_of, read_manifest
from model_trainer.core.contracts.events import (
    CheckpointRejected,
    CheckpointSaved,
    JobResumed,
    MetricsConfig,
    MetricsProgress,
)
from model_trainer.core.contracts.run import LastCheckpoint, Progress
from model_trainer.core.contracts.training import Recipe
from model_trainer.core.logging import get_logger
from model_trainer.engine.protocols import StopReason
from model_trainer.worker.lease import HeldRun
from model_trainer.worker.series import RunSeries

log = get_logger(__name__)


class RunObserver:
    """TrainingObserver of one run. Nothing here waits for the store."""

    def __init__(
        self,
        *,
        held: HeldRun,
        series: RunSeries,
        folder: Path,
        recipe: Recipe,
        train_tokens: int,
        validation_tokens: int,
    ) -> None:
        self._held = held
        self._series = series
        self._folder = folder
        self._recipe = recipe
        self._train_tokens = train_tokens
        self._validation_tokens = validation_tokens
        self._series_begun = False
        self.num_parameters = 0

    def stop_requested(self) -> StopReason | None:
        """What HeldRun.check() would raise. The engine asks during long saves too: asking is a sign of life."""
        held = self._held
        held.sign()
        if held.is_lost:
            return StopReason.LEASE_LOST
        if held.is_cancelled:
            return StopReason.CANCEL
        if held.must_hand_over:
            return StopReason.HAND_OVER
        return StopReason.PAUSE if held.is_paused else None

    def configured(self, *, total_steps: int, num_parameters: int, tokens_per_step: int) -> None:
        """Says what the series that follow are of."""
        self.num_parameters = num_parameters
        event = MetricsConfig(
            job_id=self._held.run_id,
            user_id=self._held.user_id,
            total_steps=total_steps,
            num_parameters=num_parameters,
            tokens_per_step=tokens_per_step,
            device=self._recipe.device,
            precision=self._recipe.precision,
            train_tokens=self._train_tokens,
            validation_tokens=self._validation_tokens,
        )
        self._held.emit(event)
        log.info(
            "training_started",
            total_steps=total_steps,
            num_parameters=num_parameters,
            device=self._recipe.device,
            precision=self._recipe.precision,
        )

    def resumed(self, *, step: int) -> None:
        """Training goes on after `step` steps; rows that will be written again are dropped. The record names this checkpoint
        from now on: a newer one that it named was forgotten or did not verify."""
        self._begin_series(step)
        path = self._folder / CHECKPOINTS / name_of(step)
        files = read_manifest(path, step=step).files.values()
        num_bytes = sum(file.num_bytes for file in files)
        self._held.set_checkpoint(LastCheckpoint(step=step, path=self._shown(path), num_bytes=num_bytes))
        self._held.emit(JobResumed(job_id=self._held.run_id, user_id=self._held.user_id, step=step))
        log.info("training_resumed", step=step)

    def stepped(self, progress: Progress) -> None:
        """Leaves the progress for the next heartbeat."""
        self._held.advance(progress)

    def logged(self, *, step: int, metrics: dict[str, float], timings: dict[str, float]) -> None:
        """One row: to disk, to the record, to the stream. The files of a lost run are its new owner's to write."""
        if self._held.is_lost:
            return
        if not self._series_begun:
            self._begin_series(0)
        self._series.append(step=step, metrics=metrics, timings=timings)
        self._held.set_metrics(metrics)
        event = MetricsProgress(
            job_id=self._held.run_id, user_id=self._held.user_id, step=step, metrics=metrics, timings=timings
        )
        self._held.emit(event)
        if "validation_loss" in metrics:
            log.info("validated", step=step, validation_loss=metrics["validation_loss"])
        else:
            log.info("step_logged", step=step, loss=metrics["loss"])

    def rows_must_last(self) -> None:
        """Forces the rows to disk: a checkpoint whose rows a power cut took would resume with a hole in the series."""
        self._series.sync()

    def checkpoint_saved(self, *, step: int, path: Path, num_bytes: int, metrics: dict[str, float]) -> None:
        """A checkpoint is complete on disk."""
        shown = self._shown(path)
        self._held.set_checkpoint(LastCheckpoint(step=step, path=shown, num_bytes=num_bytes))
        event = CheckpointSaved(
            job_id=self._held.run_id,
            user_id=self._held.user_id,
            step=step,
            path=shown,
            num_bytes=num_bytes,
            metrics=metrics,
        )
        self._held.emit(event)
        log.info("checkpoint_saved", step=step, num_bytes=num_bytes)

    def checkpoint_rejected(self, *, path: Path, why: str) -> None:
        """A checkpoint did not verify and was passed over."""
        shown = self._shown(path)
        self._held.emit(
            CheckpointRejected(job_id=self._held.run_id, user_id=self._held.user_id, path=shown, why=why)
        )
        log.warning("checkpoint_rejected", path=shown, detail=why)

    def _shown(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()

    def _begin_series(self, step: int) -> None:
        self._series.rewind(step)
        self._series_begun = True
