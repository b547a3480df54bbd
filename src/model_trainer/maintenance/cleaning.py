"""One clean-up, done once and on request, as the maintenance process does it again and again."""

from collections.abc import Iterator
from typing import Literal, assert_never

from model_trainer.container import Container
from model_trainer.maintenance.chores import artifact_keeper, corpus_cache_cleaner, tokenizer_cleaner
from model_trainer.maintenance.telling import Removal

CleanUp = Literal["artifacts", "corpus-cache", "tokenizers"]


def clean_up(container: Container, what: CleanUp, *, dry_run: bool) -> Iterator[Removal]:
    """Removes what is due, also where the maintenance process is told to leave it alone; tells it one by one.

    With `dry_run`, or APP__CLEANUP__DRY_RUN, nothing is removed. Raises STORE_UNAVAILABLE.
    """
    policy = container.settings.app.cleanup
    dry_run = dry_run or policy.dry_run
    match what:
        case "artifacts":
            asked_for: dict[str, object] = {"enabled": True, "dry_run": dry_run}
            keeper = artifact_keeper(container, policy=policy.model_copy(update=asked_for))
            if not dry_run:
                keeper.store_due()
            yield from keeper.remove_due()
        case "corpus-cache":
            yield from corpus_cache_cleaner(container, dry_run=dry_run).removals()
        case "tokenizers":
            yield from tokenizer_cleaner(container, dry_run=dry_run).removals()
        case _:
            assert_never(what)
