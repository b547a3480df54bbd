"""What the maintenance process does, put together from finished parts."""

import threading
from functools import partial

from model_trainer.container import Container
from model_trainer.core.config.settings import CleanupSettings
from model_trainer.maintenance.accounts import AccountCloser
from model_trainer.maintenance.asking import PatientAsker
from model_trainer.maintenance.disk import DiskWatch
from model_trainer.maintenance.leftovers import LeftoverCleaner
from model_trainer.maintenance.lock_files import LockFileCleaner
from model_trainer.maintenance.reaper import Reaper
from model_trainer.maintenance.rebuild import Rebuild, RebuiltRun
from model_trainer.maintenance.records import RecordKeeper
from model_trainer.maintenance.run import Chore, run_maintenance
from model_trainer.worker.lost import lost_holders

DISK_SECONDS = 3.0
CLEAN_SECONDS = 600.0
SMALL_FILE_SECONDS = 60
"""What lies under the runs root is written in a moment: a temporary file this old has no owner any more."""


def maintain(container: Container, *, stop: threading.Event) -> None:
    """Rescues lost runs, wakes those that wait for disk space, closes accounts and cleans up, until `stop` is set."""
    app, runs, artifacts = container.settings.app, container.runs, container.artifacts
    asker = PatientAsker()
    keep = RecordKeeper(runs=runs, artifacts=artifacts)
    reaper = Reaper(runs, find_lost=partial(lost_holders, runs, container.locks), keep=keep, asker=asker)
    disk = DiskWatch(
        runs=runs, artifacts=artifacts, min_free_bytes=app.min_free_disk_bytes, keep=keep, asker=asker
    )
    closer = account_closer(container, keep=keep, asker=asker)
    small_files = LeftoverCleaner(
        roots=(app.runs_root,), cache_folder=None, policy=_of_small_files(app.cleanup)
    )
    lock_files = LockFileCleaner(runs=runs, locks=container.locks)
    leftovers = LeftoverCleaner(
        roots=(app.artifacts_root,), cache_folder=artifacts.cache_folder(), policy=app.cleanup
    )
    run_maintenance(
        prompt=(Chore(reaper.reap, app.reap_every_seconds), Chore(disk.look, DISK_SECONDS)),
        patient=(
            Chore(closer.close_due, app.reap_every_seconds),
            Chore(small_files.clean, SMALL_FILE_SECONDS),
            Chore(lock_files.clean, CLEAN_SECONDS),
            Chore(leftovers.clean, CLEAN_SECONDS),
        ),
        stop=stop,
    )


def account_closer(container: Container, *, keep: RecordKeeper, asker: PatientAsker) -> AccountCloser:
    """What brings ends to disk."""
    return AccountCloser(
        runs=container.runs, artifacts=container.artifacts, locks=container.locks, keep=keep, asker=asker
    )


def _of_small_files(policy: CleanupSettings) -> CleanupSettings:
    sooner: dict[str, object] = {"grace_period_seconds": min(policy.grace_period_seconds, SMALL_FILE_SECONDS)}
    return policy.model_copy(update=sooner)


def rebuild(container: Container, *, adopt: bool) -> tuple[RebuiltRun, ...]:
    """Brings every run back that the store has lost and the disk has kept."""
    runs, artifacts = container.runs, container.artifacts
    keep = RecordKeeper(runs=runs, artifacts=artifacts)
    closer = account_closer(container, keep=keep, asker=PatientAsker())
    work = Rebuild(runs=runs, artifacts=artifacts, keep=keep, close_account=closer.close, adopt=adopt)
    return tuple(work.runs())
