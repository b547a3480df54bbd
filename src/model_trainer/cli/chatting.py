"""`model-trainer discord`: the bot beside a service that runs, by REDIS_URL or beside an `up` with its own Redis."""

from pathlib import Path

from pydantic import SecretStr

from model_trainer.cli.session import Session
from model_trainer.core.errors import AppError, ErrorCode


def run_bot(session: Session, *, state: str | None) -> None:
    """Until it is told to stop. The settings are this process' own in either case: token and owner stand there."""
    settings = session.settings()
    if state is not None:
        if not Path(state).is_dir():
            raise AppError(
                ErrorCode.NOT_FOUND, f"There is no folder {state}: name the one that `up` keeps its state in."
            )
        url = session.ways.doors.open_stack(Path(state), with_redis=True).redis_url
        redis: dict[str, object] = {"redis_url": SecretStr(url)}
        settings = settings.model_copy(update=redis)
    api_url, api_key = session.address()
    session.ways.doors.tell_on_discord(settings, api_url=api_url, api_key=api_key)
