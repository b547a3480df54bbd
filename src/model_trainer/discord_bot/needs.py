"""What the bot cannot do without, asked for before anything else: a token, an owner, Discord's library."""

import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import SecretStr

from model_trainer.core.config import Settings
from model_trainer.core.errors import AppError, ErrorCode, FieldFault

LIBRARY = "discord"
README = 'README, "The Discord bot", tells how to get it'


@dataclass(frozen=True, slots=True)
class Access:
    """How to log in, and for whom."""

    token: SecretStr
    owner_id: int


def is_installed(module: str) -> bool:
    """Whether a library is there, without loading it."""
    return importlib.util.find_spec(module) is not None


def access_of(settings: Settings, *, has_library: Callable[[str], bool] = is_installed) -> Access:
    """Raises CONFIG_INVALID with all that is missing, and what to do."""
    token, owner_id = settings.discord_token, settings.discord_owner_id
    faults = [FieldFault("DISCORD_TOKEN", f"is not set: {README}")] if token is None else []
    if token is not None and re.fullmatch(r"[!-~]+", token.get_secret_value()) is None:
        faults = [FieldFault("DISCORD_TOKEN", f"holds characters that no token has: {README}")]
    if owner_id is None:
        faults.append(FieldFault("DISCORD_OWNER_ID", f"is not set: {README}"))
    if token is None or owner_id is None or faults:
        named = "; ".join(f"{fault.pointer} {fault.message}" for fault in faults)
        raise AppError(ErrorCode.CONFIG_INVALID, f"The Discord bot cannot start. {named}.", faults=faults)
    if not has_library(LIBRARY):
        message = 'The Discord bot needs the extra `discord`: pip install "model-trainer[discord]".'
        raise AppError(ErrorCode.CONFIG_INVALID, message)
    return Access(token=token, owner_id=owner_id)
