"""A stand-in for Discord on loopback: real HTTP and a real gateway for one bot, with people who use it and faults to order."""

import asyncio
import re
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Literal, Self, TypeVar

import yarl
from aiohttp import web
from discord.gateway import DiscordWebSocket
from discord.http import Route

from tests.e2e.discord_gateway import INVALID_SESSION, RECONNECT, Gateway
from tests.e2e.discord_http import PREFIX, Fault, Http, Request
from tests.e2e.discord_wire import Command, MessageBody, Option
from tests.e2e.discord_world import (
    APPLICATION_ID,
    GUILD_ID,
    OWNER_ID,
    STRANGER_ID,
    Asked,
    Said,
    World,
    dm_of,
    user,
)

TOKEN = "MTAwMDAwMDAwMDAwMDAwMDAwMQ.GStand.in-secret-of-the-bot-0123456789"
PATIENCE_SECONDS = 60.0
"""How long to wait for what must come; nothing is slow enough to need it, so it costs nothing."""
T = TypeVar("T")
Place = Literal["direct", "guild", "group"]
CONTEXTS: dict[Place, int] = {"guild": 0, "direct": 1, "group": 2}


class StandIn:
    """Discord for one bot. `with StandIn() as discord:`; every method may be called from any thread."""

    def __init__(self, *, token: str = TOKEN) -> None:
        """Nothing is served yet."""
        self.token = token
        self.world = World()
        self.http = Http(self.world, token=token, gateway_url=lambda: self.gateway_url)
        self.gateway = Gateway(self.world, token=token, url=lambda: self.gateway_url)
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="discord-stand-in", daemon=True)
        self._runner: web.AppRunner | None = None

    @property
    def api_url(self) -> str:
        """For `discord.http.Route.BASE`."""
        return f"http://127.0.0.1:{self.port}{PREFIX}"

    @property
    def gateway_url(self) -> str:
        """For `discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY` (a yarl.URL)."""
        return f"ws://127.0.0.1:{self.port}/gateway"

    @property
    def requests(self) -> list[Request]:
        """All that came over HTTP."""
        return self.http.requests

    @property
    def messages(self) -> list[Said]:
        """What the bot has written into the owner's channel by itself, oldest first; no answers."""
        return [
            said
            for said in self.world.messages.get(dm_of(OWNER_ID), {}).values()
            if said.author_id == APPLICATION_ID and said.answers is None
        ]

    def about(self, mark: str) -> list[Said]:
        """Those of `messages` that have this mark at their foot."""
        return [said for said in self.messages if said.now.mark == mark]

    def __enter__(self) -> Self:
        """Listens."""
        self._thread.start()
        self._do(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends, with all connections."""
        for fault in self.http.faults:
            fault.lift()
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # what people do

    def give_command(
        self,
        command: str,
        options: Mapping[str, str | float | bool] | None = None,
        *,
        by: str = OWNER_ID,
        place: Place = "direct",
    ) -> Asked:
        """Somebody gives a slash command, such as "train" or "trainer runs"; wait for its `answer`."""
        given = options or {}
        asked = self.world.ask(f"/{command} {given}", user_id=by, channel_id=_channel_of(by, place))
        self._interact(asked, kind=2, data=self._command_data(command, given), place=place)
        return asked

    def autocomplete(
        self, command: str, option: str, typed: str = "", *, by: str = OWNER_ID, **others: str | float | bool
    ) -> list[tuple[str, str]]:
        """What the bot offers (label, value) while somebody types an option."""
        asked = self.world.ask(
            f"/{command} {option}:{typed}", user_id=by, channel_id=_channel_of(by, "direct")
        )
        data = self._command_data(command, {**others, option: typed}, focused=option)
        self._interact(asked, kind=4, data=data, place="direct")
        self.wait(lambda: asked.suggestions is not None, f"suggestions for {asked.what}")
        return asked.suggestions or []

    def press_button(self, said: Said, which: str, *, by: str = OWNER_ID) -> Asked:
        """Somebody presses a button that a message has now, by its label or its custom_id."""
        button = next(
            (each for each in said.now.buttons.values() if which in (each.label, each.custom_id)), None
        )
        if button is None or button.disabled:
            raise AssertionError(f"no button {which!r} to press, only {said.now.buttons} on: {said.now.text}")
        asked = self.world.ask(f"[{button.label}]", user_id=by, channel_id=said.channel_id, source=said)
        self._interact(
            asked, kind=3, data={"custom_id": button.custom_id, "component_type": 2}, place="direct"
        )
        return asked

    def write(self, text: str, *, by: str = OWNER_ID) -> Said:
        """Somebody writes the bot a message; it hears of it when it asked for direct messages."""
        said = self.world.post(dm_of(by), by, MessageBody(content=text), [])
        session = self.gateway.session
        if session is not None and session.intents & (1 << 12):
            self._do(self.gateway.dispatch("MESSAGE_CREATE", said.payload()))
        return said

    # what comes back

    def answer(self, asked: Asked, *, seconds: float = PATIENCE_SECONDS) -> Said:
        """What somebody is shown for what they asked."""
        self.wait(lambda: bool(asked.shown), f"an answer to {asked.what}", seconds=seconds)
        return asked.shown[-1]

    def ask(self, command: str, **options: str | float | bool) -> Said:
        """The owner gives a command in the direct channel, and its answer."""
        return self.answer(self.give_command(command, options))

    def wait(self, until: Callable[[], bool], what: str, *, seconds: float = PATIENCE_SECONDS) -> None:
        """Returns when it is true; says what was waited for, and how things stand, when it does not become true."""
        if not self.world.wait(until, seconds=seconds):
            raise AssertionError(f"waited {seconds} s in vain for {what}\n{self.told()}")

    def wait_until_told(self, mark: str, *words: str, seconds: float = PATIENCE_SECONDS) -> Said:
        """The message with this mark, as soon as its title ends with one of these words."""
        self.wait(
            lambda: any(said.now.title.endswith(words) for said in self.about(mark)),
            f"the message of {mark} to say {words}",
            seconds=seconds,
        )
        return self.about(mark)[-1]

    def wait_until_connected(self, *, sessions: int = 1, seconds: float = PATIENCE_SECONDS) -> None:
        """Until a bot is connected that has identified itself so many times at least, with its commands registered."""
        self.wait(
            lambda: (
                self.gateway.is_connected
                and len(self.gateway.sessions) >= sessions
                and bool(self.world.commands)
            ),
            "the bot to connect and to register its commands",
            seconds=seconds,
        )

    def told(self) -> str:
        """How things stand, for messages of tests."""
        lines = [f"connected: {self.gateway.is_connected}, sessions: {len(self.gateway.sessions)}"]
        lines += [f"refused: {refusal}" for refusal in self.world.refusals]
        lines += [
            f"message {said.id}, version {len(said.versions)}: {said.now.text!r}" for said in self.messages
        ]
        lines += [
            f"asked {each.what}: callback {each.callback}, {len(each.shown)} shown"
            for each in self.world.asked.values()
        ]
        lines += [f"{each.method} {each.path}: {each.status}" for each in self.requests[-15:]]
        return "\n".join(lines)

    # what goes wrong

    def fail(
        self, status: int, *, method: str = "", path: str = "", code: int = 0, times: int | None = None
    ) -> Fault:
        """Matching requests are answered with an error (`path` is a regular expression) until it is lifted."""
        fault = Fault(method, re.compile(path), "answer", status=status, times=times)
        fault.body = {"message": f"{status}: made up", "code": code}
        return self._order(fault)

    def limit(
        self,
        retry_after: float,
        *,
        method: str = "",
        path: str = "",
        times: int | None = 1,
        is_global: bool = False,
    ) -> Fault:
        """Matching requests are answered with 429 so many times."""
        fault = Fault(method, re.compile(path), "answer", status=429, times=times)
        fault.body = {
            "message": "You are being rate limited.",
            "retry_after": retry_after,
            "global": is_global,
        }
        scope = "global" if is_global else "user"
        fault.headers = {
            "Via": "1.1 google",
            "Retry-After": str(max(1, round(retry_after))),
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Scope": scope,
            **({"X-RateLimit-Global": "true"} if is_global else {}),
        }
        return self._order(fault)

    def cut(self, *, method: str = "", path: str = "", times: int | None = None) -> Fault:
        """Matching requests lose their connection before anything is done."""
        return self._order(Fault(method, re.compile(path), "cut", times=times))

    def hold(self, *, method: str = "", path: str = "", times: int | None = None) -> Fault:
        """Matching requests are carried out, and answered when it is lifted."""
        return self._order(Fault(method, re.compile(path), "hold", times=times))

    def hang(self, *, method: str = "", path: str = "", times: int | None = None) -> Fault:
        """Matching requests are neither carried out nor answered until it is lifted."""
        return self._order(Fault(method, re.compile(path), "hang", times=times))

    def drop_gateway(self, code: int | None = None) -> None:
        """The connection is lost: with a close code (4000 and 1001 can be resumed), or without a word."""
        self._do(self.gateway.drop(code))

    def invalidate_session(self) -> None:
        """The session is over; the bot has to identify itself again (discord.py takes five seconds for it)."""
        if self.gateway.session is not None:
            self.gateway.session.is_valid = False
        self._do(self.gateway.tell(INVALID_SESSION, False))

    def ask_to_reconnect(self) -> None:
        """Discord wants the bot to connect anew and to resume."""
        self._do(self.gateway.tell(RECONNECT, None))

    def shut_gateway(self, is_shut: bool) -> None:
        """New connections to the gateway are refused, or let in again."""
        self.gateway.is_shut = is_shut

    def close_direct_messages(self, is_closed: bool, *, of: str = OWNER_ID) -> None:
        """Somebody takes no messages from the bot any more (403, 50007), or takes them again."""
        with self.world.changed:
            (self.world.closed_to_us.add if is_closed else self.world.closed_to_us.discard)(dm_of(of))

    # inside

    def _order(self, fault: Fault) -> Fault:
        with self.world.changed:
            self.http.faults.append(fault)
        return fault

    def _interact(self, asked: Asked, *, kind: int, data: dict[str, object], place: Place) -> None:
        payload: dict[str, object] = {
            "id": asked.id,
            "application_id": APPLICATION_ID,
            "type": kind,
            "data": data,
            "token": asked.token,
            "version": 1,
            "channel_id": asked.channel_id,
            "app_permissions": "0",
            "locale": "en-GB",
            "entitlements": [],
            "authorizing_integration_owners": {},
            "context": CONTEXTS[place],
            "attachment_size_limit": 10 * 2**20,
        }
        if place == "guild":
            payload |= {
                "guild_id": GUILD_ID,
                "guild": {"id": GUILD_ID, "locale": "en-GB", "features": []},
                "channel": {
                    "id": asked.channel_id,
                    "type": 0,
                    "name": "general",
                    "position": 0,
                    "permissions": "0",
                },
                "member": {
                    "user": user(asked.user_id),
                    "roles": [],
                    "joined_at": "2020-01-01T00:00:00+00:00",
                    "deaf": False,
                    "mute": False,
                    "flags": 0,
                    "permissions": "8",
                },
            }
        else:
            payload |= {"user": user(asked.user_id), "channel": self._channel(asked, place)}
        if asked.source is not None:
            payload["message"] = asked.source.payload()
        self._do(self.gateway.dispatch("INTERACTION_CREATE", payload))

    def _channel(self, asked: Asked, place: Place) -> dict[str, object]:
        if place == "direct":
            return self.world.direct_channel(asked.user_id)
        group = {"id": asked.channel_id, "type": 3, "name": "few", "icon": None, "owner_id": asked.user_id}
        return {**group, "recipients": [user(asked.user_id), user(STRANGER_ID)]}

    def _command_data(
        self, command: str, options: Mapping[str, str | float | bool], *, focused: str | None = None
    ) -> dict[str, object]:
        """As Discord nests it; refuses what the bot has not registered, as Discord's own window would."""
        first, *inner = command.split()
        registered = self.world.commands.get(first)
        if registered is None:
            raise AssertionError(f"/{first} is not registered, only {sorted(self.world.commands)}")
        levels = self._levels(registered, inner)
        known = {option.name: option for option in levels[-1].options}
        missing = [name for name, option in known.items() if option.required and name not in options]
        if not set(options) <= set(known) or (missing and focused is None):
            raise AssertionError(f"/{command} has {sorted(known)}, not {sorted(options)}; missing: {missing}")
        values: list[dict[str, object]] = [
            {
                "name": name,
                "type": known[name].type,
                "value": value,
                **({"focused": True} if name == focused else {}),
            }
            for name, value in options.items()
        ]
        for level in reversed(levels[1:]):
            values = [{"name": level.name, "type": level.type, "options": values}]
        return {"id": registered.id, "name": first, "type": 1, "options": values}

    def _levels(self, registered: Command, inner: list[str]) -> list[Option]:
        levels: list[Option] = [registered]
        for name in inner:
            found = next((option for option in levels[-1].options if option.name == name), None)
            if found is None:
                raise AssertionError(
                    f"/{registered.name} has no {name}, only {[o.name for o in levels[-1].options]}"
                )
            levels.append(found)
        return levels

    def _do(self, action: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(action, self._loop).result(30)

    async def _open(self) -> None:
        app = self.http.application()
        app.add_routes([web.get("/gateway", self.gateway.serve), web.get("/gateway/", self.gateway.serve)])
        self._runner = web.AppRunner(app, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _close(self) -> None:
        await self.gateway.drop(1001)
        if self._runner is not None:
            await self._runner.cleanup()


def _channel_of(user_id: str, place: Place) -> str:
    return dm_of(user_id) if place == "direct" else f"6{user_id[1:]}"


@contextmanager
def pointed_at(standin: StandIn) -> Iterator[None]:
    """Inside, discord.py in this process takes the stand-in for Discord."""
    before = (Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY)
    Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = standin.api_url, yarl.URL(standin.gateway_url)
    try:
        yield
    finally:
        Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = before
