"""Discord's gateway: HELLO, IDENTIFY, heartbeats, dispatches, and sessions that can be resumed after a lost connection."""

import asyncio
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import WSMsgType, web

from tests.e2e.discord_world import APPLICATION_ID, World, user

DISPATCH, HEARTBEAT, IDENTIFY, RESUME, RECONNECT, INVALID_SESSION, HELLO, ACK = 0, 1, 2, 6, 7, 9, 10, 11
BAD_TOKEN = 4004


@dataclass
class Session:
    """What one IDENTIFY began; lives on without a connection."""

    id: str
    intents: int
    sent: list[tuple[int, str, dict[str, object]]] = field(default_factory=list)
    """Every dispatch: number, name, data."""
    wire: "Wire | None" = None
    is_valid: bool = True


class Wire:
    """One connection, compressed as its address asked for (zlib-stream: one stream for all messages)."""

    def __init__(self, socket: web.WebSocketResponse, *, is_compressed: bool) -> None:
        """Over an open socket."""
        self._socket = socket
        self._stream = zlib.compressobj() if is_compressed else None

    async def send(
        self, op: int, data: object, *, number: int | None = None, name: str | None = None
    ) -> None:
        """One message; nothing happens when the connection is gone."""
        text = json.dumps({"op": op, "d": data, "s": number, "t": name})
        try:
            if self._stream is None:
                await self._socket.send_str(text)
            else:
                packed = self._stream.compress(text.encode()) + self._stream.flush(zlib.Z_SYNC_FLUSH)
                await self._socket.send_bytes(packed)
        except ConnectionError:
            return

    async def close(self, code: int) -> None:
        """Ends the connection with a close code."""
        await self._socket.close(code=code)

    def cut(self, request: web.Request) -> None:
        """Ends the connection without a word."""
        if request.transport is not None:
            request.transport.abort()


class Gateway:
    """The gateway of one bot. All of it runs on the loop of the stand-in."""

    def __init__(self, world: World, *, token: str, url: Callable[[], str]) -> None:
        """Nobody is connected.

        Args:
            world: what is remembered.
            token: the only one that is let in.
            url: where this gateway is.
        """
        self.sessions: list[Session] = []
        self.connections = 0
        self.resumes = 0
        self.heartbeats = 0
        self.is_shut = False
        """New connections are refused (503)."""
        self.heartbeat_seconds = 2.0
        self._world = world
        self._token = token
        self._url = url
        self._requests: dict[Wire, web.Request] = {}

    @property
    def session(self) -> Session | None:
        """The newest one."""
        return self.sessions[-1] if self.sessions else None

    @property
    def is_connected(self) -> bool:
        """Whether the newest session has a connection."""
        return self.session is not None and self.session.wire is not None

    async def dispatch(self, name: str, data: dict[str, object]) -> None:
        """Tells the newest session; who is away is told at its RESUME."""
        if self.session is None:
            raise AssertionError("no bot has ever logged in")
        session = self.session
        session.sent.append((len(session.sent) + 1, name, data))
        if session.wire is not None:
            await session.wire.send(DISPATCH, data, number=len(session.sent), name=name)

    async def drop(self, code: int | None) -> None:
        """Loses the connection: with a close code, or without a word (None)."""
        wire = None if self.session is None else self.session.wire
        if wire is not None:
            if code is None:
                wire.cut(self._requests[wire])
            else:
                await wire.close(code)

    async def tell(self, op: int, data: object) -> None:
        """Sends an opcode, such as RECONNECT, to whoever is connected."""
        if self.session is not None and self.session.wire is not None:
            await self.session.wire.send(op, data)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One connection from HELLO to its end."""
        if self.is_shut:
            return web.Response(status=503)
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        wire = Wire(socket, is_compressed=request.query.get("compress") == "zlib-stream")
        self._requests[wire] = request
        self.connections += 1
        await wire.send(HELLO, {"heartbeat_interval": int(self.heartbeat_seconds * 1000)})
        session: Session | None = None
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    session = await self._hear(wire, json.loads(message.data), session)
        finally:
            del self._requests[wire]
            with self._world.changed:
                if session is not None and session.wire is wire:
                    session.wire = None
                self._world.changed.notify_all()
        return socket

    async def _hear(self, wire: Wire, message: dict[str, object], session: Session | None) -> Session | None:
        data = message.get("d")
        match message.get("op"):
            case 1:
                self.heartbeats += 1
                await wire.send(ACK, None)
            case 2 if isinstance(data, dict):
                return await self._identify(wire, data)
            case 6 if isinstance(data, dict):
                return await self._resume(wire, data)
            case _:
                pass
        return session

    async def _identify(self, wire: Wire, data: dict[str, object]) -> Session | None:
        if data.get("token") != self._token:
            await wire.close(BAD_TOKEN)
            return None
        intents = data.get("intents")
        session = Session(f"session-{len(self.sessions) + 1}", intents if isinstance(intents, int) else 0)
        self.sessions.append(session)
        ready: dict[str, object] = {
            "v": 10,
            "user": user(APPLICATION_ID),
            "guilds": [],
            "session_id": session.id,
            "resume_gateway_url": self._url(),
            "application": {"id": APPLICATION_ID, "flags": 0},
        }
        session.wire = wire
        await self.dispatch("READY", ready)
        with self._world.changed:
            self._world.changed.notify_all()
        return session

    async def _resume(self, wire: Wire, data: dict[str, object]) -> Session | None:
        session = next((each for each in self.sessions if each.id == data.get("session_id")), None)
        if data.get("token") != self._token:
            await wire.close(BAD_TOKEN)
            return None
        heard = data.get("seq")
        if session is None or not session.is_valid or not isinstance(heard, int) or heard > len(session.sent):
            await asyncio.sleep(0.01)
            await wire.send(INVALID_SESSION, False)
            return None
        session.wire = wire
        for number, name, missed in session.sent[heard:]:
            await wire.send(DISPATCH, missed, number=number, name=name)
        self.resumes += 1
        await self.dispatch("RESUMED", {"_trace": []})
        with self._world.changed:
            self._world.changed.notify_all()
        return session
