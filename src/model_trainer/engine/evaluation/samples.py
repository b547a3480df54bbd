"""Text that a model continues, repeatably. Any LanguageModel will do: recurrent ones carry state, others see a window.

Shapes: T tokens, V vocabulary.
"""

import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.training import Recipe
from model_trainer.core.ports.tokenizers import Tokenizer
from model_trainer.engine.data.token_splits import TokenSplit
from model_trainer.engine.protocols import Carry, Device, LanguageModel

OnToken = Callable[[], None]
"""Called before each token is drawn; may raise to stop."""

_PROMPT_TOKENS = 128
_FIRST_WORDS = re.compile(r"\S+(?:\s+\S+){0,7}")


class Sample(Contract):
    """One row of eval/samples.jsonl."""

    prompt: str
    text: str
    """What the model added."""
    seed: int
    temperature: float


class SamplingPlan(Contract):
    """How tokens are drawn."""

    num_tokens: int = 128
    """Tokens to add; an end of text comes earlier."""
    temperature: float = 0.8
    """0 takes the most likely token each time."""
    top_k: int = 50
    """Only the most likely tokens can be drawn; 0 for all."""
    seed: int = 42


def sample(
    model: LanguageModel,
    prompts: Sequence[str],
    *,
    plan: SamplingPlan,
    recipe: Recipe,
    device: Device,
    tokenizer: Tokenizer,
    on_token: OnToken | None = None,
) -> tuple[Sample, ...]:
    """Continues each prompt. Every prompt draws from a generator of its own, so that rows do not depend on one another.

    An empty prompt starts from the end of a text (from the vocabulary's first entry, where there is no such token).
    """
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            sampler = _Sampler(
                model, plan=plan, recipe=recipe, device=device, tokenizer=tokenizer, on_token=on_token
            )
            return tuple(sampler.row(prompt) for prompt in prompts)
    finally:
        model.train(was_training)


def default_prompts(split: TokenSplit, tokenizer: Tokenizer, *, count: int = 3) -> tuple[str, ...]:
    """The first words of the text, and of places spread evenly over it; one empty prompt when there are no words."""
    tokens = split.tokens()
    found: list[str] = []
    for place in range(count):
        start = place * len(tokens) // count
        words = _first_words(
            _until_end_of_text(tokens[start : start + _PROMPT_TOKENS], split), tokenizer, place
        )
        if words is not None and words not in found:
            found.append(words)
    return tuple(found) or ("",)


class _Sampler:
    def __init__(
        self,
        model: LanguageModel,
        *,
        plan: SamplingPlan,
        recipe: Recipe,
        device: Device,
        tokenizer: Tokenizer,
        on_token: OnToken | None,
    ) -> None:
        self._model = model
        self._plan = plan
        self._window = recipe.max_seq_len
        self._carries_state = recipe.data_order == "parallel_streams"
        self._device = device
        self._tokenizer = tokenizer
        self._on_token = on_token
        self._end_of_text_id = tokenizer.inspect().end_of_text_id

    def row(self, prompt: str) -> Sample:
        given = self._tokenizer.encode(prompt) or [self._end_of_text_id or 0]
        added = self._continue(given)
        return Sample(
            prompt=prompt,
            text=self._text_of(self._tokenizer.encode(prompt), added),
            seed=self._plan.seed,
            temperature=self._plan.temperature,
        )

    def _continue(self, given: list[int]) -> list[int]:
        generator = torch.Generator().manual_seed(self._plan.seed)
        ids, unread = list(given), list(given)
        carry: Carry = ()
        while len(ids) < len(given) + self._plan.num_tokens:
            if self._on_token is not None:
                self._on_token()
            logits_V, carry = self._next(unread if self._carries_state else ids[-self._window :], carry)
            token = _draw(logits_V, plan=self._plan, generator=generator)
            if token == self._end_of_text_id:
                break
            ids.append(token)
            unread = [token]
        return ids[len(given) :]

    def _next(self, ids: list[int], carry: Carry) -> tuple[Tensor, Carry]:
        tokens_BT = self._device.move(torch.tensor(ids).unsqueeze(0))
        logits_BTV, carry = self._model.next_token_logits(tokens_BT, carry)
        return logits_BTV[0, -1].float().cpu(), carry

    def _text_of(self, given: list[int], added: list[int]) -> str:
        """Decoded together: some tokenizers drop a space at the start of a text, and characters may be cut."""
        before, whole = self._tokenizer.decode(given), self._tokenizer.decode([*given, *added])
        return whole[len(before) :] if whole.startswith(before) else self._tokenizer.decode(added)


def _draw(logits_V: Tensor, *, plan: SamplingPlan, generator: torch.Generator) -> int:
    if plan.temperature == 0:
        return int(logits_V.argmax().item())
    logits_V = logits_V / plan.temperature
    if 0 < plan.top_k < len(logits_V):
        smallest = logits_V.topk(plan.top_k).values[-1]
        logits_V = logits_V.masked_fill(logits_V < smallest, float("-inf"))
    return int(torch.multinomial(logits_V.softmax(-1), 1, generator=generator).item())


def _until_end_of_text(tokens: Tensor, split: TokenSplit) -> list[int]:
    """The ids up to the next end of text, or behind one that stands first."""
    ids = [int(tokens[place].item()) for place in range(len(tokens))]
    while ids and ids[0] == split.end_of_text_id:
        ids = ids[1:]
    return ids[: ids.index(split.end_of_text_id)] if split.end_of_text_id in ids else ids


def _first_words(ids: list[int], tokenizer: Tokenizer, place: int) -> str | None:
    text = tokenizer.decode(ids)
    if place:  # in the middle of a word, most likely
        text = text.partition(" ")[2]
    words = _FIRST_WORDS.search(text)
    return None if words is None else words.group()
