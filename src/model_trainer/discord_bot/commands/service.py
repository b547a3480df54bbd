"""How the service is, for /trainer status: what it lacks, in words of ours, and what runs there."""

import asyncio
from collections.abc import Sequence

from model_trainer.client.views import RunView
from model_trainer.core.errors import AppError, FieldFault
from model_trainer.discord_bot.cards.answers import service_card
from model_trainer.discord_bot.cards.card import Answer, SafeText
from model_trainer.discord_bot.cards.run_story import story_of_view
from model_trainer.discord_bot.cards.safe_text import say, word
from model_trainer.discord_bot.commands.asking import Asking
from model_trainer.discord_bot.commands.suggestions import ACTIVE
from model_trainer.discord_bot.commands.watching import Watching

WORKERS = "/workers/"
MISSING = {
    "/store": SafeText("the run store (Redis)"),
    "/disk": SafeText("disk space for artifacts"),
    "/artifact_store": SafeText("the artifact store"),
}
"""By the API's pointers; it tells no others but those of workers."""


async def look_at_service(asking: Asking, watching: Watching) -> Answer:
    """As it is now; an API that is away is shown as such, not raised."""
    asking.runs_changed()
    problem, version, running = await asyncio.gather(_problem(asking), _version(asking), _active(asking))
    if isinstance(running, AppError):
        # Whether it is ready it tells everybody, runs only those who have the key.
        problem, stories = problem or running, None
    else:
        stories = [story_of_view(view) for view in running]
    card = service_card(
        problem=problem,
        version=version,
        running=stories,
        num_watched=len(watching.watched()),
        missing=[] if problem is None else missing_parts(problem.faults),
    )
    return Answer(card)


def missing_parts(faults: Sequence[FieldFault]) -> list[SafeText]:
    """What the API says is not there; a pointer that it does not tell today is passed over."""
    found: list[SafeText] = []
    for fault in faults:
        queue = word(fault.pointer.removeprefix(WORKERS)) if fault.pointer.startswith(WORKERS) else ""
        if queue:
            found.append(say("a worker for the queue {queue}", queue=queue))
        elif fault.pointer in MISSING:
            found.append(MISSING[fault.pointer])
    return found


async def _problem(asking: Asking) -> AppError | None:
    try:
        await asking.ask(lambda client: client.check_ready())
    except AppError as error:
        return error
    return None


async def _version(asking: Asking) -> str:
    try:
        return await asking.ask(lambda client: client.version())
    except AppError:
        return ""


async def _active(asking: Asking) -> list[RunView] | AppError:
    try:
        pages = await asyncio.gather(*(asking.recent_runs(status.value) for status in ACTIVE))
    except AppError as error:
        return error
    return [run for page in pages for run in page]
