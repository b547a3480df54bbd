"""What is offered while an option of a command is typed: all of it from what the API tells, none of it a listing of files."""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime

from model_trainer.client.views import KindView, RunView, TokenizerView
from model_trainer.core.contracts.ids import is_ulid
from model_trainer.core.contracts.run import RunStatus
from model_trainer.core.errors import AppError
from model_trainer.core.logging.logger import get_logger
from model_trainer.discord_bot.cards.card import SafeText, Suggestion
from model_trainer.discord_bot.cards.safe_text import joined, name, run_id, word
from model_trainer.discord_bot.commands.asking import Asking
from model_trainer.discord_bot.commands.family_schema import TOKENIZER, FamilySchema, read_schema
from model_trainer.discord_bot.commands.setting_suggestions import setting_suggestions, value_suggestions
from model_trainer.discord_bot.commands.train_form import PLAIN_OPTIONS
from model_trainer.discord_bot.commands.watching import Watching

MOST = 25
"""Discord shows no more."""
LONGEST = 100
PATIENCE_SECONDS = 2.0
"""Discord waits three seconds for suggestions."""

ACTIVE = (RunStatus.RUNNING, RunStatus.QUEUED, RunStatus.PAUSED)
STATUSES: Mapping[str, tuple[RunStatus, ...]] = {
    "cancel": ACTIVE,
    "pause": (RunStatus.RUNNING, RunStatus.QUEUED),
    "resume": (RunStatus.PAUSED, RunStatus.FAILED, RunStatus.CANCELLED),
}
"""Where runs stand that a command is for; the others take any."""

_log = get_logger(__name__)


class Suggestions:
    """Offers values for options."""

    def __init__(
        self, asking: Asking, watching: Watching, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self._asking = asking
        self._watching = watching
        self._patience_seconds = patience_seconds

    async def suggest(self, option: str, typed: str, others: Mapping[str, str]) -> tuple[Suggestion, ...]:
        """At most 25 that fit what was typed so far; none when the API does not answer in time. Never raises.

        Args:
            option: its name; "<command>.run_id" for a run's id.
            typed: so far.
            others: the options that have been filled in already.
        """
        try:
            async with asyncio.timeout(self._patience_seconds):
                found = await self._find(option, typed.strip(), others)
        except (AppError, TimeoutError) as error:
            code = error.code.value if isinstance(error, AppError) else "timeout"
            _log.info("no_suggestions", error_code=code)
            return ()
        return tuple(one for one in found if 0 < len(one.value) <= LONGEST)[:MOST]

    async def _find(self, option: str, typed: str, others: Mapping[str, str]) -> Iterable[Suggestion]:
        command, _, kind = option.partition(".")
        if kind == "run_id":
            return await self._runs(command, typed)
        if option == "family":
            return _families((await self._asking.families()).families, typed)
        family = await self._family(others.get("family", ""))
        if family is None:
            return ()
        schema = read_schema(family)
        if option == "tokenizer":
            return await self._tokenizers(family, schema, typed)
        if option == "settings":
            return setting_suggestions(schema, typed)
        field = schema.find(option) if option in PLAIN_OPTIONS else None
        return (
            () if field is None else value_suggestions(field, typed, example=schema.example.get(field.name))
        )

    async def _family(self, family: str) -> KindView | None:
        return kind_called(family, (await self._asking.families()).families)

    async def _tokenizers(self, family: KindView, schema: FamilySchema, typed: str) -> list[Suggestion]:
        if TOKENIZER not in schema.fields:
            return []
        return [
            Suggestion(_tokenizer_label(one), one.tokenizer_id)
            for one in await self._asking.recent_tokenizers()
            if is_ulid(one.tokenizer_id)
            and one.method in family.supported_tokenizers
            and _fits(typed, one.tokenizer_id, one.method)
        ]

    async def _runs(self, command: str, typed: str) -> list[Suggestion]:
        if command == "unwatch":
            return await self._watched(typed)
        statuses = STATUSES.get(command)
        if statuses is None:
            runs = await self._asking.recent_runs()
        else:
            pages = await asyncio.gather(*(self._asking.recent_runs(status.value) for status in statuses))
            runs = tuple(sorted((run for page in pages for run in page), key=_id_of, reverse=True))
        return [
            Suggestion(run_label(run), run.run_id)
            for run in runs
            if is_ulid(run.run_id) and _fits(typed, run.run_id, run.family, run.status)
        ]

    async def _watched(self, typed: str) -> list[Suggestion]:
        """What is watched, with what the newest runs say of it."""
        known = {run.run_id: run for run in await self._asking.recent_runs()}
        found: list[Suggestion] = []
        for watched in self._watching.watched():
            run = known.get(watched)
            if is_ulid(watched) and _fits(typed, watched, *(() if run is None else (run.family, run.status))):
                found.append(Suggestion(run_id(watched) if run is None else run_label(run), watched))
        return found


def kind_called(family: str, kinds: Iterable[KindView]) -> KindView | None:
    """The family of that name, if the API has one."""
    return next((kind for kind in kinds if kind.name == family), None)


def run_label(run: RunView) -> SafeText:
    """gpt2 running 45 % and the id."""
    share = f"{100 * run.progress.fraction:.0f} %" if run.status == RunStatus.RUNNING.value else ""
    words = [word(run.family), word(run.status), SafeText(share)]
    return joined([joined([one for one in words if one], " "), run_id(run.run_id)], " · ")


def _families(kinds: Iterable[KindView], typed: str) -> list[Suggestion]:
    return [
        Suggestion(joined([one for one in (word(kind.name), name(kind.title)) if one], " · "), kind.name)
        for kind in kinds
        if word(kind.name) and (typed.lower() in kind.name.lower() or typed.lower() in kind.title.lower())
    ]


def _tokenizer_label(view: TokenizerView) -> SafeText:
    size = "" if view.vocab_size is None else f" {view.vocab_size:,}"
    parts = [
        joined([word(view.method), SafeText(size)], ""),
        _short_date(view.created_at),
        run_id(view.tokenizer_id),
    ]
    return joined([one for one in parts if one], " · ")


def _short_date(moment: str | None) -> SafeText:
    try:
        return SafeText(f"{datetime.fromisoformat(moment or ''):%d %b %Y}")
    except ValueError:
        return SafeText("")


def _fits(typed: str, item_id: str, *words: str) -> bool:
    """Whether what was typed begins the id, or stands in one of the words."""
    return item_id.startswith(typed.upper()) or any(typed.lower() in one for one in words)


def _id_of(run: RunView) -> str:
    return run.run_id
