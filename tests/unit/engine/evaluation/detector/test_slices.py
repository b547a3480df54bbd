import numpy as np
import pytest

from model_trainer.core.contracts.detector import CalibrateSpec
from model_trainer.engine.evaluation.detector.slices import MOST_SLICES, left_out, robustness_of, slices_of
from model_trainer.engine.evaluation.detector.verdicts import served_verdicts
from model_trainer.serving.probabilities import probabilities
from tests.unit.engine.calibration.toys import calibrated, drawn_logits, logits_of

# Validation is so far apart that max F1 decides at probability 0.5, logit 0.
CALIBRATION = calibrated(logits_of(np.linspace(-3, 3, 40), [0] * 20 + [1] * 20))


def test_domains_have_figures_of_their_own_and_unknown_ones_none() -> None:
    logits = logits_of(
        [-1.0, 1.0, 2.0, -2.0, 3.0, 4.0],
        [0, 0, 1, 1, 1, 0],
        domains=["news", "news", "news", "news", "mail", ""],
    )
    mail, news = (each for each in slices_of(logits, CALIBRATION) if each.column == "domain")
    assert (mail.value, mail.num_human, mail.num_ai, mail.accuracy) == ("mail", 0, 1, 1.0)
    assert (mail.roc_auc, mail.fpr, mail.tpr) == (None, None, 1.0)
    assert (news.value, news.num_human, news.num_ai) == ("news", 2, 2)
    assert (news.roc_auc, news.fpr, news.tpr, news.accuracy) == (0.5, 0.5, 0.5, 0.5)
    assert news.threshold == "max_f1"


def test_a_domain_of_human_texts_alone_has_no_tpr() -> None:
    logits = logits_of([1.0, -1.0, 2.0], [0, 0, 1], domains=["essays", "essays", ""])
    (essays,) = (each for each in slices_of(logits, CALIBRATION) if each.column == "domain")
    assert (essays.roc_auc, essays.fpr, essays.tpr) == (None, 0.5, None)


def test_a_generator_is_measured_against_the_human_texts_of_the_same_sources() -> None:
    logits = logits_of(
        [-1.0, 2.0, 3.0, 1.0, 0.5],
        [0, 1, 0, 1, 1],
        groups=[1, 1, 2, 2, 3],
        generators=["human", "gpt", "human", "llama", "llama"],
    )
    gpt, llama = (each for each in slices_of(logits, CALIBRATION) if each.column == "generator")
    assert (gpt.value, gpt.num_human, gpt.num_ai, gpt.roc_auc, gpt.fpr) == ("gpt", 1, 1, 1.0, 0.0)
    assert (llama.value, llama.num_human, llama.num_ai, llama.roc_auc, llama.fpr) == ("llama", 1, 2, 0.0, 1.0)


def test_a_generator_without_human_texts_of_its_sources_is_measured_against_all() -> None:
    logits = logits_of([-1.0, -2.0, 3.0], [0, 0, 1], groups=[1, 2, 3], generators=["", "", "gpt"])
    (gpt,) = (each for each in slices_of(logits, CALIBRATION) if each.column == "generator")
    assert (gpt.num_human, gpt.num_ai, gpt.roc_auc) == (2, 1, 1.0)


def test_lengths_are_those_of_the_calibration_and_empty_ones_are_left_out() -> None:
    logits = logits_of([-1.0, 1.0, 1.0], [0, 1, 0], num_words=[59, 60, 250])
    lengths = [each for each in slices_of(logits, CALIBRATION) if each.column == "length"]
    assert [(each.value, each.num_human, each.num_ai) for each in lengths] == [
        ("0-59", 1, 0),
        ("60-119", 0, 1),
        ("250+", 1, 0),
    ]


def test_only_the_values_with_most_texts_have_figures_and_the_rest_is_said() -> None:
    names = [f"domain {number:02}" for number in range(MOST_SLICES + 1)]
    domains = [*names, *names[1:]]  # the first has one text, the others two
    logits = logits_of([0.0] * len(domains), [0, 1] * (len(domains) // 2) + [1], domains=domains)
    shown = [each.value for each in slices_of(logits, CALIBRATION) if each.column == "domain"]
    assert shown == names[1:]
    assert left_out(logits) == ["domain: only the 50 of 51 values with most texts have figures of their own."]
    assert left_out(logits_of([0.0] * MOST_SLICES, [0, 1] * (MOST_SLICES // 2), domains=names[1:])) == []


def test_verdicts_are_those_of_predictions_by_the_length_of_each_text() -> None:
    validation = drawn_logits(2000, seed=1)
    short = validation.num_words < 200
    values = np.where(short, validation.logits + 2, validation.logits - 2)
    calibration = calibrated(
        logits_of(values, validation.labels, num_words=validation.num_words),
        CalibrateSpec(length_buckets=(200,)),
    )
    verdicts = served_verdicts(
        probabilities(np.array([0.5, 0.5, -4.0]), calibration),
        np.array([10, 300, 300]).astype(np.int32),
        calibration,
    )
    assert verdicts.tolist() == [False, True, False]


def test_attacked_texts_are_compared_with_the_same_texts_unchanged() -> None:
    logits = logits_of(
        [-9.0, -1.0, 1.0, 2.0, -2.0],
        [0, 0, 1, 1, 0],
        attacked_rows=[1, 2, 3, 4],
        attacked={"zero_width": [1.0, -1.0, 2.0, -2.0], "case": [-1.0, 1.0, 2.0, -2.0]},
    )
    case, zero_width = robustness_of(logits, CALIBRATION)
    assert case.attack == "case"
    assert (case.num_texts, case.roc_auc, case.roc_auc_loss, case.tpr, case.fpr, case.flips) == (
        4,
        1,
        0,
        1,
        0,
        0,
    )
    assert zero_width.attack == "zero_width"
    assert zero_width.roc_auc == 0.75
    assert zero_width.roc_auc_loss == pytest.approx(0.25)
    assert (zero_width.tpr, zero_width.fpr, zero_width.flips) == (0.5, 0.5, 0.5)


def test_attacked_texts_of_one_class_have_no_row() -> None:
    logits = logits_of([-1.0, 1.0], [0, 1], attacked_rows=[1], attacked={"case": [0.0]})
    assert robustness_of(logits, CALIBRATION) == ()


def test_no_attacks_have_no_rows() -> None:
    assert robustness_of(logits_of([-1.0, 1.0], [0, 1]), CALIBRATION) == ()
