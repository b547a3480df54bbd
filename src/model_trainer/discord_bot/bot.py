"""The bot on Discord's gateway: commands, buttons and suggestions of its owner, each answered in time, whatever happens."""

import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import discord
from discord import app_commands

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.logging import get_logger
from model_trainer.discord_bot.cards.card import Answer, Card, SafeText
from model_trainer.discord_bot.cards.safe_text import say
from model_trainer.discord_bot.commands.commands import Commands
from model_trainer.discord_bot.discord_errors import NOT_DONE, name_of
from model_trainer.discord_bot.discord_messenger import NOBODY, embed_of, files_of, view_of
from model_trainer.discord_bot.gate import Gate, Place, Thing
from model_trainer.discord_bot.slash_commands import Choices, add_commands, choice_of
from model_trainer.discord_bot.typed_options import read_typed

log = get_logger(__name__)

LONGEST_LIMIT_SECONDS = 30.0
"""discord.py sits out shorter rate limits by itself; of longer ones we hear. The least it takes."""
THINGS: dict[discord.InteractionType, Thing] = {
    discord.InteractionType.application_command: "command",
    discord.InteractionType.autocomplete: "suggestion",
    discord.InteractionType.component: "button",
}
ANSWERED = (discord.InteractionType.application_command, discord.InteractionType.component)


class Bot(discord.Client):
    """One login. What it hears goes to `commands`, once it has passed the gate."""

    def __init__(self, commands: Commands, gate: Gate, *, hints: Mapping[str, str]) -> None:
        """Not connected. `hints`: what the options of /train mean, by name."""
        # Nobody speaks here: nothing is missing without the libraries for it.
        discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
        super().__init__(
            # That messages come is heard, to tell that nobody is answered; what they say is looked at nowhere.
            intents=discord.Intents(guilds=True, guild_messages=True, dm_messages=True),
            allowed_mentions=NOBODY,
            max_messages=None,
            max_ratelimit_timeout=LONGEST_LIMIT_SECONDS,
        )
        self._commands = commands
        self._gate = gate
        self._tree = _Tree(self)
        add_commands(self._tree, self, hints=hints)

    async def register_commands(self) -> None:
        """Tells Discord which commands there are, all at once: those it knows already count towards no limit of its. Raises
        what discord.py raises."""
        await self._tree.sync()

    # what Discord tells

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        """A button was pressed; of commands the tree hears."""
        if interaction.type is discord.InteractionType.component and self.admits(interaction):
            await self._answer_press(interaction)

    async def on_message(self, message: discord.Message) -> None:
        """Nobody is answered; that somebody wrote is told once."""
        if message.author != self.user:
            place: Place = "direct" if isinstance(message.channel, discord.DMChannel) else "group"
            self._gate.admits(
                "message", user_id=message.author.id, place=place if message.guild is None else "guild"
            )

    async def on_error(self, event_method: str, /, *args: object, **kwargs: object) -> None:
        """Something of ours failed that discord.py called."""
        asked = next((one for one in args if isinstance(one, discord.Interaction)), None)
        await self.failed(asked, sys.exception())

    # what the commands do

    def admits(self, interaction: discord.Interaction) -> bool:
        """Whether it comes from the owner, in their channel with the bot."""
        place: Place = "direct" if interaction.context.dm_channel else "group"
        return self._gate.admits(
            THINGS.get(interaction.type, "message"),
            user_id=interaction.user.id,
            place=place if interaction.guild_id is None else "guild",
        )

    async def answer(
        self, interaction: discord.Interaction, question: Callable[[Commands], Awaitable[Answer]]
    ) -> None:
        """See Desk."""
        if await _taken(interaction):
            await _show(interaction, await question(self._commands))

    async def suggest(self, interaction: discord.Interaction, _typed: object) -> Choices:
        """See Desk."""
        asked = read_typed(interaction.data)
        found = await self._commands.suggest(asked.option, asked.text, asked.others)
        choices = [choice_of(asked.option, one.label, one.value) for one in found]
        return [choice for choice in choices if choice is not None]

    async def failed(self, interaction: discord.Interaction | None, error: BaseException | None) -> None:
        """Something of ours broke: the log has where, whoever asked has the number of its line."""
        incident = new_ulid()
        log.warning("discord_answer_failed", request_id=incident, detail=_place_of(error))
        if interaction is not None and interaction.type in ANSWERED and await _taken(interaction):
            text = say("Something broke in the bot; its log has more under {incident}.", incident=incident)
            await _show(interaction, Answer(Card(title=SafeText("That did not work"), text=text, tone="bad")))

    async def _answer_press(self, interaction: discord.Interaction) -> None:
        if await _taken(interaction):
            await _show(interaction, await self._commands.pressed(interaction.custom_id or ""))


class _Tree(app_commands.CommandTree[discord.Client]):
    """The commands of one bot."""

    def __init__(self, bot: Bot) -> None:
        super().__init__(
            bot,
            allowed_contexts=app_commands.AppCommandContext(
                guild=False, dm_channel=True, private_channel=False
            ),
            allowed_installs=app_commands.AppInstallationType(guild=True, user=True),
        )
        self._bot = bot

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        """Whether a command is carried out, or values are offered for it."""
        return self._bot.admits(interaction)

    async def on_error(
        self, interaction: discord.Interaction, error: app_commands.AppCommandError, /
    ) -> None:
        """A command failed, or is none of ours any more."""
        await self._bot.failed(interaction, error.__cause__ or error)


async def _taken(interaction: discord.Interaction) -> bool:
    """Tells Discord within its three seconds that an answer will come; False when it waits no more."""
    if interaction.response.is_done():
        return True
    try:
        await interaction.response.defer()
    except NOT_DONE as error:
        log.warning("discord_interaction_lost", detail=name_of(error))
        return False
    return True


async def _show(interaction: discord.Interaction, answer: Answer) -> None:
    """A command's answer stands where its waiting was shown; a button's in the place of its message, or privately beneath."""
    embed, view, files = embed_of(answer.card), view_of(answer.card), files_of(answer.card)
    is_command = interaction.type is discord.InteractionType.application_command
    try:
        if is_command or answer.in_place:
            await interaction.edit_original_response(
                embed=embed, view=view, attachments=files, allowed_mentions=NOBODY
            )
        else:
            await interaction.followup.send(
                embed=embed, view=view, files=files, allowed_mentions=NOBODY, ephemeral=True
            )
    except NOT_DONE as error:
        log.warning("discord_answer_lost", detail=name_of(error))


def _place_of(error: BaseException | None) -> str:
    """What broke and where, without what it said: that may be anything."""
    frames = [] if error is None else traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"
