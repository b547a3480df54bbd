import pytest
import torch

from model_trainer.engine.protocols import LanguageModel


def test_a_language_model_must_say_what_it_predicts_and_which_matrices_it_has() -> None:
    model = LanguageModel()
    with pytest.raises(NotImplementedError):
        model.next_token_logits(torch.zeros(1, 1, dtype=torch.int64), ())
    with pytest.raises(NotImplementedError):
        model.is_matrix_parameter("weight")
