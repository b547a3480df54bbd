"""What the maintenance process does, put together from finished parts."""

import threading
from functools import partial

from model_trainer.container import ARRIVALS_FOLDER, UPLOADS_FOLDER, Container
from model_trainer.core.config.settings import CleanupSettings
from model_trainer.maintenance.accounts import AccountCloser
from model_trainer.maintenance.artifacts import ArtifactKeeper
from model_trainer.maintenance.asking import PatientAsker
from model_trainer.maintenance.corpus_cache_cleanup import CorpusCacheCleaner
from model_trainer.maintenance.disk import DiskWatch
from model_trainer.maintenance.leftovers import LeftoverCleaner
from model_trainer.maintenance.lock_files import LockFileCleaner
from model_trainer.maintenance.mentions import Mentions
from model_trainer.maintenance.reaper import Reaper
from model_trainer.maintenance.rebuild import Rebuild, RebuiltRun
from model_trainer.maintenance.records import RecordKeeper
from model_trainer.maintenance.run import Chore, run_maintenance
from model_trainer.maintenance.stored_side import StoredSide
from model_trainer.maintenance.tokenizer_cleanup import TokenizerCleaner
from model_trainer.worker.lost import lost_holders

DISK_SECONDS = 3.0
CLEAN_SECONDS = 600.0
STORE_SECONDS = 10.0
"""A run is stored before it ends; what is left for this look are its last words and what later jobs add."""
TOKENIZERS_SECONDS = 3600.0
"""Each look reads all runs and the manifests of all models."""
SMALL_FILE_SECONDS = 60
"""What lies under the runs root is written in a moment: a temporary file this old has no owner any more."""

ARRIVAL_SECONDS = 30
"""What comes in one request is locked while it comes and while it is stored, and unlocked for a moment in between: what lies
unlocked for so long was left by an API that was killed."""
ARRIVALS_SECONDS = 15.0


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
        roots=(app.runs_root,),
        passing=(),
        policy=_with_grace(app.cleanup, min(app.cleanup.grace_period_seconds, SMALL_FILE_SECONDS)),
    )
    arrivals = LeftoverCleaner(
        roots=(),
        passing=(app.artifacts_root / ARRIVALS_FOLDER,),
        policy=_with_grace(app.cleanup, ARRIVAL_SECONDS),
    )
    lock_files = LockFileCleaner(runs=runs, locks=container.locks)
    leftovers = LeftoverCleaner(
        roots=(app.artifacts_root,),
        passing=(artifacts.cache_folder(), app.artifacts_root / UPLOADS_FOLDER),
        policy=app.cleanup,
    )
    stored = artifact_keeper(container, policy=app.cleanup, stop=stop)
    store_asker = PatientAsker()  # another store, away at other times
    cached = corpus_cache_cleaner(container, dry_run=app.cleanup.dry_run)
    tokenizers = tokenizer_cleaner(container, dry_run=app.cleanup.dry_run)
    on_request = [Chore(partial(asker.ask, tokenizers.clean), TOKENIZERS_SECONDS)]
    run_maintenance(
        prompt=(Chore(reaper.reap, app.reap_every_seconds), Chore(disk.look, DISK_SECONDS)),
        patient=(
            Chore(closer.close_due, app.reap_every_seconds),
            Chore(small_files.clean, SMALL_FILE_SECONDS),
            Chore(arrivals.clean, ARRIVALS_SECONDS),
            Chore(lock_files.clean, CLEAN_SECONDS),
            Chore(leftovers.clean, CLEAN_SECONDS),
            *([] if app.cleanup.enabled is False else [Chore(cached.clean, CLEAN_SECONDS)]),
            *(on_request if app.tokenizer_cleanup.enabled else []),
        ),
        remote=(
            Chore(partial(store_asker.ask, stored.store_due), STORE_SECONDS),
            Chore(partial(store_asker.ask, stored.remove_due), CLEAN_SECONDS),
        ),
        stop=stop,
    )


def artifact_keeper(
    container: Container, *, policy: CleanupSettings, stop: threading.Event | None = None
) -> ArtifactKeeper:
    """What stores artifacts that have changed, and removes local copies."""
    return ArtifactKeeper(
        root=container.settings.app.artifacts_root,
        runs=container.runs,
        artifacts=container.artifacts,
        store=container.store,
        references=container.references,
        layout=container.settings.store.layout,
        policy=policy,
        stop=stop,
    )


def account_closer(container: Container, *, keep: RecordKeeper, asker: PatientAsker) -> AccountCloser:
    """What brings ends to disk."""
    return AccountCloser(
        runs=container.runs,
        artifacts=container.artifacts,
        locks=container.locks,
        references=container.references,
        keep=keep,
        asker=asker,
    )


def corpus_cache_cleaner(container: Container, *, dry_run: bool) -> CorpusCacheCleaner:
    """What keeps the corpus cache within its bounds."""
    return CorpusCacheCleaner(container.corpus_cache, dry_run=dry_run)


def tokenizer_cleaner(container: Container, *, dry_run: bool) -> TokenizerCleaner:
    """What removes tokenizers that nothing was made with."""
    app = container.settings.app
    return TokenizerCleaner(
        runs=container.runs,
        references=container.references,
        artifacts=container.artifacts,
        store=container.store,
        mentions=Mentions(runs=container.runs, models=app.artifacts_root / "models", kept_runs=app.runs_root),
        kept_runs=app.runs_root,
        min_unused_days=app.tokenizer_cleanup.min_unused_days,
        dry_run=dry_run,
    )


def _with_grace(policy: CleanupSettings, seconds: int) -> CleanupSettings:
    changed: dict[str, object] = {"grace_period_seconds": seconds}
    return policy.model_copy(update=changed)


def rebuild(container: Container, *, adopt: bool) -> tuple[RebuiltRun, ...]:
    """Brings every run back that the store has lost and the disk has kept."""
    runs, artifacts = container.runs, container.artifacts
    keep = RecordKeeper(runs=runs, artifacts=artifacts)
    closer = account_closer(container, keep=keep, asker=PatientAsker())
    work = Rebuild(
        runs=runs,
        artifacts=artifacts,
        keep=keep,
        close_account=closer.close,
        stored=StoredSide(references=container.references, store=container.store),
        adopt=adopt,
    )
    return tuple(work.runs())
