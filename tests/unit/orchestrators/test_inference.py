"""Questions on their way into the line: which go together."""

import pytest

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.inference import (
    ChatSpec,
    GenerateSpec,
    InferenceKind,
    ScoreSpec,
)
from model_trainer.core.contracts.prediction import PredictSpec
from model_trainer.orchestrators.inference import AskSpec, batch_key

RUN_ID = new_ulid()
PROMPT = GenerateSpec(prompt_text="Once")
MESSAGE = ChatSpec(message="Who are you?")


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        (InferenceKind.GENERATE, PROMPT, GenerateSpec(prompt_path="a.txt", num_return_sequences=3, seed=1)),
        (InferenceKind.GENERATE, PROMPT, GenerateSpec(prompt_text="Twice", stream=True)),
        (InferenceKind.SCORE, ScoreSpec(text="a"), ScoreSpec(path="b.txt", seed=1)),
        (InferenceKind.CHAT, MESSAGE, ChatSpec(message="Why?", conversation_id=new_ulid())),
        (InferenceKind.CHAT, MESSAGE, ChatSpec(message="Why?", system="Be brief.")),
        (InferenceKind.PREDICT, PredictSpec(texts=("a",)), PredictSpec(texts=("b", "c"), decision="half")),
    ],
)
def test_what_each_asks_for_itself_keeps_questions_together(
    kind: InferenceKind, one: AskSpec, other: AskSpec
) -> None:
    assert batch_key(kind, RUN_ID, one) == batch_key(kind, RUN_ID, other)


@pytest.mark.parametrize(
    "other",
    [
        GenerateSpec(prompt_text="Once", max_new_tokens=5),
        GenerateSpec(prompt_text="Once", temperature=0),
        GenerateSpec(prompt_text="Once", top_k=1),
        GenerateSpec(prompt_text="Once", top_p=0.5),
        GenerateSpec(prompt_text="Once", min_p=0.5),
        GenerateSpec(prompt_text="Once", repetition_penalty=1.5),
        GenerateSpec(prompt_text="Once", stop_on_eos=False),
        GenerateSpec(prompt_text="Once", stop_sequences=("x",)),
    ],
)
def test_other_settings_part_questions(other: GenerateSpec) -> None:
    assert batch_key(InferenceKind.GENERATE, RUN_ID, PROMPT) != batch_key(
        InferenceKind.GENERATE, RUN_ID, other
    )


def test_another_model_and_another_kind_part_questions() -> None:
    key = batch_key(InferenceKind.GENERATE, RUN_ID, PROMPT)

    assert key != batch_key(InferenceKind.GENERATE, new_ulid(), PROMPT)
    assert key != batch_key(InferenceKind.CHAT, RUN_ID, MESSAGE)
