"""A workshop with small trained models, and what answers for them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from model_trainer.core.contracts.base import Contract, JsonObject, dump_json
from model_trainer.core.contracts.detector import DecisionName
from model_trainer.core.contracts.inference import Conversation, InferenceKind
from model_trainer.core.contracts.prediction import Prediction
from model_trainer.core.contracts.run import RunRecord
from model_trainer.engine.devices import select_device
from model_trainer.worker.inference.answering import Answering
from model_trainer.worker.inference.frames import Answered, Order, Refused, Told
from model_trainer.worker.inference.loaded import Judge, LoadedModels
from tests.integration.workshop import FILES, TINY_DETECTOR, TINY_GPT2, TINY_LSTM, Workshop
from tests.unit.worker.inference.bench import order_of, request

LOTS = 1 << 40
SENTENCE = "the cat sat on a mat and looked at one small bird"
PROMPTS = {"short.txt": "the cat", "long.txt": "the cat " * 9, "sentence.md": SENTENCE}
"""Files to ask with."""

Result = TypeVar("Result", bound=Contract)


class Shop:
    """One model of each family, trained once."""

    def __init__(self) -> None:
        self.workshop = Workshop({**FILES, **PROMPTS})
        self.tokenizer = self.workshop.tokenizer()
        self.gpt2 = self.workshop.train(TINY_GPT2, tokenizer_id=self.tokenizer.run_id)
        self.char_lstm = self.workshop.train(TINY_LSTM, tokenizer_id=self.tokenizer.run_id)
        self.other_lstm = self.workshop.train(TINY_LSTM, tokenizer_id=self.tokenizer.run_id, seed=7)
        self.detector = self.workshop.train(TINY_DETECTOR)
        self.parts = self.workshop.container.worker_parts("worker-1")
        self.threads: list[int] = []
        """What its models were asked with."""

    def models(
        self, *, memory_bytes: int = LOTS, load_bundle: Callable[[Path], Judge] | None = None
    ) -> LoadedModels:
        return LoadedModels(
            self.parts,
            device=select_device("cpu"),
            memory_bytes=memory_bytes,
            use_threads=self.threads.append,
            cpus=6,
            load_bundle=load_bundle,
        )

    def folder(self, run: RunRecord) -> Path:
        return self.workshop.folder(run)


class Desk:
    """Answers, and keeps what was told."""

    def __init__(self, shop: Shop, models: LoadedModels | None = None, *, most_rows: int = 8) -> None:
        self.models = models or shop.models()
        self.answering = Answering(self.models, shop.parts.corpora, most_rows=most_rows)
        self.told: list[Told | Answered | Refused] = []

    def ask(self, *orders: Order) -> list[Told | Answered | Refused]:
        self.told.clear()
        self.answering.answer(orders, self.told.append)
        return list(self.told)

    def answered(self, *orders: Order) -> list[Answered]:
        told = [one for one in self.ask(*orders) if not isinstance(one, Told)]
        assert all(isinstance(one, Answered) for one in told), told
        return [one for one in told if isinstance(one, Answered)]

    def refused(self, *orders: Order) -> list[Refused]:
        return [one for one in self.ask(*orders) if isinstance(one, Refused)]

    def pieces(self, order: Order) -> str:
        return "".join(
            one.piece.text
            for one in self.told
            if isinstance(one, Told) and one.request_id == order.request_id
        )


def asked(
    kind: InferenceKind, run: RunRecord, *, conversation: Conversation | None = None, **spec: object
) -> Order:
    """A request to a run."""
    return order_of(request(kind, run_id=run.run_id, spec=spec), conversation)


def chat(run: RunRecord, name: str, *, conversation: Conversation | None = None, **spec: object) -> Order:
    """A message to a run, in the conversation of this name; in one that goes on where `conversation` is given."""
    if conversation is not None:
        spec = {**spec, "conversation_id": name}
    message = request(InferenceKind.CHAT, run_id=run.run_id, conversation_id=name, spec=spec)
    return order_of(message, conversation)


def result_of(kind: type[Result], frame: Answered) -> Result:
    """What was answered, read by its contract."""
    result: JsonObject = frame.result
    return kind.model_validate_json(dump_json(result))


class Yes:
    """A detector that finds everything."""

    def __init__(self, like: Prediction) -> None:
        self.like = like
        self.calls: list[tuple[list[str], DecisionName | None]] = []

    def judge(self, texts: Sequence[str], *, decision: DecisionName | None) -> list[Prediction]:
        self.calls.append((list(texts), decision))
        return [self.like.model_copy(update={"num_words": len(text.split())}) for text in texts]
