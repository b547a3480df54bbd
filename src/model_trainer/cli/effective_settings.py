"""The settings in effect, by variable name, with where each comes from. Secrets are never shown."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import dotenv
from pydantic import JsonValue

from model_trainer.cli import rendering
from model_trainer.cli.session import Session
from model_trainer.core.config import Settings
from model_trainer.core.contracts.base import as_json
from model_trainer.core.logging.setup import redact


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable."""

    name: str
    value: str
    source: str
    """environment, .env or default."""


def show_settings(session: Session) -> None:
    """All of them."""
    settings = session.settings()
    found = list(effective(settings, environment=session.ways.environment(), env_file=session.env_file))
    session.output.show(
        [{"name": one.name, "value": one.value, "source": one.source} for one in found],
        render=lambda: rendering.plain_table(
            "variable", "value", "from", rows=[(one.name, one.value, one.source) for one in found]
        ),
    )


def effective(
    settings: Settings, *, environment: Mapping[str, str], env_file: Path | None
) -> Iterator[Setting]:
    """Every setting, in the order of the model."""
    # Pydantic shows secrets as stars. The address of Redis is one only where it holds a password.
    shown = as_json(settings) | {"redis_url": redact(settings.redis_url.get_secret_value())}
    for name, value in _flat(shown, prefix=""):
        yield Setting(
            name=name, value=_text(value), source=source_of(name, environment=environment, env_file=env_file)
        )


def source_of(name: str, *, environment: Mapping[str, str], env_file: Path | None) -> str:
    """Where a setting comes from: environment, .env or default. An empty variable counts as not set."""
    if any(key.upper() == name and value for key, value in environment.items()):
        return "environment"
    in_file = {} if env_file is None or not env_file.is_file() else dotenv.dotenv_values(env_file)
    if any(key.upper() == name and value for key, value in in_file.items()):
        return ".env"
    return "default"


def _flat(group: Mapping[str, JsonValue], *, prefix: str) -> Iterator[tuple[str, JsonValue]]:
    for key, value in group.items():
        name = f"{prefix}{key}".upper()
        if isinstance(value, dict):
            yield from _flat(value, prefix=f"{name}__")
        else:
            yield name, value


def _text(value: JsonValue) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case _:
            return str(value)
