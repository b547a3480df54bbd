"""Keeps the corpus cache within APP__CORPUS_CACHE__*, also when nothing is fetched any more."""

from collections.abc import Iterator

from model_trainer.core.ports.storage import CorpusCache, CorpusCacheEntry
from model_trainer.maintenance.telling import Removal, tell


class CorpusCacheCleaner:
    """Removes what was used longest ago, until the rest is within the bounds. What somebody reads stays."""

    def __init__(self, cache: CorpusCache, *, dry_run: bool) -> None:
        """Nothing is removed yet; `dry_run`: only tell what would be."""
        self._cache = cache
        self._dry_run = dry_run

    def clean(self) -> int:
        """Removes what is due; how many went."""
        return sum(removal.fate == "removed" for removal in self.removals())

    def removals(self) -> Iterator[Removal]:
        """The same, one by one."""
        for entry in self._cache.due():
            if self._dry_run:
                yield tell(_of(entry))
                continue
            try:
                removed = self._cache.remove(entry)
            except OSError as error:
                yield tell(Removal(path=entry.path, fate="failed", detail=error.strerror or ""))
                continue
            if removed:
                yield tell(Removal(path=entry.path, fate="removed", num_files=1, num_bytes=entry.num_bytes))


def _of(entry: CorpusCacheEntry) -> Removal:
    return Removal(path=entry.path, fate="due", num_files=1, num_bytes=entry.num_bytes)
