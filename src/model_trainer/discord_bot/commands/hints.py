"""What the options of /train mean, in one line each: from the families' schemas where these say it."""

import asyncio
from collections.abc import Mapping, Sequence

from model_trainer.client.views import KindView
from model_trainer.core.errors import AppError
from model_trainer.core.logging.logger import get_logger
from model_trainer.discord_bot.cards.card import SafeText
from model_trainer.discord_bot.cards.private_text import looks_private
from model_trainer.discord_bot.cards.safe_text import clip, say
from model_trainer.discord_bot.commands.asking import Asking
from model_trainer.discord_bot.commands.family_schema import read_schema
from model_trainer.discord_bot.commands.train_form import PLAIN_OPTIONS

LONGEST = 100
PATIENCE_SECONDS = 2.0
OURS: Mapping[str, SafeText] = {
    "family": SafeText("Which family of models to train"),
    "corpus": SafeText("Where the data lies under the server's data root: a file or a folder"),
    "tokenizer": SafeText("A completed tokenizer that the family can use"),
    "name": SafeText("What to call the run"),
    "max_steps": SafeText("How many optimizer steps; not together with num_epochs"),
    "num_epochs": SafeText("How many passes over the data; not together with max_steps"),
    "batch_size": SafeText("Windows in one micro-batch"),
    "max_seq_len": SafeText("Tokens in one training window"),
    "learning_rate": SafeText("The highest learning rate"),
    "device": SafeText("What to train on"),
    "precision": SafeText("How exactly to calculate"),
    "seed": SafeText("The same seed gives the same run"),
    "settings": SafeText("Any other field of the family: key=value, key=value"),
}
"""By option; said where no schema can be had, or says nothing."""

_log = get_logger(__name__)


async def train_hints(
    asking: Asking, *, patience_seconds: float = PATIENCE_SECONDS
) -> Mapping[str, SafeText]:
    """A description for each option, of at most 100 characters. Never raises."""
    try:
        async with asyncio.timeout(patience_seconds):
            families = (await asking.families()).families
        return {option: option_hint(option, families) for option in OURS}
    except (AppError, TimeoutError) as error:
        code = error.code.value if isinstance(error, AppError) else "timeout"
        _log.info("no_hints_from_api", error_code=code)
        return OURS


def option_hint(option: str, families: Sequence[KindView]) -> SafeText:
    """What an option means, and what may stand there where all families that have it agree on that."""
    schemas = [read_schema(kind) for kind in families]
    fields = [field for schema in schemas if (field := schema.find(option)) is not None]
    if option not in PLAIN_OPTIONS or not fields:
        return OURS[option]
    first = fields[0].description.partition("\n")[0].partition(". ")[0].rstrip(".")
    meaning = (SafeText("") if looks_private(first) else say("{first}", first=first)) or OURS[option]
    wanted = {field.wanted() for field in fields}
    bounds = wanted.pop() if len(wanted) == 1 else "by family"
    whole = say("{meaning} ({bounds})", meaning=meaning, bounds=bounds)
    return whole if len(whole) <= LONGEST else clip(meaning, LONGEST)
