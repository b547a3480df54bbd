"""What a bot may send to Discord, with the limits that Discord itself refuses beyond: what is over them is answered with 400."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MOST_TEXT_OF_EMBEDS = 6000
EPHEMERAL = 64


class Wire(BaseModel):
    """Fields that are not read here are kept as they came."""

    model_config = ConfigDict(extra="allow")


class EmbedField(Wire):
    """A name and a value; neither may be empty."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    value: Annotated[str, Field(min_length=1, max_length=1024)]
    inline: bool = False


class Footer(Wire):
    """What stands at the foot."""

    text: Annotated[str, Field(min_length=1, max_length=2048)]


class Image(Wire):
    """A picture by its address; attachment:// names a file of the same message."""

    url: str


class Embed(Wire):
    """The box in a message."""

    title: Annotated[str, Field(max_length=256)] = ""
    description: Annotated[str, Field(max_length=4096)] = ""
    fields: Annotated[list[EmbedField], Field(max_length=25)] = []
    footer: Footer | None = None
    image: Image | None = None
    color: Annotated[int, Field(ge=0, le=0xFFFFFF)] | None = None

    @property
    def texts(self) -> list[str]:
        """Everything of it that counts as text."""
        inside = [part for field in self.fields for part in (field.name, field.value)]
        return [self.title, self.description, *inside, self.footer.text if self.footer else ""]


class Button(Wire):
    """Something to press."""

    type: Literal[2]
    style: Literal[1, 2, 3, 4]
    label: Annotated[str, Field(min_length=1, max_length=80)]
    custom_id: Annotated[str, Field(min_length=1, max_length=100)]
    disabled: bool = False


class Row(Wire):
    """Up to five buttons side by side."""

    type: Literal[1]
    components: Annotated[list[Button], Field(min_length=1, max_length=5)]


class Attached(Wire):
    """A file: sent along (a small number counts the files) or one that the message has already."""

    id: int | str
    filename: str | None = None


class MessageBody(Wire):
    """A message as it is sent, or what is to change in one; None: it was not named."""

    content: Annotated[str, Field(max_length=2000)] | None = None
    embeds: Annotated[list[Embed], Field(max_length=10)] | None = None
    components: Annotated[list[Row], Field(max_length=5)] | None = None
    attachments: Annotated[list[Attached], Field(max_length=10)] | None = None
    nonce: Annotated[str, Field(max_length=25)] | None = None
    enforce_nonce: bool = False
    flags: int = 0

    @model_validator(mode="after")
    def _fits(self) -> "MessageBody":
        if sum(len(text) for embed in self.embeds or [] for text in embed.texts) > MOST_TEXT_OF_EMBEDS:
            raise ValueError("embeds hold more text than a message may")
        ids = [button.custom_id for row in self.components or [] for button in row.components]
        if len(ids) != len(set(ids)):
            raise ValueError("two buttons have the same custom_id")
        return self


class Choice(Wire):
    """One value that is offered."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    value: Annotated[str, Field(max_length=100)] | int | float


class CallbackBody(Wire):
    """The first answer to an interaction."""

    type: Literal[4, 5, 6, 7, 8]
    data: dict[str, object] | None = None


class Choices(Wire):
    """What is offered while an option is typed."""

    choices: Annotated[list[Choice], Field(max_length=25)]


class Option(Wire):
    """An option of a command, or a command inside a command."""

    type: int
    name: Annotated[str, Field(pattern=r"^[-_a-z0-9]{1,32}$")]
    description: Annotated[str, Field(min_length=1, max_length=100)]
    required: bool = False
    autocomplete: bool = False
    choices: Annotated[list[Choice], Field(max_length=25)] = []
    options: "Annotated[list[Option], Field(max_length=25)]" = []

    @field_validator("options")
    @classmethod
    def _required_first(cls, options: "list[Option]") -> "list[Option]":
        asked = [option.required for option in options]
        if asked != sorted(asked, reverse=True):
            raise ValueError("required options must stand before optional ones")
        return options


class Command(Option):
    """A slash command."""

    type: int = 1
    id: str = ""
    contexts: list[int] | None = None
    integration_types: list[int] | None = None
    dm_permission: bool | None = None
