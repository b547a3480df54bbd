"""The feed in this process' memory: the fake that ships, with the same rules."""

from model_trainer.core.contracts.events import StoredEvent
from model_trainer.core.contracts.feed import START, FeedItem, FeedPage
from model_trainer.infra.persistence.memory import MemoryRunSignal, MemoryRunStore
from model_trainer.infra.persistence.run_signal import ANY_RUN


class MemoryEventFeed:
    """See EventFeed, and RedisEventFeed for what a gap is. There are no events of unknown versions in one process."""

    def __init__(self, runs: MemoryRunStore) -> None:
        self._runs = runs
        self._signal = MemoryRunSignal()
        runs.feed_order.listen(self._signal.announce)

    def read(self, *, after: str, limit: int) -> FeedPage:
        """See EventFeed."""
        references, has_gap = self._runs.feed_order.behind(after, limit + 1)
        covered = references[:limit]
        items = tuple(
            FeedItem(position=reference.position, stored=stored)
            for reference in covered
            for stored in self.of_run(reference.run_id, after=reference.seq - 1, limit=1)
        )
        nothing = START if has_gap else after
        return FeedPage(
            items=items,
            position=covered[-1].position if covered else nothing,
            num_unknown=0,
            has_gap=has_gap,
            has_more=len(references) > limit,
        )

    def end(self) -> str:
        """See EventFeed."""
        return self._runs.feed_order.end()

    def of_run(self, run_id: str, *, after: int, limit: int) -> tuple[StoredEvent, ...]:
        """See EventFeed."""
        return self._runs.events_after(run_id, after=after, limit=limit)

    async def wait(self, *, timeout_seconds: float) -> None:
        """See EventFeed."""
        await self._signal.wait(ANY_RUN, timeout_seconds=timeout_seconds)

    async def close(self) -> None:
        """See EventFeed."""
        await self._signal.close()
