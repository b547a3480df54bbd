"""The last thing a completed job does under its lease: its artifact goes to the store. A store that is away is waited for."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack

from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.failpoints import Failpoint
from model_trainer.core.logging import get_logger
from model_trainer.worker.account import ArtifactAccount, point_to
from model_trainer.worker.lease import HeldRun
from model_trainer.worker.parts import WorkerParts
from model_trainer.worker.releasing import release_artifact
from model_trainer.worker.storing import Report, StoredArtifact, read_form, store_artifact
from model_trainer.worker.waiting import FIRST_WAIT_SECONDS, LOOK_SECONDS, wait_for_store

log = get_logger(__name__)

PASSING = frozenset({ErrorCode.STORE_UNAVAILABLE, ErrorCode.CONFLICT})
"""CONFLICT: a file that is just being removed from the store; it is stored again when it has gone."""


class Referred:
    """What a run is said to need of the store for its artifact's sake."""

    def __init__(self, parts: WorkerParts, record: RunRecord) -> None:
        self._references = parts.references
        self._record = record
        self._things: set[str] = set()

    def say(self, things: Sequence[str]) -> None:
        """From here on nobody removes them. Raises CONFLICT for one that is just being removed."""
        self._things.update(things)
        self._references.refer(self._record.run_id, things)

    def take_back(self, held: HeldRun) -> None:
        """The run needs no more than it was ordered with. What cannot be taken back now stays needed; who has lost the run
        takes nothing back that its new owner may have said too."""
        if held.is_lost:
            return
        try:
            release_artifact(self._references, self._record, self._things)
        except AppError as error:
            log.warning("references_not_released", run_id=self._record.run_id, detail=error.message)


def hand_in(
    parts: WorkerParts,
    held: HeldRun,
    record: RunRecord,
    account: ArtifactAccount,
    *,
    first_wait_seconds: float = FIRST_WAIT_SECONDS,
) -> None:
    """Stores the sealed folder, and points the run's record at it. What is stored already is passed over.

    Raises what held.check() does, within moments also while the store is slow or away, DISK_FULL of a store on this
    machine, and ARTIFACT_CORRUPT. A job that does not end with its artifact stored needs nothing of the store.
    """
    tries, referred = 0, Referred(parts, record)
    with ExitStack() as undoing:
        undoing.callback(referred.take_back, held)
        while True:
            try:
                _hand_in_once(parts, held, record, account, referred)
                undoing.pop_all()
                return
            except AppError as error:
                if not _is_passing(error, is_local=parts.store.is_local):
                    raise
                tries, away = tries + 1, error
            wait_for_store(held, away, tries=tries, first_wait_seconds=first_wait_seconds)


def _is_passing(error: AppError, *, is_local: bool) -> bool:
    """A full disk of this machine is waited for without a worker; of another one nobody here knows when it has room again."""
    return error.code in PASSING or (error.code is ErrorCode.DISK_FULL and not is_local)


def _hand_in_once(
    parts: WorkerParts, held: HeldRun, record: RunRecord, account: ArtifactAccount, referred: Referred
) -> None:
    run_id = record.run_id
    form = read_form(account.folder, kind=account.kind, item_id=run_id)

    def work(report: Report) -> StoredArtifact:
        def refer(things: Sequence[str]) -> None:
            report(0.0)  # nobody takes back what work that was left behind says
            referred.say(things)

        return store_artifact(
            form,
            account.folder,
            parts.store,
            layout=parts.settings.store.layout,
            refer=refer,
            report=report,
            reached=parts.reached,
        )

    stored = _beside(held, work)
    parts.runs.point_at_artifact(run_id, file_id=stored.file_id, epoch=held.lease.epoch)
    parts.reached(Failpoint.UPLOAD_POINTED)
    point_to(record, parts.artifacts, kind=account.kind, stored=stored)
    log.info("artifact_stored", num_files=len(form.files) + 1, num_bytes=form.num_bytes, path=stored.file_id)


class _LeftAlone(Exception):
    """Nobody waits for the work any more."""


def _beside(held: HeldRun, work: Callable[[Report], StoredArtifact]) -> StoredArtifact:
    """What `work` returns. It has a thread of its own, so that a store which takes its time keeps nobody from stopping the
    job; work that is left behind ends before its next file."""
    share = 0.0
    is_left = threading.Event()

    def report(now: float) -> None:
        nonlocal share
        share = now
        if is_left.is_set():
            raise _LeftAlone

    threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"store-{held.run_id}")
    try:
        future = threads.submit(work, report)
        while not wait((future,), timeout=LOOK_SECONDS).done:
            held.report(share, "Storing the artifact")
        return future.result()
    finally:
        is_left.set()
        threads.shutdown(wait=False)
