"""Cancels, pauses and resumes runs: asks first where it should, and says so when there is nothing to do any more."""

from typing import assert_never

from model_trainer.client import TrainerClient
from model_trainer.client.views import CheckpointsView, RunView
from model_trainer.core.contracts.run import RunKind
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.discord_bot.cards.answers import asked_card, question_card
from model_trainer.discord_bot.cards.card import Answer, Card, SafeText
from model_trainer.discord_bot.cards.presses import Verb
from model_trainer.discord_bot.cards.run_story import story_of_view
from model_trainer.discord_bot.cards.run_words import standing
from model_trainer.discord_bot.cards.safe_text import joined, say, word
from model_trainer.discord_bot.cards.safe_text import run_id as shown_id
from model_trainer.discord_bot.commands.asking import Asking

DONE: dict[Verb, str] = {"cancel": "cancelled", "pause": "paused", "resume": "resumed"}


class Steering:
    """For one owner. Its methods raise what the API refuses."""

    def __init__(self, asking: Asking, *, owner_id: int) -> None:
        self._asking = asking
        self._owner_id = owner_id

    async def order(self, verb: Verb, run_id: str) -> Answer:
        """What somebody typed is done; for a run that somebody else ordered it is asked for first."""
        view = await self._find(run_id)
        if self._is_foreign(view):
            return await self._question(verb, view)
        return Answer(await self._done(verb, view))

    async def ask(self, verb: Verb, run_id: str) -> Answer:
        """The question before it is done."""
        return await self._question(verb, await self._find(run_id))

    async def do(self, verb: Verb, run_id: str) -> Answer:
        """What was asked is done, and takes the question's place."""
        return Answer(await self._done(verb, await self._find(run_id)), in_place=True)

    async def _find(self, run_id: str) -> RunView:
        return await self._asking.ask(lambda client: client.run(run_id))

    async def _question(self, verb: Verb, view: RunView) -> Answer:
        why_not = obstacle(verb, view)
        if why_not is not None:
            return Answer(_nothing_to_do(view, why_not))
        story = story_of_view(view)
        if verb == "resume":
            found = await self._asking.ask(lambda client: client.checkpoints(view.run_id))
            change: dict[str, object] = {"checkpoint_step": _newest_good(found)}
            story = story.model_copy(update=change)
        return Answer(question_card(verb, story, is_foreign=self._is_foreign(view)))

    async def _done(self, verb: Verb, view: RunView) -> Card:
        why_not = obstacle(verb, view)
        return await self._do(verb, view.run_id) if why_not is None else _nothing_to_do(view, why_not)

    async def _do(self, verb: Verb, run_id: str) -> Card:
        """What was done, or why it came too late: the run may have ended while it was looked at."""

        def act(client: TrainerClient) -> RunView:
            match verb:
                case "cancel":
                    return client.cancel(run_id)
                case "pause":
                    return client.pause(run_id)
                case "resume":
                    return client.resume(run_id)
                case _:
                    assert_never(verb)

        try:
            changed = await self._asking.ask(act)
        except AppError as error:
            if error.code is not ErrorCode.CONFLICT:
                raise
            now = await self._find(run_id)
            why_not = obstacle(verb, now)
            if why_not is None:
                raise
            return _nothing_to_do(now, why_not)
        self._asking.runs_changed()
        return asked_card(verb, story_of_view(changed))

    def _is_foreign(self, view: RunView) -> bool:
        return view.user_id not in (None, str(self._owner_id))


def obstacle(verb: Verb, view: RunView) -> SafeText | None:
    """Why this makes no sense where the run stands; None: it does, by the API's own word (its links)."""
    if verb != "cancel" and view.kind != RunKind.TRAIN.value:
        return say(
            "Only trainings can be {done}; this run is of kind {kind}.", done=DONE[verb], kind=word(view.kind)
        )
    if verb not in view.links:
        return say("{standing}: there is nothing to {verb}.", standing=standing(view.status), verb=verb)
    if verb == "cancel" and view.cancel_requested:
        return SafeText("It is being cancelled already.")
    if verb == "pause" and view.pause_requested:
        return SafeText("It was asked to stand still already, and will at its next step.")
    return None


def _newest_good(found: CheckpointsView) -> int | None:
    return next((one.step for one in found.data if one.problem is None and one.resumable), None)


def _nothing_to_do(view: RunView, why: SafeText) -> Card:
    text = joined([why, say("`{run_id}`", run_id=shown_id(view.run_id))])
    return Card(title=SafeText("Nothing was done"), text=text, tone="still")
