"""Runs brought back from disk after Redis lost them."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import SecretStr

from model_trainer.cli import rendering
from model_trainer.cli.session import RebuiltRun, Session
from model_trainer.cli.up import Household, configured_household, own_household
from model_trainer.core.config import Settings
from model_trainer.core.errors import AppError, ErrorCode


def run_rebuild(session: Session, *, adopt: bool, state: str | None) -> None:
    """Shows what became of each record on disk. Services may be at work meanwhile; Redis must be."""
    settings = stack_settings(session, state)
    try:
        rebuilt = session.ways.doors.rebuild(settings, adopt=adopt)
    except AppError as error:
        if error.code is ErrorCode.STORE_UNAVAILABLE:
            session.output.note(
                "Redis must run while it is rebuilt: start it, or `model-trainer up`, then do this again."
            )
        raise
    session.output.show(
        [
            {"run_id": one.run_id, "fate": one.fate, "status": one.status, "detail": one.detail}
            for one in rebuilt
        ],
        render=lambda: rendering.plain_table(
            "run",
            "rebuild",
            "status",
            "detail",
            rows=[(one.run_id, one.fate, one.status, one.detail) for one in rebuilt],
        ),
    )
    for line in summary(rebuilt, runs_root=settings.app.runs_root):
        session.output.note(line)


def summary(rebuilt: Sequence[RebuiltRun], *, runs_root: Path) -> list[str]:
    """What it comes to, in a sentence or two."""
    restored, known, skipped = (
        sum(one.fate == fate for one in rebuilt) for fate in ("restored", "known", "skipped")
    )
    if not rebuilt:
        return [f"There is no record under {runs_root}: nothing to rebuild."]
    if known == len(rebuilt):
        return [f"Nothing was lost: the store has all {known} runs."]
    lines = [f"{restored} restored, {known} already there, {skipped} skipped."]
    if skipped:
        lines.append("warning: skipped runs stay on disk as they are; their detail says why.")
    return lines


def stack_settings(session: Session, state: str | None) -> Settings:
    """The settings of the stack that `model-trainer up` runs with the same options, its own Redis included."""
    if state is None:
        return _settings_of(session, configured_household(session), session.settings())
    if not Path(state).is_dir():
        raise AppError(
            ErrorCode.NOT_FOUND, f"There is no folder {state}. Name the one that `up --state` has used."
        )
    return _settings_of(session, own_household(session, Path(state)), session.ways.settings(None))


def _settings_of(session: Session, household: Household, settings: Settings) -> Settings:
    url = household.redis_url
    if url is None:
        url = session.ways.doors.open_stack(household.state, with_redis=True).redis_url
    roots: dict[str, object] = {
        name: Path(household.environment[variable])
        for name in ("artifacts_root", "runs_root", "logs_root", "data_root")
        if (variable := f"APP__{name.upper()}") in household.environment
    }
    changes: dict[str, object] = {
        "redis_url": SecretStr(url),
        "app": settings.app.model_copy(update=roots),
    }
    return settings.model_copy(update=changes)
