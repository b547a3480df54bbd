"""Discord's HTTP API as far as a bot in direct messages needs it, and the faults that can be ordered of it."""

import asyncio
import json
import re
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import BodyPartReader, web
from pydantic import TypeAdapter, ValidationError

from tests.e2e.discord_wire import CallbackBody, Choices, Command, MessageBody
from tests.e2e.discord_world import APPLICATION_ID, OWNER_ID, Asked, Refused, Said, World, user

PREFIX = "/api/v10"
COMMANDS = TypeAdapter(list[Command])
Files = list[tuple[str, bytes]]
BODY = web.RequestKey("body", bytes)
FILES: web.RequestKey[Files] = web.RequestKey("files")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Request:
    """One request as it came."""

    method: str
    path: str
    query: str
    token: str
    """Of the Authorization header, without its "Bot "."""
    body: bytes
    """The JSON, or all parts of a form one behind the other."""
    status: int = 0
    """What was answered; 0 for nothing (yet)."""


@dataclass(eq=False)
class Fault:
    """Something that goes wrong with matching requests until it is lifted, or so many times."""

    method: str
    path: re.Pattern[str]
    kind: Literal["answer", "cut", "hold", "hang"]
    """Answered with `status` instead; cut off; carried out with the answer held back; neither carried out nor answered."""
    status: int = 0
    body: dict[str, object] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    times: int | None = None
    """How often; None: until it is lifted."""
    hits: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    lifted: threading.Event = field(default_factory=threading.Event)

    def lift(self) -> None:
        """It happens no more; what was held back goes on."""
        self.lifted.set()

    def takes(self, request: web.Request) -> bool:
        """Whether this request is struck; counts it."""
        path = request.path.removeprefix(PREFIX)
        if self.lifted.is_set() or self.method not in ("", request.method) or self.path.search(path) is None:
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        self.reached.set()
        return True

    async def wait_until_lifted(self) -> None:
        """For held requests."""
        while not self.lifted.is_set():
            await asyncio.sleep(0.01)


class Http:
    """The HTTP side. All of it runs on the loop of the stand-in."""

    def __init__(self, world: World, *, token: str, gateway_url: Callable[[], str]) -> None:
        """Nothing is served yet.

        Args:
            world: what is remembered.
            token: the only one that is let in.
            gateway_url: where the gateway is.
        """
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self._world = world
        self._token = token
        self._gateway_url = gateway_url

    def application(self) -> web.Application:
        """All routes."""
        app = web.Application(middlewares=[self._around], client_max_size=32 * 2**20)
        app.add_routes(
            [
                web.get(f"{PREFIX}/users/@me", self._me),
                web.post(f"{PREFIX}/users/@me/channels", self._open_channel),
                web.get(f"{PREFIX}/users/{{user}}", self._user),
                web.get(f"{PREFIX}/oauth2/applications/@me", self._application),
                web.get(f"{PREFIX}/applications/@me", self._application),
                web.get(f"{PREFIX}/gateway/bot", self._gateway),
                web.get(f"{PREFIX}/applications/{{app}}/commands", self._commands),
                web.put(f"{PREFIX}/applications/{{app}}/commands", self._register),
                web.get(f"{PREFIX}/channels/{{channel}}", self._channel),
                web.get(f"{PREFIX}/channels/{{channel}}/messages", self._history),
                web.post(f"{PREFIX}/channels/{{channel}}/messages", self._post),
                web.get(f"{PREFIX}/channels/{{channel}}/messages/{{message}}", self._message),
                web.patch(f"{PREFIX}/channels/{{channel}}/messages/{{message}}", self._edit),
                web.post(f"{PREFIX}/interactions/{{id}}/{{token}}/callback", self._callback),
                web.get(f"{PREFIX}/webhooks/{{app}}/{{token}}/messages/@original", self._original),
                web.patch(f"{PREFIX}/webhooks/{{app}}/{{token}}/messages/@original", self._edit_original),
                web.post(f"{PREFIX}/webhooks/{{app}}/{{token}}", self._follow_up),
                web.patch(f"{PREFIX}/webhooks/{{app}}/{{token}}/messages/{{message}}", self._edit_follow_up),
            ]
        )
        return app

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Records each request, lets nobody in without the token, does what faults say, and shows errors as Discord does."""
        seen = Request(
            request.method,
            request.path.removeprefix(PREFIX),
            request.query_string,
            request.headers.get("Authorization", "").removeprefix("Bot "),
            b"",
        )
        if not request.path.startswith(PREFIX):
            return await handler(request)  # the gateway
        request[BODY], request[FILES] = await _read(request, seen)
        with self._world.changed:
            self.requests.append(seen)
            fault = next((each for each in self.faults if each.takes(request)), None)
            self._world.changed.notify_all()
        if fault is not None and fault.kind == "hang":
            await fault.wait_until_lifted()
        if fault is not None and fault.kind == "cut":
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        response: web.StreamResponse
        if fault is not None and fault.kind == "answer":
            response = answer(fault.body, status=fault.status, headers=fault.headers)
        else:
            response = await self._handled(request, handler)
        if fault is not None and fault.kind == "hold":
            await fault.wait_until_lifted()
        seen.status = response.status
        return response

    async def _handled(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._let_in(request)
            return await handler(request)
        except web.HTTPNotFound:
            self._world.refusals.append(f"{request.method} {request.path}: no such route")
            return answer({"message": "404: Not Found", "code": 0}, status=404)
        except ValidationError as error:
            self._world.refusals.append(f"{request.method} {request.path}: {error}")
            return answer({"message": "Invalid Form Body", "code": 50035, "errors": {}}, status=400)
        except Refused as error:
            if error.status == 400:
                self._world.refusals.append(f"{request.method} {request.path}: {error.message}")
            return answer({"message": error.message, "code": error.code}, status=error.status)

    def _let_in(self, request: web.Request) -> None:
        is_by_token = request.path.startswith((f"{PREFIX}/interactions/", f"{PREFIX}/webhooks/"))
        if not is_by_token and request.headers.get("Authorization") != f"Bot {self._token}":
            raise Refused(401, 0, "401: Unauthorized")

    async def _me(self, _: web.Request) -> web.Response:
        return answer(user(APPLICATION_ID))

    async def _user(self, request: web.Request) -> web.Response:
        return answer(user(request.match_info["user"]))

    async def _open_channel(self, request: web.Request) -> web.Response:
        recipient = json.loads(request[BODY])["recipient_id"]
        return answer(self._world.direct_channel(str(recipient)))

    async def _application(self, _: web.Request) -> web.Response:
        return answer(
            {
                "id": APPLICATION_ID,
                "name": "trainer",
                "icon": None,
                "description": "",
                "summary": "",
                "verify_key": "",
                "flags": 0,
                "bot_public": False,
                "bot_require_code_grant": False,
                "owner": user(OWNER_ID),
            }
        )

    async def _gateway(self, _: web.Request) -> web.Response:
        left = {"total": 1000, "remaining": 999, "reset_after": 1, "max_concurrency": 1}
        return answer({"url": self._gateway_url(), "shards": 1, "session_start_limit": left})

    async def _commands(self, _: web.Request) -> web.Response:
        return answer([self._shown(command) for command in self._world.commands.values()])

    async def _register(self, request: web.Request) -> web.Response:
        registered = COMMANDS.validate_json(request[BODY])
        with self._world.changed:
            for command in registered:
                before = self._world.commands.get(command.name)
                command.id = self._world.new_id() if before is None else before.id
            self._world.commands = {command.name: command for command in registered}
            self._world.changed.notify_all()
        return answer([self._shown(command) for command in registered])

    def _shown(self, command: Command) -> dict[str, object]:
        return {**command.model_dump(exclude_none=True), "application_id": APPLICATION_ID, "version": "1"}

    async def _channel(self, request: web.Request) -> web.Response:
        return answer(self._world.direct_channel(self._world.whose(request.match_info["channel"])))

    async def _history(self, request: web.Request) -> web.Response:
        there = list(self._world.messages.get(request.match_info["channel"], {}).values())
        before, after = request.query.get("before"), request.query.get("after")
        limit = int(request.query.get("limit", "50"))
        if before is not None:
            there = [said for said in there if int(said.id) < int(before)]
        if after is not None:
            there = [said for said in there if int(said.id) > int(after)][:limit]
        newest_first = sorted(there, key=lambda said: int(said.id), reverse=True)
        return answer([said.payload() for said in newest_first[:limit]])

    async def _message(self, request: web.Request) -> web.Response:
        return answer(self._said(request).payload())

    async def _post(self, request: web.Request) -> web.Response:
        body = MessageBody.model_validate_json(request[BODY])
        said = self._world.post(request.match_info["channel"], APPLICATION_ID, body, request[FILES])
        return answer(said.payload())

    async def _edit(self, request: web.Request) -> web.Response:
        body = MessageBody.model_validate_json(request[BODY])
        said = self._said(request)
        if said.author_id != APPLICATION_ID:
            raise Refused(403, 50005, "Cannot edit a message authored by another user")
        return answer(self._world.edit(said, body, request[FILES]).payload())

    def _said(self, request: web.Request) -> Said:
        return self._world.said(request.match_info["channel"], request.match_info["message"])

    async def _callback(self, request: web.Request) -> web.Response:
        asked = self._asked(request)
        if asked.id != request.match_info["id"]:
            raise Refused(404, 10062, "Unknown interaction")
        body = CallbackBody.model_validate_json(request[BODY])
        if body.type == 8:
            choices = Choices.model_validate(body.data)
            self._world.suggest(asked, [(choice.name, str(choice.value)) for choice in choices.choices])
        else:
            message = MessageBody.model_validate(body.data or {})
            self._world.answer(asked, body.type, message, request[FILES])
        return answer(_callback_response(asked, body.type))

    async def _original(self, request: web.Request) -> web.Response:
        original = self._asked(request).original
        if original is None:
            raise Refused(404, 10015, "Unknown Webhook")
        return answer(original.payload())

    async def _edit_original(self, request: web.Request) -> web.Response:
        body = MessageBody.model_validate_json(request[BODY])
        return answer(self._world.answer_later(self._asked(request), body, request[FILES]).payload())

    async def _follow_up(self, request: web.Request) -> web.Response:
        body = MessageBody.model_validate_json(request[BODY])
        return answer(self._world.follow_up(self._asked(request), body, request[FILES]).payload())

    async def _edit_follow_up(self, request: web.Request) -> web.Response:
        body = MessageBody.model_validate_json(request[BODY])
        for said in self._asked(request).shown:
            if said.id == request.match_info["message"]:
                return answer(self._world.edit(said, body, request[FILES]).payload())
        raise Refused(404, 10008, "Unknown Message")

    def _asked(self, request: web.Request) -> Asked:
        return self._world.of_token(request.match_info["token"])


def answer(body: object, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """JSON under exactly `application/json`: discord.py reads nothing else as JSON."""
    sent = {
        "X-RateLimit-Limit": "50",
        "X-RateLimit-Remaining": "49",
        "X-RateLimit-Reset-After": "1.0",
        **(headers or {}),
    }
    return web.Response(
        body=json.dumps(body).encode(), status=status, content_type="application/json", headers=sent
    )


async def _read(request: web.Request, seen: Request) -> tuple[bytes, Files]:
    """The JSON and the files of a request; all of it is noted in `seen`."""
    if not request.content_type.startswith("multipart/"):
        seen.body = await request.read()
        return seen.body, []
    body, files = b"{}", []
    async for part in await request.multipart():
        if isinstance(part, BodyPartReader):
            data = bytes(await part.read())
            seen.body += b"%s %s\n%s\n" % ((part.name or "").encode(), (part.filename or "").encode(), data)
            if part.name == "payload_json":
                body = data
            else:
                files.append((part.filename or "", data))
    return body, files


def _callback_response(asked: Asked, kind: int) -> dict[str, object]:
    """What Discord answers to a callback that asked for it (with_response)."""
    told: dict[str, object] = {"id": asked.id, "type": 2}
    if asked.original is None:
        return {"interaction": told}
    told |= {
        "response_message_id": asked.original.id,
        "response_message_loading": asked.original.is_loading,
        "response_message_ephemeral": asked.original.is_private,
    }
    return {"interaction": told, "resource": {"type": kind, "message": asked.original.payload()}}
