"""Trainings without a server: the container's parts and the worker's functions, in this process.

The artifact tree is the one that servers use; `--output-dir` is a view of it.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from model_trainer.cli.boards import Board, board_for
from model_trainer.cli.output import Output
from model_trainer.client.views import ServerEvent
from model_trainer.container import Container
from model_trainer.core.config import Settings
from model_trainer.core.contracts.base import JsonObject, as_json, dump_json
from model_trainer.core.contracts.events import SSE_NAMES
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.jobs import TrainModel, TrainTokenizer
from model_trainer.core.contracts.run import RunKind, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.runs import RunStore

log = get_logger(__name__)

LOOK_EVERY_SECONDS = 0.2
_PAGE = 200


def settings_in(state: Path, settings: Settings) -> Settings:
    """`settings` with everything that is kept on disk in one folder."""
    roots: dict[str, object] = {
        "artifacts_root": state / "artifacts",
        "runs_root": state / "runs",
        "logs_root": state / "logs",
    }
    changed: dict[str, object] = {"app": settings.app.model_copy(update=roots)}
    return settings.model_copy(update=changed)


class LocalWork:
    """One process that orders trainings and carries them out."""

    def __init__(self, container: Container, output: Output) -> None:
        """Nothing is ordered yet.

        Args:
            container: what container.local() gives.
            output: where progress is shown.
        """
        self._container = container
        self._output = output

    def train(self, body: JsonObject) -> RunRecord:
        """Orders a training and carries it out; its record as it ended. Raises CONFIG_INVALID for a wrong body."""
        spec = self._container.registry.parse_train_spec(dump_json(body))
        started = self._container.training.start(spec, request_id=new_ulid(), idempotency=None)
        return self._carry_out(started.record.run_id)

    def train_tokenizer(self, body: JsonObject) -> RunRecord:
        """The same for a tokenizer; its run's id is the tokenizer's."""
        spec = self._container.registry.parse_tokenizer_spec(dump_json(body))
        started = self._container.tokenizers.start(spec, request_id=new_ulid(), idempotency=None)
        return self._carry_out(started.record.run_id)

    def resume(self, run_id: str) -> RunRecord:
        """Lets a training that was interrupted go on. Raises RUN_NOT_FOUND, CONFLICT."""
        self._container.training.resume(run_id)
        return self._carry_out(run_id)

    def _carry_out(self, run_id: str) -> RunRecord:
        from model_trainer.worker.dispatch import dispatch

        parts = self._container.worker_parts(f"local-{new_ulid()[-6:]}")
        following = Following(self._container.runs, self._container.training.pause, run_id)
        with following.on(board_for(self._output)), pausing(following):
            while (record := self._container.runs.get(run_id)).status is RunStatus.QUEUED:
                order = TrainTokenizer if record.kind is RunKind.TOKENIZER else TrainModel
                dispatch(order(run_id=run_id, epoch=record.epoch).model_dump_json(), parts)
                if _was_handed_over(self._container.runs.get(run_id)):  # by SIGTERM; there is nobody but us
                    self._container.training.pause(run_id)
                else:
                    time.sleep(
                        LOOK_EVERY_SECONDS
                    )  # a run that failed for want of something waits for its turn
        return record


class Following:
    """Shows a run's events as they come, from a thread of its own, and passes on that somebody wants it to stand still."""

    def __init__(self, runs: RunStore, pause: Callable[[str], object], run_id: str) -> None:
        """Nothing is shown yet.

        Args:
            runs: where the events are.
            pause: lets a run stand still.
            run_id: which run.
        """
        self._runs = runs
        self._pause = pause
        self._run_id = run_id
        self._told = 0
        self._ended = threading.Event()
        self._interrupted = threading.Event()

    def interrupt(self) -> bool:
        """Asks for a pause; whether it was the first time."""
        first = not self._interrupted.is_set()
        self._interrupted.set()
        return first

    @contextmanager
    def on(self, board: Board) -> Iterator[None]:
        """Inside, events appear on `board`; all of them have when the block is left."""
        self._told = self._runs.get(self._run_id).last_event_seq
        thread = threading.Thread(target=self._follow, args=(board,), name="board", daemon=True)
        with board.open():
            thread.start()
            try:
                yield
            finally:
                self._ended.set()
                thread.join()
                self._show(board)

    def _follow(self, board: Board) -> None:
        asked = False
        while not self._ended.wait(LOOK_EVERY_SECONDS):
            if self._interrupted.is_set() and not asked:
                asked = True
                self._stand_still()
            self._show(board)

    def _stand_still(self) -> None:
        try:
            self._pause(self._run_id)
        except AppError as error:  # it has ended meanwhile
            log.info("run_not_paused", run_id=self._run_id, detail=error.message)

    def _show(self, board: Board) -> None:
        while events := self._runs.events_after(self._run_id, after=self._told, limit=_PAGE):
            for event in events:
                board.show(ServerEvent(name=SSE_NAMES[event.event.type], data=as_json(event)))
            self._told = events[-1].seq


def _was_handed_over(record: RunRecord) -> bool:
    """Whether its last attempt left it to another worker, though nothing was wrong."""
    last = record.attempts[-1] if record.attempts else None
    return record.status is RunStatus.QUEUED and last is not None and last.problem is None


@contextmanager
def pausing(following: Following) -> Iterator[None]:
    """Inside, the first Ctrl-C lets the run stand still with a checkpoint, and the second ends the process at once."""

    def heard(_number: int, _frame: FrameType | None) -> None:
        if not following.interrupt():
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, heard)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def completed(record: RunRecord) -> RunRecord:
    """`record`, if it is completed; raises what ended it otherwise, with the way on."""
    if record.status is RunStatus.COMPLETED:
        return record
    if record.status is RunStatus.PAUSED:
        message = (
            f"Run {record.run_id} stands still. Let it go on: model-trainer train --resume {record.run_id}"
        )
        raise AppError(ErrorCode.CONFLICT, message, facts={"run_id": record.run_id})
    if record.problem is None:
        message = f"Run {record.run_id} is {record.status.value}: {record.message}"
        raise AppError(ErrorCode.CONFLICT, message, facts={"run_id": record.run_id})
    problem = record.problem
    faults = [FieldFault(pointer=fault.pointer, message=fault.message) for fault in problem.faults]
    raise AppError(problem.code, problem.message, faults=faults, facts={"run_id": record.run_id})
