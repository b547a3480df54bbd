"""What commands and buttons do: each method answers with a card, whatever happens. Knows nothing of Discord's library."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import assert_never

from model_trainer.client import TrainerClient
from model_trainer.client.views import KindView, RunView
from model_trainer.core.contracts.ids import is_ulid
from model_trainer.core.contracts.run import RunStatus
from model_trainer.core.errors import AppError, FieldFault
from model_trainer.discord_bot.cards import answers, presses
from model_trainer.discord_bot.cards.card import Answer, Button, Card, SafeText, Suggestion
from model_trainer.discord_bot.cards.run_card import run_card
from model_trainer.discord_bot.cards.run_story import story_of_view
from model_trainer.discord_bot.cards.safe_text import joined, say
from model_trainer.discord_bot.cards.sentences import error_card
from model_trainer.discord_bot.commands.asking import Asking
from model_trainer.discord_bot.commands.family_schema import read_schema
from model_trainer.discord_bot.commands.hints import train_hints
from model_trainer.discord_bot.commands.service import look_at_service
from model_trainer.discord_bot.commands.steering import Steering
from model_trainer.discord_bot.commands.suggestions import Suggestions, kind_called
from model_trainer.discord_bot.commands.train_form import TrainForm, spec_of
from model_trainer.discord_bot.commands.watching import Watching

PAGE_SIZE = 10
LAST_PAGE = 500
"""Pages are found by reading all before them."""
MOST_FAULTS = 10
NO_ID = Card(
    title=SafeText("This is no run's id"),
    text=SafeText(
        "An id has 26 letters and digits: choose one that is suggested, or take it from /trainer runs."
    ),
    tone="bad",
)
HAS_COMPLETED = Card(
    title=SafeText("There is nothing to watch"),
    text=SafeText("The run has completed: nothing more will happen to it. /status shows what became of it."),
    tone="still",
)


class Commands:
    """For one owner. No method raises AppError: it becomes a card."""

    def __init__(self, asking: Asking, watching: Watching, *, owner_id: int) -> None:
        self._asking = asking
        self._watching = watching
        self._owner_id = owner_id
        self._steering = Steering(asking, owner_id=owner_id)
        self._suggestions = Suggestions(asking, watching)

    async def train(self, form: TrainForm, *, idempotency_key: str) -> Answer:
        """Orders a training: the same key orders once, however often it is sent."""
        return await _shown(self._train(form, idempotency_key))

    async def status(self, run_id: str) -> Answer:
        """Where a run stands, with a button to look again."""
        return await self._about(run_id, self._look)

    async def cancel(self, run_id: str) -> Answer:
        """Stops a run; asks first when somebody else ordered it."""
        return await self._about(run_id, lambda known: self._steering.order("cancel", known))

    async def pause(self, run_id: str) -> Answer:
        """Lets a training stand still; asks first when somebody else ordered it."""
        return await self._about(run_id, lambda known: self._steering.order("pause", known))

    async def resume(self, run_id: str) -> Answer:
        """Lets a training go on; asks first when somebody else ordered it."""
        return await self._about(run_id, lambda known: self._steering.order("resume", known))

    async def runs(self, page: int = 0) -> Answer:
        """Ten trainings, newest first; pages count from 0."""
        return await _shown(self._page(page))

    async def service(self) -> Answer:
        """Whether the API is ready, what it lacks, and what runs there."""
        return await _shown(look_at_service(self._asking, self._watching))

    async def watch(self, run_id: str | None) -> Answer:
        """Follows a run; without one, says what is followed."""
        if run_id is None:
            return Answer(answers.watching_card(self._watching.watched()))
        return await self._about(run_id, self._watch)

    async def unwatch(self, run_id: str) -> Answer:
        """Follows a run no more."""
        return await self._about(run_id, self._unwatch)

    async def pressed(self, press: str) -> Answer:
        """What a button does, by the text it carried."""
        wanted = presses.read(press)
        match wanted:
            case presses.Ask():
                return await _shown(self._steering.ask(wanted.verb, wanted.run_id))
            case presses.Do():
                return await _shown(self._steering.do(wanted.verb, wanted.run_id))
            case presses.Drop():
                return Answer(answers.dropped_card(), in_place=True)
            case presses.TurnTo():
                return await _shown(self._page(wanted.page), in_place=True)
            case presses.Look():
                return await _shown(self._look(wanted.run_id), in_place=True)
            case None:
                return Answer(answers.stale_card())
            case _:
                assert_never(wanted)

    async def suggest(self, option: str, typed: str, others: Mapping[str, str]) -> tuple[Suggestion, ...]:
        """What may stand in an option ("<command>.run_id" for ids of runs); at most 25, within two seconds, and never an
        error."""
        return await self._suggestions.suggest(option, typed, others)

    async def hints(self) -> Mapping[str, SafeText]:
        """What each option of /train means, in at most 100 characters; our own words when the API does not answer."""
        return await train_hints(self._asking)

    async def _about(self, run_id: str, then: Callable[[str], Awaitable[Answer]]) -> Answer:
        known = run_id.strip().upper()
        return await _shown(then(known)) if is_ulid(known) else Answer(NO_ID)

    async def _train(self, form: TrainForm, idempotency_key: str) -> Answer:
        kind = await self._family(form.family)
        if kind is None:
            unknown = FieldFault("/family", "is none that can be trained here: choose one that is suggested")
            return Answer(_refusal([unknown]))
        schema = read_schema(kind)
        try:
            spec = spec_of(form, schema, owner_id=self._owner_id)
        except AppError as error:
            return Answer(_refusal(error.faults))
        try:
            view = await self._asking.ask(lambda client: client.train(spec, idempotency_key=idempotency_key))
        except AppError as error:
            return Answer(error_card(error, known=schema.fields))
        self._asking.runs_changed()
        return Answer(answers.ordered_card(story_of_view(view)))

    async def _family(self, family: str) -> KindView | None:
        """One that came since the last look is found too."""
        kept = kind_called(family, (await self._asking.families()).families)
        return kept or kind_called(family, (await self._asking.families(newer=True)).families)

    async def _look(self, run_id: str) -> Answer:
        card = run_card(story_of_view(await self._asking.ask(lambda client: client.run(run_id))))
        again = Button(SafeText("Refresh"), presses.written(presses.Look(run_id)))
        return Answer(replace(card, buttons=(*card.buttons, again)))

    async def _page(self, page: int) -> Answer:
        first = min(page, LAST_PAGE) * PAGE_SIZE
        end = first + PAGE_SIZE + 1

        def read(client: TrainerClient) -> list[RunView]:
            return list(islice(client.runs(limit=min(end, 100)), first, end))

        views = await self._asking.ask(read)
        has_more = len(views) > PAGE_SIZE and page < LAST_PAGE
        stories = [story_of_view(view) for view in views[:PAGE_SIZE]]
        return Answer(answers.run_list_card(stories, page=min(page, LAST_PAGE), has_more=has_more))

    async def _watch(self, run_id: str) -> Answer:
        view = await self._asking.ask(lambda client: client.run(run_id))
        if view.status == RunStatus.COMPLETED.value:
            return Answer(HAS_COMPLETED)
        await self._watching.watch(run_id)
        return Answer(answers.watched_card(run_id))

    async def _unwatch(self, run_id: str) -> Answer:
        return Answer(answers.unwatched_card(run_id, was_watched=await self._watching.unwatch(run_id)))


async def _shown(answer: Awaitable[Answer], *, in_place: bool = False) -> Answer:
    """The answer, or what went wrong: that stands beneath, and the button can be pressed again."""
    try:
        found = await answer
    except AppError as error:
        return Answer(error_card(error))
    return replace(found, in_place=True) if in_place else found


def _refusal(faults: Sequence[FieldFault]) -> Card:
    """What does not fit in a form, in our own words: the only ones that say why."""
    lines = [
        say("**{option}** {why}", option=fault.pointer.removeprefix("/"), why=fault.message)
        for fault in faults[:MOST_FAULTS]
    ]
    return Card(title=SafeText("Nothing was ordered"), text=joined(lines), tone="bad")
