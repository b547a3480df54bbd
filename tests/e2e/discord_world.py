"""What Discord remembers: people, their channels, the messages with all their versions, the questions people put to the bot."""

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.e2e.discord_wire import EPHEMERAL, Attached, Button, Command, Embed, MessageBody, Row

APPLICATION_ID = "1000000000000000001"
OWNER_ID = "2000000000000000002"
STRANGER_ID = "3000000000000000003"
GUILD_ID = "4000000000000000004"
DISCORD_EPOCH_MS = 1_420_070_400_000
PNG = b"\x89PNG\r\n\x1a\n"
NAMES = {APPLICATION_ID: "trainer", OWNER_ID: "olga", STRANGER_ID: "sten"}


def user(user_id: str) -> dict[str, object]:
    """A user as Discord shows one."""
    return {
        "id": user_id,
        "username": NAMES.get(user_id, "somebody"),
        "global_name": None,
        "discriminator": "0",
        "avatar": None,
        "bot": user_id == APPLICATION_ID,
        "verified": True,
        "mfa_enabled": False,
        "flags": 0,
    }


class Refused(Exception):
    """Discord says no."""

    def __init__(self, status: int, code: int, message: str) -> None:
        """HTTP status, Discord's own code, and its sentence."""
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True)
class File:
    """A file of a message."""

    id: str
    name: str
    data: bytes


@dataclass(frozen=True)
class Version:
    """A message as it stood for a while."""

    content: str = ""
    embeds: tuple[Embed, ...] = ()
    rows: tuple[Row, ...] = ()
    files: tuple[File, ...] = ()

    @property
    def text(self) -> str:
        """All that can be read, line by line."""
        return "\n".join(
            [self.content, *(text for embed in self.embeds for text in embed.texts if text)]
        ).strip()

    @property
    def title(self) -> str:
        """Of the first embed."""
        return self.embeds[0].title if self.embeds else ""

    @property
    def mark(self) -> str:
        """What stands at the foot of the first embed."""
        footer = self.embeds[0].footer if self.embeds else None
        return "" if footer is None else footer.text

    @property
    def fields(self) -> dict[str, str]:
        """Of all embeds, by name."""
        return {each.name: each.value for embed in self.embeds for each in embed.fields}

    @property
    def buttons(self) -> dict[str, Button]:
        """By label."""
        return {button.label: button for row in self.rows for button in row.components}

    @property
    def pictures(self) -> list[bytes]:
        """The PNG files that an embed shows."""
        shown = {embed.image.url for embed in self.embeds if embed.image is not None}
        return [file.data for file in self.files if f"attachment://{file.name}" in shown]


@dataclass
class Said:
    """A message with everything that it was; the last version is what stands there."""

    id: str
    channel_id: str
    author_id: str
    versions: list[Version]
    nonce: str | None = None
    flags: int = 0
    is_loading: bool = False
    """Nothing but "is thinking" so far."""
    answers: "Asked | None" = None
    """To what it is the answer; None: it was sent by itself."""

    @property
    def now(self) -> Version:
        """As it stands."""
        return self.versions[-1]

    @property
    def is_private(self) -> bool:
        """Only who asked sees it, and no channel keeps it."""
        return bool(self.flags & EPHEMERAL)

    def payload(self) -> dict[str, object]:
        """As Discord answers it."""
        now = self.now
        return {
            "id": self.id,
            "channel_id": self.channel_id,
            "author": user(self.author_id),
            "content": now.content,
            "timestamp": datetime.now(UTC).isoformat(),
            "edited_timestamp": datetime.now(UTC).isoformat() if len(self.versions) > 1 else None,
            "tts": False,
            "mention_everyone": False,
            "mentions": [],
            "mention_roles": [],
            "attachments": [
                {
                    "id": file.id,
                    "filename": file.name,
                    "size": len(file.data),
                    "url": "http://x/",
                    "proxy_url": "http://x/",
                }
                for file in now.files
            ],
            "embeds": [embed.model_dump(exclude_none=True) for embed in now.embeds],
            "components": [row.model_dump(exclude_none=True) for row in now.rows],
            "pinned": False,
            "type": 0,
            "flags": self.flags,
            **({} if self.nonce is None else {"nonce": self.nonce}),
            **({} if self.answers is None else self.answers.metadata()),
        }


@dataclass
class Asked:
    """An interaction: a command that was given, a button that was pressed, an option that is being typed."""

    id: str
    token: str
    user_id: str
    channel_id: str
    what: str
    source: Said | None = None
    """The message whose button was pressed."""
    callback: int | None = None
    """The type of the first answer."""
    shown: list[Said] = field(default_factory=list)
    """What it came to: new messages, or the one whose button was pressed; without those that are still loading."""
    original: Said | None = None
    suggestions: list[tuple[str, str]] | None = None

    def metadata(self) -> dict[str, object]:
        """What Discord adds to the messages that answer it."""
        told = {"id": self.id, "type": 3 if self.source else 2, "user": user(self.user_id)}
        return {
            "webhook_id": APPLICATION_ID,
            "application_id": APPLICATION_ID,
            "interaction_metadata": {**told, "authorizing_integration_owners": {}},
        }


class World:
    """All of it. Every change is made under `changed`, which wakes those who wait for something."""

    def __init__(self) -> None:
        """Nobody has said anything."""
        self.changed = threading.Condition(threading.RLock())
        self.messages: dict[str, dict[str, Said]] = {}
        """By channel and id, oldest first."""
        self.asked: dict[str, Asked] = {}
        """By token."""
        self.commands: dict[str, Command] = {}
        self.refusals: list[str] = []
        """Every time that Discord had to say no to something malformed."""
        self.closed_to_us: set[str] = set()
        """Channels whose owners take no messages from the bot."""
        self._counter = itertools.count(1)

    def new_id(self) -> str:
        """A snowflake of now, larger than all before."""
        return str(
            ((time.time_ns() // 1_000_000 - DISCORD_EPOCH_MS) << 22) | (next(self._counter) & 0x3FFFFF)
        )

    def wait(self, until: Callable[[], bool], *, seconds: float) -> bool:
        """Whether it came true in time."""
        with self.changed:
            return self.changed.wait_for(until, timeout=seconds)

    def direct_channel(self, user_id: str) -> dict[str, object]:
        """The channel between somebody and the bot."""
        return {
            "id": dm_of(user_id),
            "type": 1,
            "recipients": [user(user_id)],
            "last_message_id": None,
            "flags": 0,
        }

    def whose(self, channel_id: str) -> str:
        """With whom the bot speaks in a channel; raises Refused when there is no such channel."""
        for user_id in NAMES:
            if dm_of(user_id) == channel_id:
                return user_id
        raise Refused(404, 10003, "Unknown Channel")

    def post(
        self, channel_id: str, author_id: str, body: MessageBody, files: list[tuple[str, bytes]]
    ) -> Said:
        """A new message in a channel, or the one that the same nonce made before."""
        with self.changed:
            if channel_id in self.closed_to_us:
                raise Refused(403, 50007, "Cannot send messages to this user")
            there = self.messages.setdefault(channel_id, {})
            if body.enforce_nonce:
                for said in there.values():
                    if said.nonce is not None and said.nonce == body.nonce and said.author_id == author_id:
                        return said
            said = self._new(channel_id, author_id, body, files)
            there[said.id] = said
            self.changed.notify_all()
            return said

    def edit(self, said: Said, body: MessageBody, files: list[tuple[str, bytes]]) -> Said:
        """Another version of a message."""
        with self.changed:
            if said.channel_id in self.closed_to_us:
                raise Refused(403, 50007, "Cannot send messages to this user")
            version = self._version(Version() if said.is_loading else said.now, body, files)
            said.versions = [version] if said.is_loading else [*said.versions, version]
            said.is_loading = False
            self.changed.notify_all()
            return said

    def said(self, channel_id: str, message_id: str) -> Said:
        """A message; raises Refused when there is none."""
        found = self.messages.get(channel_id, {}).get(message_id)
        if found is None:
            raise Refused(404, 10008, "Unknown Message")
        return found

    def forget_nonces(self) -> None:
        """A few minutes have passed: what was sent then is not known by its nonce any more."""
        with self.changed:
            for there in self.messages.values():
                for said in there.values():
                    said.nonce = None

    def delete(self, said: Said) -> None:
        """Somebody removes a message."""
        with self.changed:
            del self.messages[said.channel_id][said.id]

    def ask(self, what: str, *, user_id: str, channel_id: str, source: Said | None = None) -> Asked:
        """A new interaction."""
        with self.changed:
            number = self.new_id()
            asked = Asked(number, f"token-of-{number}", user_id, channel_id, what, source)
            self.asked[asked.token] = asked
            return asked

    def of_token(self, token: str) -> Asked:
        """The interaction of a token; raises Refused when there is none."""
        found = self.asked.get(token)
        if found is None:
            raise Refused(404, 10015, "Unknown Webhook")
        return found

    def answer(self, asked: Asked, kind: int, body: MessageBody, files: list[tuple[str, bytes]]) -> None:
        """The first answer to a command or a press: a message (4), later (5, 6), or the same message changed (7)."""
        with self.changed:
            if asked.callback is not None:
                raise Refused(400, 40060, "Interaction has already been acknowledged.")
            if kind in (6, 7) and asked.source is None:
                raise Refused(400, 50035, "Invalid Form Body: there is no message to update")
            asked.callback = kind
            if kind in (6, 7):
                asked.original = asked.source
            else:
                asked.original = self._reply(asked, body, files, is_loading=kind == 5)
            if kind == 7 and asked.original is not None:
                self.edit(asked.original, body, files)
            if kind in (4, 7) and asked.original is not None:
                asked.shown.append(asked.original)
            self.changed.notify_all()

    def answer_later(self, asked: Asked, body: MessageBody, files: list[tuple[str, bytes]]) -> Said:
        """The first answer takes its shape, or another one."""
        with self.changed:
            if asked.original is None:
                raise Refused(404, 10015, "Unknown Webhook")
            self.edit(asked.original, body, files)
            if asked.original not in asked.shown:
                asked.shown.append(asked.original)
            self.changed.notify_all()
            return asked.original

    def follow_up(self, asked: Asked, body: MessageBody, files: list[tuple[str, bytes]]) -> Said:
        """One more message about it; the first one after "is thinking" takes its place."""
        with self.changed:
            if asked.callback is None:
                raise Refused(404, 10015, "Unknown Webhook")
            if asked.original is not None and asked.original.is_loading:
                return self.answer_later(asked, body, files)
            said = self._reply(asked, body, files)
            asked.shown.append(said)
            self.changed.notify_all()
            return said

    def suggest(self, asked: Asked, suggestions: list[tuple[str, str]]) -> None:
        """What is offered for an option."""
        with self.changed:
            asked.callback, asked.suggestions = 8, suggestions
            self.changed.notify_all()

    def _reply(
        self, asked: Asked, body: MessageBody, files: list[tuple[str, bytes]], *, is_loading: bool = False
    ) -> Said:
        said = self._new(asked.channel_id, APPLICATION_ID, body, files, is_loading=is_loading)
        said.answers = asked
        if not said.is_private:
            self.messages.setdefault(said.channel_id, {})[said.id] = said
        return said

    def _new(
        self,
        channel_id: str,
        author_id: str,
        body: MessageBody,
        files: list[tuple[str, bytes]],
        *,
        is_loading: bool = False,
    ) -> Said:
        version = Version() if is_loading else self._version(Version(), body, files)
        return Said(
            id=self.new_id(),
            channel_id=channel_id,
            author_id=author_id,
            versions=[version],
            nonce=body.nonce,
            flags=body.flags & EPHEMERAL,
            is_loading=is_loading,
        )

    def _version(self, before: Version, body: MessageBody, files: list[tuple[str, bytes]]) -> Version:
        version = Version(
            content=before.content if "content" not in body.model_fields_set else body.content or "",
            embeds=before.embeds if body.embeds is None else tuple(body.embeds),
            rows=before.rows if body.components is None else tuple(body.components),
            files=(
                *self._kept(before, body.attachments),
                *(File(self.new_id(), name, data) for name, data in files),
            ),
        )
        if not version.text and not version.files:
            raise Refused(400, 50006, "Cannot send an empty message")
        names = {file.name for file in version.files}
        for embed in version.embeds:
            scheme, _, name = ("" if embed.image is None else embed.image.url).partition("://")
            if scheme == "attachment" and name not in names:
                raise Refused(
                    400, 50035, "Invalid Form Body: an embed shows a file that the message does not have"
                )
        return version

    def _kept(self, before: Version, named: list[Attached] | None) -> list[File]:
        if named is None:
            return list(before.files)
        return [file for file in before.files if file.id in {str(each.id) for each in named}]


def dm_of(user_id: str) -> str:
    """The id of the channel between somebody and the bot."""
    return f"5{user_id[1:]}"
