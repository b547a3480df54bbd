"""What questions to models may look like."""

import pytest
from pydantic import BaseModel, ValidationError

from model_trainer.core.contracts.inference import ChatSpec, GenerateSpec, ScoreSpec, Turn
from model_trainer.core.errors import FieldFault, faults_of


def refused(kind: type[BaseModel], given: dict[str, object]) -> list[FieldFault]:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(given)
    return faults_of(caught.value)


def test_a_user_says_something_and_a_model_may_say_nothing() -> None:
    assert Turn(role="assistant", content="").content == ""
    assert refused(ChatSpec, {"message": "?", "history": ({"role": "user", "content": ""},)}) == [
        FieldFault("/history/0/content", "a user's content must not be empty")
    ]


@pytest.mark.parametrize("given", [{}, {"prompt_text": "Once", "prompt_path": "once.txt"}])
def test_there_is_one_prompt(given: dict[str, object]) -> None:
    assert refused(GenerateSpec, given) == [
        FieldFault("/prompt_text", "give exactly one of prompt_text and prompt_path")
    ]


@pytest.mark.parametrize("given", [{}, {"text": "Once", "path": "once.txt"}])
def test_there_is_one_text(given: dict[str, object]) -> None:
    assert refused(ScoreSpec, given) == [FieldFault("/text", "give exactly one of text and path")]


def test_guesses_are_of_listed_tokens() -> None:
    assert refused(ScoreSpec, {"text": "Once", "top_k": 3}) == [
        FieldFault("/top_k", "top_k needs detail_level per_char")
    ]


def test_what_begins_a_conversation_is_not_said_to_one_that_is_there() -> None:
    there = {"message": "And?", "conversation_id": "01JD8Z3M6Q4T7V9XW2Y5A1B3C4"}
    (fault,) = refused(ChatSpec, {**there, "system": "Be brief."})
    assert fault.pointer == "/conversation_id"


def test_a_history_is_of_user_and_assistant_by_turns() -> None:
    (fault,) = refused(ChatSpec, {"message": "?", "history": ({"role": "user", "content": "Hello."},)})
    assert fault.pointer == "/history"
