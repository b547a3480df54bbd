"""What questions to models may look like."""

import pytest
from pydantic import ValidationError

from model_trainer.core.contracts.inference import GenerateSpec, ScoreSpec, Turn


def test_a_user_says_something_and_a_model_may_say_nothing() -> None:
    assert Turn(role="assistant", content="").content == ""
    with pytest.raises(ValidationError, match="a user's content must not be empty"):
        Turn(role="user", content="")


@pytest.mark.parametrize("given", [{}, {"prompt_text": "Once", "prompt_path": "once.txt"}])
def test_there_is_one_prompt(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="exactly one of prompt_text and prompt_path"):
        GenerateSpec.model_validate(given)


@pytest.mark.parametrize("given", [{}, {"text": "Once", "path": "once.txt"}])
def test_there_is_one_text(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="exactly one of text and path"):
        ScoreSpec.model_validate(given)


def test_guesses_are_of_listed_tokens() -> None:
    with pytest.raises(ValidationError, match="top_k needs detail_level per_char"):
        ScoreSpec(text="Once", top_k=3)
