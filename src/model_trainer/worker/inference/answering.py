"""Answers requests with loaded models, those for the same model and settings together."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from model_trainer.core.contracts.base import Contract, as_json, dump_json
from model_trainer.core.contracts.inference import (
    LONGEST_PROMPT,
    LONGEST_TEXT,
    ChatReply,
    ChatSpec,
    Conversation,
    GenerateSpec,
    InferenceKind,
    InferenceRequest,
    Piece,
    SamplingSpec,
    ScoreSpec,
    Turn,
)
from model_trainer.core.contracts.prediction import Predictions, PredictSpec
from model_trainer.core.errors import AppError, ErrorCode, faults_of
from model_trainer.core.ports.storage import CorpusRoot
from model_trainer.engine.inference.chat import ChatPrompt, chat_prompt
from model_trainer.engine.inference.generation import Ask, generate, prompt_tokens
from model_trainer.engine.inference.scoring import score
from model_trainer.worker.inference.frames import Answered, Order, Refused, Told, refusal
from model_trainer.worker.inference.loaded import AskedDetector, AskedModel, InUse, LoadedModels
from model_trainer.worker.inference.texts import read_text

Tell = Callable[[Told | Answered | Refused], None]
"""Where answers go, pieces of them, and why there is none."""

Spec = TypeVar("Spec", bound=Contract)
Read = TypeVar("Read")


class Answering:
    """What answers, whatever is asked.

    Args:
        models: where models come from.
        corpora: where prompts and texts given by path lie.
        most_rows: so many sequences are drawn at a time, for each takes memory of its own; those of one request always are.
    """

    def __init__(self, models: LoadedModels, corpora: CorpusRoot, *, most_rows: int) -> None:
        self._models = models
        self._corpora = corpora
        self._most_rows = most_rows

    def answer(self, orders: Sequence[Order], tell: Tell) -> None:
        """Answers requests of one kind to one run; those that are wrong by themselves, and all when there is no such model,
        are refused.

        Raises AppError for what one of those that are still open has brought about.
        """
        request = orders[0].record.request
        with ExitStack() as held:
            try:
                in_use = held.enter_context(self._models.use(request.run_id))
                answer = self._way_to_answer(request, in_use)
            except AppError as error:
                for order in orders:
                    tell(refusal(order.request_id, error))
                return
            answer(orders, tell)

    def forget_models(self) -> tuple[str, ...]:
        """Gives the memory of all loaded models back; returns the ids of their runs."""
        return self._models.drop()

    def _way_to_answer(
        self, request: InferenceRequest, in_use: InUse
    ) -> Callable[[Sequence[Order], Tell], None]:
        """Raises CONFLICT for a model that cannot be asked this."""
        model, load = in_use.model, in_use.load_milliseconds
        match request.kind:
            case InferenceKind.PREDICT if isinstance(model, AskedDetector):
                return partial(self._predict, model, load)
            case InferenceKind.GENERATE if isinstance(model, AskedModel):
                return partial(self._generate, model, load)
            case InferenceKind.SCORE if isinstance(model, AskedModel):
                return partial(self._score, model, load)
            case InferenceKind.CHAT if isinstance(model, AskedModel):
                return partial(self._chat, model, load)
            case _:
                wanted = "text detector" if isinstance(model, AskedModel) else "language model"
                message = f"Run {request.run_id} trained no {wanted}: it cannot {request.kind.value}."
                raise AppError(ErrorCode.CONFLICT, message)

    def _generate(self, model: AskedModel, load: float, orders: Sequence[Order], tell: Tell) -> None:

        def ask_of(spec: GenerateSpec, _order: Order) -> Ask:
            prompt, pointer = spec.prompt_text or "", "/prompt_text"
            if spec.prompt_path is not None:
                pointer = "/prompt_path"
                prompt = read_text(self._corpora, spec.prompt_path, pointer=pointer, most=LONGEST_PROMPT)
            return _checked(model, Ask(prompt, spec.seed, spec.num_return_sequences, pointer=pointer))

        asked = list(_each(orders, GenerateSpec, ask_of, tell))
        for same, sampling in _together(asked, _sampling_of, most_rows=self._most_rows):
            began = time.monotonic()
            results = generate(
                model.decoder,
                model.tokenizer,
                [one.read for one in same],
                sampling=sampling,
                on_piece=_pieces(same, tell),
            )
            for one, result in zip(same, results, strict=True):
                tell(_answered(one.order, result, load=load, began=began))

    def _score(self, model: AskedModel, load: float, orders: Sequence[Order], tell: Tell) -> None:

        def answer_of(spec: ScoreSpec, order: Order) -> Answered:
            text = spec.text or ""
            if spec.path is not None:
                text = read_text(self._corpora, spec.path, pointer="/path", most=LONGEST_TEXT)
            began = time.monotonic()
            scored = score(model.decoder, model.tokenizer, text, spec=spec, stride=model.eval_stride)
            return _answered(order, scored, load=load, began=began)

        for one in _each(orders, ScoreSpec, answer_of, tell):
            tell(one.read)

    def _chat(self, model: AskedModel, load: float, orders: Sequence[Order], tell: Tell) -> None:

        def prompt_of(spec: ChatSpec, order: Order) -> ChatPrompt:
            said = _said_so_far(spec, order)
            prompt = chat_prompt(
                said.turns,
                said.system,
                tokenizer=model.tokenizer,
                folder=model.tokenizer_folder,
                context=model.decoder.context,
                max_new_tokens=spec.max_new_tokens,
            )
            _checked(model, _ask_of(spec, prompt))
            return prompt

        asked = list(_each(orders, ChatSpec, prompt_of, tell))
        for same, sampling in _together(asked, _chat_sampling_of, most_rows=self._most_rows):
            asks = [_ask_of(one.spec, one.read) for one in same]
            began = time.monotonic()
            results = generate(
                model.decoder, model.tokenizer, asks, sampling=sampling, on_piece=_pieces(same, tell)
            )
            for one, result in zip(same, results, strict=True):
                said = _said_so_far(one.spec, one.order)
                output = result.outputs[0]
                # A prompt ends with a name and a colon, so an answer begins with a space.
                text = output.text.strip()
                reply = ChatReply(
                    conversation_id=said.conversation_id,
                    reply=text,
                    steps=output.steps,
                    eos_terminated=output.eos_terminated,
                    finish_reason=output.finish_reason,
                    prompt_tokens=result.prompt_tokens,
                    dropped_turns=one.read.dropped_turns,
                    template=one.read.template,
                )
                said = _with(said, Turn(role="assistant", content=text))
                tell(_answered(one.order, reply, load=load, began=began, conversation=said))

    def _predict(self, detector: AskedDetector, load: float, orders: Sequence[Order], tell: Tell) -> None:
        asked = list(_each(orders, PredictSpec, lambda spec, _order: spec.decision, tell))
        for decision in {one.read: None for one in asked}:
            same = [one for one in asked if one.read == decision]
            began = time.monotonic()
            texts = [text for one in same for text in one.spec.texts]
            judged = detector.judge.judge(texts, decision=decision)
            ends = list(accumulate(len(one.spec.texts) for one in same))
            for one, end in zip(same, ends, strict=True):
                own = tuple(judged[end - len(one.spec.texts) : end])
                predictions = Predictions(run_id=one.order.record.request.run_id, predictions=own)
                tell(_answered(one.order, predictions, load=load, began=began))


@dataclass(frozen=True, slots=True)
class _Asked(Generic[Spec, Read]):
    order: Order
    spec: Spec
    read: Read
    """What was made of the spec."""


def _each(
    orders: Sequence[Order], kind: type[Spec], read: Callable[[Spec, Order], Read], tell: Tell
) -> Iterator[_Asked[Spec, Read]]:
    """The orders that can be read; those that cannot are refused, each for itself."""
    for order in orders:
        try:
            spec = _parsed(order, kind)
            value = read(spec, order)
        except AppError as error:
            tell(refusal(order.request_id, error))
        else:
            yield _Asked(order, spec, value)


def _parsed(order: Order, kind: type[Spec]) -> Spec:
    try:
        return kind.model_validate_json(dump_json(order.record.request.spec))
    except ValidationError as error:
        message = "The request cannot be understood by this version of Model Trainer. Send it again."
        raise AppError(ErrorCode.CONFLICT, message, faults=faults_of(error)) from error


def _together(
    asked: Sequence[_Asked[Spec, Read]],
    sampling_of: Callable[[_Asked[Spec, Read]], SamplingSpec],
    *,
    most_rows: int,
) -> Iterator[tuple[list[_Asked[Spec, Read]], SamplingSpec]]:
    """Those that draw in the same way (all of a batch, as a rule: its key is made from the settings), in portions of so many
    rows. What one gets does not depend on its neighbours."""
    groups: dict[str, tuple[list[_Asked[Spec, Read]], SamplingSpec]] = {}
    for one in asked:
        sampling = sampling_of(one)
        groups.setdefault(sampling.model_dump_json(), ([], sampling))[0].append(one)
    for same, sampling in groups.values():
        portion: list[_Asked[Spec, Read]] = []
        for one in same:
            if portion and sum(map(_rows_of, portion)) + _rows_of(one) > most_rows:
                yield portion, sampling
                portion = []
            portion.append(one)
        yield portion, sampling


def _rows_of(one: _Asked[Spec, Read]) -> int:
    return one.spec.num_return_sequences if isinstance(one.spec, GenerateSpec) else 1


def _checked(model: AskedModel, ask: Ask) -> Ask:
    """One that no other has to wait for in vain; raises CONFIG_INVALID for a prompt that cannot be read."""
    prompt_tokens(model.decoder, model.tokenizer, ask)
    return ask


def _ask_of(spec: ChatSpec, prompt: ChatPrompt) -> Ask:
    return Ask(prompt.text, spec.seed, 1, pointer="/message")


def _sampling_of(one: _Asked[GenerateSpec, Ask]) -> SamplingSpec:
    return _settings(one.spec, one.spec.stop_sequences)


def _chat_sampling_of(one: _Asked[ChatSpec, ChatPrompt]) -> SamplingSpec:
    return _settings(one.spec, (*one.spec.stop_sequences, *one.read.stop_sequences))


def _settings(spec: SamplingSpec, stop_sequences: tuple[str, ...]) -> SamplingSpec:
    """How tokens are drawn, without what each request has for itself. More stop sequences than a request may bring are no
    fault here: a plain template has some of its own."""
    return SamplingSpec.model_construct(
        max_new_tokens=spec.max_new_tokens,
        temperature=spec.temperature,
        top_k=spec.top_k,
        top_p=spec.top_p,
        min_p=spec.min_p,
        repetition_penalty=spec.repetition_penalty,
        stop_on_eos=spec.stop_on_eos,
        stop_sequences=stop_sequences,
    )


def _pieces(same: Sequence[_Asked[Spec, Read]], tell: Tell) -> Callable[[int, int, str], None]:
    """Tells what comes to those who asked for it."""

    def told(place: int, sequence: int, text: str) -> None:
        one = same[place]
        if isinstance(one.spec, SamplingSpec) and one.spec.stream:
            tell(Told(request_id=one.order.request_id, piece=Piece(sequence=sequence, text=text)))

    return told


def _said_so_far(spec: ChatSpec, order: Order) -> Conversation:
    """The conversation up to the message that wants an answer."""
    request = order.record.request
    before = order.conversation or Conversation(
        conversation_id=request.conversation_id or request.request_id,
        run_id=request.run_id,
        system=spec.system,
        turns=spec.history,
    )
    return _with(before, Turn(role="user", content=spec.message))


def _with(said: Conversation, turn: Turn) -> Conversation:
    longer: dict[str, object] = {"turns": (*said.turns, turn)}
    return said.model_copy(update=longer)


def _answered(
    order: Order, result: BaseModel, *, load: float, began: float, conversation: Conversation | None = None
) -> Answered:
    return Answered(
        request_id=order.request_id,
        result=as_json(result),
        load=load,
        model=(time.monotonic() - began) * 1000,
        conversation=conversation,
    )
