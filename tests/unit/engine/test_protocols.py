import pytest
import torch

from model_trainer.engine.protocols import LanguageModel, TextClassifier


def test_a_language_model_must_say_what_it_predicts_and_which_matrices_it_has() -> None:
    model = LanguageModel()
    with pytest.raises(NotImplementedError):
        model.next_token_logits(torch.zeros(1, 1, dtype=torch.int64), ())
    with pytest.raises(NotImplementedError):
        model.is_matrix_parameter("weight")


def test_a_text_classifier_must_say_how_it_judges_and_what_its_parameters_are() -> None:
    model = TextClassifier()
    ids = torch.zeros(1, 1, dtype=torch.int64)
    with pytest.raises(NotImplementedError):
        model(ids, torch.ones_like(ids))
    with pytest.raises(NotImplementedError):
        model.is_matrix_parameter("weight")
    with pytest.raises(NotImplementedError):
        model.num_embedding_parameters()
