"""The watch list in Redis: what the Discord bot needs to go on where it was, written by the one bot that holds it."""

from collections.abc import Collection, Mapping

from pydantic import TypeAdapter

from model_trainer.core.contracts.feed import WatchState
from model_trainer.infra.persistence.ends import list_not_held
from model_trainer.infra.persistence.redis_client import Argument, RedisClient, Script, string_pairs

PREFIX = "discord:"
"""Of all keys here: `discord:watching` is a hash, run id -> note; `discord:position`, `discord:channel` and
`discord:holder` are strings. The holder runs out by itself."""

_text: TypeAdapter[str | None] = TypeAdapter(str | None)


class RedisWatchList:
    """See WatchList. Each change is one script, and the same when it is sent again because its reply was lost."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._hold = Script("watch_hold", words=None)
        self._let_go = Script("watch_let_go", words=None)
        self._keep = Script("watch_keep", words=None)

    def hold(self, holder: str, *, seconds: float) -> bool:
        """See WatchList."""
        milliseconds = max(1, round(seconds * 1000))
        return self._client.run(self._hold, key=PREFIX, arguments=(holder, milliseconds))[0] == "ok"

    def let_go(self, holder: str) -> None:
        """See WatchList."""
        self._client.run(self._let_go, key=PREFIX, arguments=(holder,))

    def load(self) -> WatchState:
        """See WatchList."""
        notes, position, channel = self._client.many(
            [
                ("HGETALL", f"{PREFIX}watching"),
                ("GET", f"{PREFIX}position"),
                ("GET", f"{PREFIX}channel"),
            ]
        )
        return WatchState(
            position=_text.validate_python(position),
            channel=_text.validate_python(channel),
            notes=string_pairs.validate_python(notes),
        )

    def keep(
        self,
        holder: str,
        *,
        position: str | None = None,
        channel: str | None = None,
        notes: Mapping[str, str] | None = None,
        gone: Collection[str] = (),
    ) -> None:
        """See WatchList."""
        written = notes or {}
        flat = (text for pair in written.items() for text in pair)
        arguments: tuple[Argument, ...] = (holder, position or "", channel or "", len(written), *flat, *gone)
        if self._client.run(self._keep, key=PREFIX, arguments=arguments)[0] == "lost":
            raise list_not_held(holder)
