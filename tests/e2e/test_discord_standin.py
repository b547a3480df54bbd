"""The stand-in for Discord against a bare discord.py client: what the bot's own tests rest on."""

import asyncio
import io
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import TypeVar

import discord
import pytest
from discord import app_commands

from tests.e2e.discord_standin import TOKEN, StandIn, pointed_at
from tests.e2e.discord_world import OWNER_ID, STRANGER_ID

T = TypeVar("T")
PICTURE = b"\x89PNG\r\n\x1a\nnot much of a picture"


class Bare(discord.Client):
    """Has two commands and a button, and repeats what it hears."""

    def __init__(self) -> None:
        super().__init__(intents=discord.Intents(dm_messages=True))
        self.heard: list[str] = []
        self.tree = app_commands.CommandTree(self)
        group = app_commands.Group(name="group", description="A group.")

        @self.tree.command(name="echo", description="Says it again.")
        async def echo(interaction: discord.Interaction, text: str, times: int = 1) -> None:
            await interaction.response.defer(thinking=True, ephemeral=True)
            await interaction.edit_original_response(content=text * times)

        @echo.autocomplete("text")
        async def offer(_: discord.Interaction, typed: str) -> list[app_commands.Choice[str]]:
            return [app_commands.Choice(name=f"{typed}!", value=typed)]

        @group.command(name="open", description="Opens.")
        async def opened(interaction: discord.Interaction) -> None:
            view = discord.ui.View(timeout=None)
            view.add_item(discord.ui.Button(label="Press", custom_id="press:1"))
            await interaction.response.send_message("press it", view=view)

        self.tree.add_command(group)

    async def setup_hook(self) -> None:
        await self.tree.sync()

    async def on_message(self, message: discord.Message) -> None:
        self.heard.append(message.content)

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        if interaction.type is discord.InteractionType.component:
            await interaction.response.edit_message(content="pressed", view=None)


class Running:
    """A client on a loop of its own."""

    def __init__(self, token: str) -> None:
        self.client = Bare()
        self.ended: BaseException | None = None
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(token,))
        self._thread.start()

    def do(self, action: Coroutine[object, object, T]) -> T:
        """Something on the client's loop."""
        return asyncio.run_coroutine_threadsafe(action, self.loop).result(30)

    def join(self) -> None:
        """Until it has ended by itself."""
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self, token: str) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._live(token))

    async def _live(self, token: str) -> None:
        try:
            async with self.client:
                await self.client.start(token)
        except discord.DiscordException as error:
            self.ended = error


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with StandIn() as running, pointed_at(running):
        yield running


@contextmanager
def logged_in(standin: StandIn) -> Iterator[Running]:
    """A client that is connected."""
    running = Running(TOKEN)
    try:
        standin.wait_until_connected()
        yield running
    finally:
        running.do(running.client.close())
        running.join()


async def to_owner(client: discord.Client) -> discord.DMChannel:
    """The owner's channel."""
    return await (await client.fetch_user(int(OWNER_ID))).create_dm()


def test_commands_suggestions_and_buttons_go_there_and_back(standin: StandIn) -> None:
    with logged_in(standin) as running:
        private = standin.ask("echo", text="ab", times=2)
        offered = standin.autocomplete("echo", "text", "x")
        opened = standin.ask("group open")
        pressed = standin.answer(standin.press_button(opened, "Press"))
        standin.write("hello", by=STRANGER_ID)
        standin.ask("echo", text="later")
    assert (private.now.text, private.is_private) == ("abab", True)
    assert offered == [("x!", "x")]
    assert pressed is opened
    assert [version.content for version in opened.versions] == ["press it", "pressed"]
    assert running.client.heard == ["hello"]
    assert not standin.messages, "an answer is no message of its own"
    assert not standin.world.refusals


def test_a_message_is_sent_once_edited_with_a_picture_and_found_again(standin: StandIn) -> None:
    async def send(client: discord.Client) -> discord.Message:
        channel = await to_owner(client)
        await channel.send(embed=discord.Embed(title="one"), nonce="n-1")
        return await channel.send(embed=discord.Embed(title="again"), nonce="n-1")

    async def draw(client: discord.Client, message: discord.Message) -> list[str]:
        embed = discord.Embed(title="drawn").set_image(url="attachment://a.png")
        await message.edit(embed=embed, attachments=[discord.File(io.BytesIO(PICTURE), "a.png")])
        return [found.embeds[0].title or "" async for found in (await to_owner(client)).history(limit=5)]

    with logged_in(standin) as running:
        sent = running.do(send(running.client))
        titles = running.do(draw(running.client, sent))
    (said,) = standin.messages
    assert [version.title for version in said.versions] == ["one", "drawn"]
    assert said.now.pictures == [PICTURE]
    assert titles == ["drawn"]
    assert any(PICTURE in request.body for request in standin.requests)


def test_what_is_too_long_is_refused(standin: StandIn) -> None:
    async def send(client: discord.Client) -> None:
        await (await to_owner(client)).send(embed=discord.Embed(title="x" * 257))

    with logged_in(standin) as running, pytest.raises(discord.HTTPException, match="50035"):
        running.do(send(running.client))
    assert len(standin.world.refusals) == 1


def test_a_command_given_while_the_connection_is_lost_arrives_once_it_is_resumed(standin: StandIn) -> None:
    with logged_in(standin):
        for code in (4000, None):
            standin.shut_gateway(True)
            standin.drop_gateway(code)
            standin.wait(lambda: not standin.gateway.is_connected, "the connection to be lost")
            asked = standin.give_command("echo", {"text": "late"})
            standin.shut_gateway(False)
            assert standin.answer(asked).now.text == "late"
        standin.ask_to_reconnect()
        standin.wait(lambda: standin.gateway.resumes == 3, "the third resumption")
        assert standin.ask("echo", text="there").now.text == "there"
    assert (len(standin.gateway.sessions), standin.gateway.resumes) == (1, 3)


def test_an_invalid_session_is_begun_anew(standin: StandIn) -> None:
    with logged_in(standin):
        standin.invalidate_session()
        standin.wait_until_connected(sessions=2)
        assert standin.ask("echo", text="new").now.text == "new"


def test_limits_and_faults_are_waited_for(standin: StandIn) -> None:
    async def send(client: discord.Client, text: str) -> None:
        await (await to_owner(client)).send(text)

    with logged_in(standin) as running:
        standin.limit(0.05, method="POST", path="/messages", times=2)
        running.do(send(running.client, "limited"))
        standin.limit(0.05, is_global=True)
        standin.fail(502, method="POST", path="/messages", times=1)
        running.do(send(running.client, "broken"))
        held = standin.hold(method="POST", path="/messages")
        waiting = asyncio.run_coroutine_threadsafe(send(running.client, "held"), running.loop)
        standin.wait(lambda: len(standin.messages) == 3, "the held message")
        assert not waiting.done()
        held.lift()
        waiting.result(30)
    assert [said.now.text for said in standin.messages] == ["limited", "broken", "held"]
    assert [each.status for each in standin.requests if each.path.endswith("/messages")] == [
        429, 429, 200, 502, 200, 200,
    ]  # fmt: skip


def test_a_wrong_token_is_refused_at_once(standin: StandIn) -> None:
    running = Running("wrong")
    running.join()
    assert isinstance(running.ended, discord.LoginFailure)
    assert [(each.path, each.status) for each in standin.requests] == [("/users/@me", 401)]
