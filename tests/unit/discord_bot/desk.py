"""Commands over the real API in memory, with a family that exists nowhere else, and hands to play a worker."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeVar

import httpx
from pydantic import Field, JsonValue
from starlette.testclient import TestClient

from model_trainer.api.main import create_app
from model_trainer.client import TrainerClient
from model_trainer.client.views import KindView
from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.run import HandBack, Outcome, RunStatus, RunUpdate
from model_trainer.core.contracts.training import LanguageModelSpec, MemoryEstimate, Recipe, TrainSpec
from model_trainer.core.errors import AppError
from model_trainer.discord_bot.cards.card import Answer, Card, Suggestion
from model_trainer.discord_bot.commands.asking import Asking
from model_trainer.discord_bot.commands.commands import Commands
from model_trainer.engine.protocols import LanguageModelBackend
from model_trainer.models.family import Family
from model_trainer.models.gpt2 import FAMILY as GPT2
from model_trainer.models.text_detector import FAMILY as TEXT_DETECTOR
from tests.unit.api.service import Service, ToyFamily, ToySpec

OWNER_ID = 4200000000000000042
T = TypeVar("T")


class WalnutSpec(LanguageModelSpec):
    """A family that nobody but these tests knows."""

    model_family: Literal["walnut"]
    rings: Annotated[int, Field(ge=3, le=9)]
    """Rings of the tree."""
    shell: Literal["thin", "thick"] = "thick"
    """How hard to crack."""


class WalnutFamily:
    """Dropped in yesterday."""

    name = "walnut"
    title = "Walnuts, in rings"
    spec: type[TrainSpec] = WalnutSpec

    def supported_tokenizers(self) -> tuple[str, ...]:
        return ("char",)

    def example(self) -> JsonObject:
        return {"model_family": "walnut", "rings": 4, "max_steps": 777}

    def resolve(self, spec: TrainSpec, machine: Machine, *, vocab_size: int) -> Recipe:
        assert isinstance(spec, WalnutSpec)
        toy = ToySpec(corpus_path=spec.corpus_path, tokenizer_id=spec.tokenizer_id)
        return ToyFamily().resolve(toy, machine, vocab_size=vocab_size)

    def estimate(self, recipe: Recipe) -> MemoryEstimate:
        return ToyFamily().estimate(recipe)

    def backend(self) -> LanguageModelBackend:
        raise NotImplementedError


def kind_of(family: Family) -> KindView:
    """A family as the API tells it."""
    schema: dict[str, JsonValue] = family.spec.model_json_schema(ref_template="#/$defs/{model}")
    return KindView(name=family.name, title=family.title, example=family.example(), json_schema=schema)


@dataclass
class FakeWatching:
    """Remembers what is watched; its store can be away."""

    run_ids: list[str] = field(default_factory=list)
    fault: AppError | None = None

    async def watch(self, run_id: str) -> None:
        if self.fault is not None:
            raise self.fault
        self.run_ids.insert(0, run_id)

    async def unwatch(self, run_id: str) -> bool:
        if run_id not in self.run_ids:
            return False
        self.run_ids.remove(run_id)
        return True

    def watched(self) -> tuple[str, ...]:
        return tuple(self.run_ids)


@dataclass
class Desk:
    """Where commands are given."""

    client: TrainerClient
    asking: Asking
    watching: FakeWatching
    commands: Commands
    requests: list[httpx.Request]
    """What the API was asked."""

    def run(self, command: Callable[[Commands], Coroutine[object, object, T]]) -> T:
        """One command, in a loop of its own."""
        return asyncio.run(command(self.commands))

    def suggest(self, option: str, typed: str = "", **others: str) -> dict[str, str]:
        """Labels by value."""
        return {one.value: one.label for one in self.offers(option, typed, **others)}

    def offers(self, option: str, typed: str = "", **others: str) -> tuple[Suggestion, ...]:
        """What may stand in an option."""
        return self.run(lambda commands: commands.suggest(option, typed, others))


@contextmanager
def desk_over(
    handle: Callable[[httpx.Request], httpx.Response], *, clock: Callable[[], float] | None = None
) -> Iterator[Desk]:
    """A desk whose API is a function."""
    requests: list[httpx.Request] = []

    def remembered(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return handle(request)

    transport = httpx.MockTransport(remembered)
    with TrainerClient("http://api.test", transport=transport, sleep=lambda _seconds: None) as client:
        asking = Asking(client) if clock is None else Asking(client, clock=clock)
        watching = FakeWatching()
        commands = Commands(asking, watching, owner_id=OWNER_ID)
        yield Desk(client, asking, watching, commands, requests)
        asking.close()


@dataclass
class Office:
    """A desk and the service behind it."""

    service: Service
    api: TestClient
    desk: Desk

    def tokenizer(self, method: str = "char", *, vocab_size: int = 300) -> str:
        """A completed tokenizer."""
        answer = self.api.post("/tokenizers/train", json={"method": method, "corpus_path": "demo"})
        tokenizer_id = str(answer.json()["tokenizer_id"])
        self.service.finished(tokenizer_id, {"info": {"vocab_size": vocab_size}, "stats": {"coverage": 1.0}})
        return tokenizer_id

    def training(self, *, user_id: str | None = None, **more: object) -> str:
        """A queued training."""
        body = {"model_family": "toy", "corpus_path": "demo", "user_id": user_id, **more}
        if "tokenizer_id" not in body:
            body["tokenizer_id"] = self.tokenizer()
        answer = self.api.post("/runs/train", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["run_id"])

    def status(self, run_id: str) -> str:
        """Where a run stands."""
        return self.service.runs.get(run_id).status.value

    def standing(
        self, status: RunStatus, *, user_id: str | None = None, tokenizer_id: str | None = None
    ) -> str:
        """A training that stands there."""
        run_id = self.training(user_id=user_id, tokenizer_id=tokenizer_id or self.tokenizer())
        runs = self.service.runs
        if status is RunStatus.QUEUED:
            return run_id
        lease = self.service.claim(run_id)
        match status:
            case RunStatus.PAUSED:
                runs.release(lease, HandBack(status=RunStatus.PAUSED, message="It stands still."))
            case RunStatus.CANCELLING:
                runs.request_cancel(run_id)
            case RunStatus.COMPLETED | RunStatus.FAILED | RunStatus.CANCELLED:
                runs.finish(lease, Outcome(status=status, message="It is over."))
            case RunStatus.RUNNING:
                runs.heartbeat(lease, RunUpdate(message="It runs."))
        assert self.status(run_id) == status.value
        return run_id


@contextmanager
def office(
    *,
    clock: Callable[[], float] | None = None,
    families: Iterable[Family] = (GPT2, TEXT_DETECTOR, ToyFamily(), WalnutFamily()),
) -> Iterator[Office]:
    """The real API with some families, and commands over it."""
    service = Service(families=families)
    app = create_app(service.container)
    with TestClient(app, raise_server_exceptions=False) as api:

        def handle(request: httpx.Request) -> httpx.Response:
            answer = api.request(
                request.method,
                str(request.url.raw_path, "ascii"),
                content=request.content,
                headers=request.headers,
            )
            return httpx.Response(answer.status_code, content=answer.content, headers=answer.headers)

        with desk_over(handle, clock=clock) as desk:
            yield Office(service, api, desk)


def words(card: Card) -> str:
    """All that a card says, look-alikes taken back."""
    said = [card.title, card.text, *(f"{one.name} {one.value}" for one in card.fields)]
    return "\n".join(said).replace("\u02cd", "_")


def presses(answer: Answer) -> Mapping[str, str]:
    """What the buttons carry, by label."""
    return {button.label: button.press for button in answer.card.buttons}
