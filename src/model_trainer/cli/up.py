"""The embedded stack in the foreground."""

import threading
from dataclasses import dataclass
from pathlib import Path

from model_trainer.cli.effective_settings import source_of
from model_trainer.cli.session import Session
from model_trainer.cli.stack import (
    free_address,
    require_fork,
    stack_processes,
    state_environment,
    wait_until_ready,
)

STATE_FOLDER = Path(".state")


@dataclass(frozen=True, slots=True)
class Household:
    """Where a stack keeps things and what its processes are told."""

    state: Path
    env_file: Path | None
    """Read below the environment."""
    environment: dict[str, str]
    redis_url: str | None
    """A Redis that runs already; None: the stack brings its own."""


def run_up(session: Session, *, host: str, port: int, state: str | None) -> None:
    """Starts Redis, the API, three workers and maintenance; returns after Ctrl-C or SIGTERM, when all have gone."""
    require_fork()
    household = configured_household(session) if state is None else own_household(session, Path(state))
    address = free_address(host, port)
    doors = session.ways.doors
    stack = doors.open_stack(household.state, with_redis=household.redis_url is None)
    environment = household.environment | {"REDIS_URL": household.redis_url or stack.redis_url}
    stopping = threading.Event()

    def tell(name: str, process_id: int) -> None:
        session.output.note(f"{name} is up (process {process_id})")

    with session.ways.connect(address.url, None) as client, doors.stop_on_signals(stopping):
        processes = stack_processes(
            address,
            is_api_up=client.is_alive,
            env_file=household.env_file,
            log_folder=None,
            stop_grace_seconds=session.ways.settings(household.env_file).app.stop_grace_seconds,
        )
        with stack.running(processes, env=environment, on_up=tell):
            if wait_until_ready(client, stopped=stopping.is_set):
                session.output.note(
                    f"Ready: {address.url} (its pages: {address.url}/docs). Ctrl-C stops everything."
                )
                stopping.wait()
            session.output.note("Stopping; the next start takes a training up again at its last checkpoint.")
    session.output.note("Everything has stopped.")


def configured_household(session: Session) -> Household:
    """As the settings say. A REDIS_URL that somebody set is used; else the stack brings its own Redis."""
    settings = session.settings()
    environment = session.ways.environment()
    source = source_of("REDIS_URL", environment=environment, env_file=session.env_file)
    return Household(
        state=STATE_FOLDER,
        env_file=session.env_file,
        environment=environment,
        redis_url=None if source == "default" else settings.redis_url.get_secret_value(),
    )


def own_household(session: Session, state: Path) -> Household:
    """All of it in one folder, and no .env."""
    environment = state_environment(state, session.ways.environment())
    return Household(state=state, env_file=None, environment=environment, redis_url=None)
