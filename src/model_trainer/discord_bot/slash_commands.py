"""The slash commands as Discord lists them: names, options, and which of them offer values while somebody types."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import discord
from discord import app_commands

from model_trainer.discord_bot.cards.card import Answer
from model_trainer.discord_bot.commands.commands import Commands
from model_trainer.discord_bot.commands.train_form import TrainForm

P = ParamSpec("P")
T = TypeVar("T")
Choices = list[app_commands.Choice[str | int | float]]
Handler = Callable[Concatenate[discord.Interaction, P], Coroutine[object, object, None]]

WHOLE_NUMBERS = frozenset({"max_steps", "batch_size", "max_seq_len", "seed"})
NUMBERS = frozenset({"num_epochs", "learning_rate"})
LARGEST = 2**53
"""Discord takes no larger number, and refuses all suggestions for the sake of one."""
RUN_ID = "The run's id"


class Desk(Protocol):
    """Where commands are answered."""

    async def answer(
        self, interaction: discord.Interaction, question: Callable[[Commands], Awaitable[Answer]]
    ) -> None:
        """Puts the question and shows its answer."""
        ...

    async def suggest(self, interaction: discord.Interaction, _typed: object) -> Choices:
        """What may stand in the option that somebody types. discord.py takes half a number for NaN, so what was typed is
        read anew."""
        ...


class _Listing(Protocol):
    """CommandTree and Group: what commands are added to."""

    def command(self, *, name: str, description: str) -> Callable[[Handler[P]], object]: ...


class _Library(Protocol):
    """The part of discord.app_commands in use, typed."""

    def autocomplete(
        self, **options: Callable[[discord.Interaction, object], Coroutine[object, object, Choices]]
    ) -> Callable[[T], T]: ...


_APP_COMMANDS: _Library = app_commands


def add_commands(
    tree: "app_commands.CommandTree[discord.Client]", desk: Desk, *, hints: Mapping[str, str]
) -> None:
    """All of them. `hints`: what the options of /train mean, by name."""
    listing: _Listing = tree
    _add_train(listing, desk, hints)
    _add_for_run(listing, desk, "status", "Look at a run", lambda commands, run_id: commands.status(run_id))
    _add_for_run(listing, desk, "cancel", "Stop a run", lambda commands, run_id: commands.cancel(run_id))
    group = app_commands.Group(name="trainer", description="Runs and the service")
    tree.add_command(group)
    _add_trainer(group, desk)


def _add_train(listing: _Listing, desk: Desk, hints: Mapping[str, str]) -> None:
    async def train(
        interaction: discord.Interaction,
        family: str,
        corpus: str,
        tokenizer: str | None = None,
        name: str | None = None,
        max_steps: int | None = None,
        num_epochs: float | None = None,
        batch_size: int | None = None,
        max_seq_len: int | None = None,
        learning_rate: float | None = None,
        device: str | None = None,
        precision: str | None = None,
        seed: int | None = None,
        settings: str = "",
    ) -> None:
        form = TrainForm(
            family=family,
            corpus=corpus,
            tokenizer=tokenizer,
            name=name,
            max_steps=max_steps,
            num_epochs=num_epochs,
            batch_size=batch_size,
            max_seq_len=max_seq_len,
            learning_rate=learning_rate,
            device=device,
            precision=precision,
            seed=seed,
            settings=settings,
        )
        # Discord may deliver a command twice: its id is the same then, and so is the run.
        key = f"discord-{interaction.id}"
        await desk.answer(interaction, lambda commands: commands.train(form, idempotency_key=key))

    described = app_commands.describe(**hints)(train)
    listing.command(name="train", description="Train a model")(
        _APP_COMMANDS.autocomplete(
            family=desk.suggest,
            tokenizer=desk.suggest,
            max_steps=desk.suggest,
            num_epochs=desk.suggest,
            batch_size=desk.suggest,
            max_seq_len=desk.suggest,
            learning_rate=desk.suggest,
            device=desk.suggest,
            precision=desk.suggest,
            seed=desk.suggest,
            settings=desk.suggest,
        )(described)
    )


def _add_trainer(listing: _Listing, desk: Desk) -> None:
    async def runs(interaction: discord.Interaction) -> None:
        await desk.answer(interaction, lambda commands: commands.runs())

    async def status(interaction: discord.Interaction) -> None:
        await desk.answer(interaction, lambda commands: commands.service())

    async def watch(interaction: discord.Interaction, run_id: str | None = None) -> None:
        await desk.answer(interaction, lambda commands: commands.watch(run_id))

    listing.command(name="runs", description="List the runs, newest first")(runs)
    listing.command(name="status", description="Look at the service")(status)
    listing.command(name="watch", description="Follow a run, or list those that are followed")(
        _with_run_id(watch, desk)
    )
    _add_for_run(
        listing, desk, "unwatch", "Follow a run no more", lambda commands, run_id: commands.unwatch(run_id)
    )
    _add_for_run(
        listing, desk, "pause", "Let a run stand still", lambda commands, run_id: commands.pause(run_id)
    )
    _add_for_run(listing, desk, "resume", "Let a run go on", lambda commands, run_id: commands.resume(run_id))


def _add_for_run(
    listing: _Listing,
    desk: Desk,
    name: str,
    description: str,
    question: Callable[[Commands, str], Awaitable[Answer]],
) -> None:
    """A command about one run."""

    async def ask(interaction: discord.Interaction, run_id: str) -> None:
        await desk.answer(interaction, lambda commands: question(commands, run_id))

    listing.command(name=name, description=description)(_with_run_id(ask, desk))


def _with_run_id(command: T, desk: Desk) -> T:
    return _APP_COMMANDS.autocomplete(run_id=desk.suggest)(app_commands.describe(run_id=RUN_ID)(command))


def choice_of(option: str, label: str, value: str) -> app_commands.Choice[str | int | float] | None:
    """A value as Discord takes it for this option; None where it is none."""
    if option not in WHOLE_NUMBERS | NUMBERS:
        return app_commands.Choice(name=label, value=value)
    try:
        number = int(value) if option in WHOLE_NUMBERS else float(value)
    except ValueError:
        return None
    return app_commands.Choice(name=label, value=number) if abs(number) < LARGEST else None
