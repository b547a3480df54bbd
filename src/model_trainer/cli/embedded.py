"""The embedded stack over one state folder, put together from what the container hands over."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from model_trainer.cli.session import Process
from model_trainer.container import EmbeddedRedis, ProcessSpec, Supervisor, in_background
from model_trainer.core.errors import AppError, ErrorCode


class EmbeddedStack:
    """A Redis of its own where it is asked for, and processes that are kept running."""

    def __init__(self, state: Path, *, with_redis: bool) -> None:
        self._state = state
        self._redis = EmbeddedRedis(state / "redis") if with_redis else None

    @property
    def redis_url(self) -> str:
        """Where its Redis will be; raises INTERNAL when it has none."""
        if self._redis is None:
            raise AppError(ErrorCode.INTERNAL, "This stack has no Redis of its own; this is a defect.")
        return self._redis.url

    @contextmanager
    def running(
        self, processes: Sequence[Process], *, env: Mapping[str, str], on_up: Callable[[str, int], object]
    ) -> Iterator[None]:
        """Inside, Redis and then the processes are up, and are started again when they crash."""
        self._state.mkdir(parents=True, exist_ok=True)
        specs = [] if self._redis is None else [self._redis.process_spec(env)]
        specs += [
            ProcessSpec(
                name=process.name,
                argv=process.argv,
                env=env,
                is_ready=process.is_ready,
                log_file=process.log_file,
                grace_seconds=process.grace_seconds,
            )
            for process in processes
        ]
        with in_background(Supervisor(specs=specs, state_folder=self._state, on_up=on_up)):
            yield
