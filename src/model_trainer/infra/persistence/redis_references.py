"""Who needs which file or tokenizer, in Redis: a set of run ids for each thing, and a mark on what is being removed."""

from collections.abc import Sequence

from model_trainer.infra.persistence.ends import being_removed, removal_goes_on
from model_trainer.infra.persistence.redis_client import RedisClient, Script, strings

PREFIX = "refs:"
"""Of all keys here: `refs:<thing>` is the set, `refs:removing:<thing>` the mark: whose removal it is. It runs out by itself."""
NAMED_RUNS = 10


class RedisReferences:
    """See References. Each change is one script or one command, so a removal and a run cannot both have their way."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._refer = Script("refer", words=None)
        self._begin_removal = Script("begin_removal", words=None)
        self._end_removal = Script("end_removal", words=None)

    def refer(self, run_id: str, things: Sequence[str]) -> None:
        """See References."""
        reply = self._client.run(self._refer, key=PREFIX, arguments=(run_id, *things))
        if reply[0] == "removing":
            raise being_removed(reply[1])

    def release(self, run_id: str, things: Sequence[str]) -> None:
        """See References."""
        self._client.many([("SREM", f"{PREFIX}{thing}", run_id) for thing in things])

    def referred_by(self, thing: str, *, limit: int) -> tuple[str, ...]:
        """See References."""
        reply = self._client.call("SRANDMEMBER", f"{PREFIX}{thing}", limit)
        return tuple(sorted(strings.validate_python(reply)))

    def begin_removal(self, thing: str, *, owner: str, seconds: float) -> tuple[str, ...]:
        """See References."""
        milliseconds = max(1, round(seconds * 1000))
        arguments = (thing, owner, milliseconds, NAMED_RUNS)
        word, *run_ids = self._client.run(self._begin_removal, key=PREFIX, arguments=arguments)
        if word == "removing":
            raise removal_goes_on(thing)
        return tuple(sorted(run_ids))

    def end_removal(self, thing: str, *, owner: str) -> None:
        """See References."""
        self._client.run(self._end_removal, key=PREFIX, arguments=(thing, owner))
