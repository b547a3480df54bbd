import math
from pathlib import Path

import numpy as np
import pytest

from model_trainer.core.contracts.detector import DecisionName
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.export.bundle import write_bundle
from model_trainer.serving.bundle import Bundle
from model_trainer.serving.detector import Detector, TextScorer, windows_in_a_batch
from model_trainer.serving.probabilities import probabilities
from model_trainer.serving.session import MOST_WINDOWS
from model_trainer.serving.tokens import TokenizerFile
from tests.unit.engine.export.toys import PLAN, READING, WORDS, calibration, config, write_tokenizer
from tests.unit.serving.networks import CountingNetwork, write_network

PEOPLE, MACHINE, LONG = "people hope", "machine delve", "a c a c a c a machine"


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """`machine` and `delve` speak for AI, `people` and `hope` against it."""
    weights = {"machine": 8.0, "delve": 8.0, "people": -8.0, "hope": -8.0}
    write_tokenizer(tmp_path)
    write_network(tmp_path / "model.onnx", [weights.get(word, 0.0) for word in WORDS])
    _bundle(tmp_path)
    return tmp_path


def _bundle(artifact: Path, *, quantized: bool = False) -> None:
    write_bundle(
        artifact,
        artifact / "model.onnx",
        config=config(),
        calibration=calibration(threshold=0.6),
        quantized=quantized,
    )


def _detector(artifact: Path) -> Detector:
    return Detector.load(artifact / "runtime_bundle", threads=1)


def _scorer(artifact: Path, network: CountingNetwork) -> TextScorer:
    tokens = TokenizerFile(artifact / "model" / "tokenizer.json")
    return TextScorer(network, tokens, windows=PLAN, reading=READING, batch_windows=4)


def test_texts_are_judged_in_order(artifact: Path) -> None:
    detector = _detector(artifact)
    assert detector.run_id == config().run_id
    people, machine = detector.judge([PEOPLE, MACHINE])
    assert (people.verdict, people.band) == ("human", "human")
    assert (machine.verdict, machine.band) == ("ai", "ai")
    assert people.logit == pytest.approx(-4.0)  # two of four tokens: prefix and suffix weigh nothing
    assert machine.logit == pytest.approx(4.0)
    assert machine.threshold == 0.6
    assert machine.threshold_name == "max_f1"
    assert machine.length_bucket is None
    expected = probabilities(np.array([4.0]), calibration(threshold=0.6))
    assert machine.probability == pytest.approx(float(expected[0]), abs=1e-9)


def test_a_long_text_is_the_mean_of_its_windows_which_say_where_they_are(artifact: Path) -> None:
    (judged,) = _detector(artifact).judge([LONG])
    assert judged.num_tokens == 8
    assert [LONG[window.start : window.end] for window in judged.windows] == [
        "a c a c a c",
        "a c a c a machine",
    ]
    assert [window.logit for window in judged.windows] == [0.0, 1.0]
    assert judged.logit == 0.5
    assert judged.windows[0].probability < judged.probability < judged.windows[1].probability


def test_a_text_is_read_as_the_manifest_says_before_it_is_cut(artifact: Path) -> None:
    plain, disguised = _detector(artifact).judge([MACHINE, " m\u0430chine\n\n del\u200bve"])
    assert disguised == plain
    assert disguised.windows[0].end == len(MACHINE)


def test_the_threshold_goes_by_the_words_of_the_text(artifact: Path) -> None:
    (judged,) = _detector(artifact).judge(["machine " * 20])
    assert (judged.threshold, judged.length_bucket) == (0.725, "20+")
    assert judged.num_words == 20


@pytest.mark.parametrize(("decision", "threshold"), [("half", 0.5), (None, 0.6)])
def test_a_request_may_name_another_threshold(
    artifact: Path, decision: DecisionName | None, threshold: float
) -> None:
    (judged,) = _detector(artifact).judge([MACHINE], decision=decision)
    assert judged.threshold == threshold
    assert judged.threshold_name == (decision or "max_f1")


def test_a_probability_at_the_threshold_is_human(artifact: Path) -> None:
    (judged,) = _detector(artifact).judge([MACHINE])
    write_bundle(
        artifact,
        artifact / "model.onnx",
        config=config(),
        calibration=calibration(threshold=judged.probability),
        quantized=False,
    )
    (again,) = _detector(artifact).judge([MACHINE])
    assert again.probability == again.threshold
    assert again.verdict == "human"


def test_a_threshold_that_could_not_be_found_is_refused(artifact: Path) -> None:
    with pytest.raises(AppError, match="99 human texts") as raised:
        _detector(artifact).judge([MACHINE], decision="fpr_1")
    assert raised.value.code is ErrorCode.CONFIG_INVALID


def test_short_texts_and_texts_of_nothing_come_with_a_warning(artifact: Path) -> None:
    short, enough, nothing = _detector(artifact).judge(["a " * 59, "a " * 60, "\u200b"])
    assert "Fewer than 60 words" in short.warnings[0]
    assert enough.warnings == ()
    assert "Nothing to read" in nothing.warnings[0]
    assert [(window.start, window.end) for window in nothing.windows] == [(0, 0)]


def test_nothing_is_claimed_of_a_text_of_nothing_whatever_the_network_says(artifact: Path) -> None:
    fitted = calibration(threshold=0.4)
    no_band: dict[str, object] = {"thresholds": fitted.thresholds.model_copy(update={"band": None})}
    write_bundle(
        artifact,
        artifact / "model.onnx",
        config=config(),
        calibration=fitted.model_copy(update=no_band),
        quantized=False,
    )
    nothing, even = _detector(artifact).judge(["\u200b", "a"])
    assert (nothing.verdict, nothing.band) == ("ai", "uncertain")
    assert even.band == even.verdict


def test_windows_of_several_texts_share_batches(artifact: Path) -> None:
    network = CountingNetwork()
    scored = list(_scorer(artifact, network).score([LONG, PEOPLE, MACHINE]))
    assert network.shapes == [(4, 8)]
    assert [len(each.window_logits) for each in scored] == [2, 1, 1]
    assert scored[1].logit == pytest.approx((2 + 4 + 8 + 3) / 4)


def test_no_more_than_a_million_characters_are_in_work_at_a_time(artifact: Path) -> None:
    network = CountingNetwork()
    half = f"a {' ' * 499_998}"
    assert len(list(_scorer(artifact, network).score([half, half, half]))) == 3
    assert network.shapes == [(2, 3), (1, 3)]
    network.shapes.clear()
    assert len(list(_scorer(artifact, network).score([half + half + half, "a"]))) == 2
    assert network.shapes == [(1, 5), (1, 3)]
    assert list(_scorer(artifact, network).score([])) == []


def test_int8_judges_window_by_window_so_that_neighbours_change_nothing() -> None:
    assert windows_in_a_batch(quantized=True) == 1
    assert windows_in_a_batch(quantized=False) == MOST_WINDOWS


def test_a_bundle_that_is_replaced_while_it_is_loaded_is_loaded_again(artifact: Path) -> None:
    class _Replaced(Detector):
        times = 0

        @classmethod
        def of(cls, bundle: Bundle, *, threads: int | None) -> Detector:
            cls.times += 1
            if cls.times == 1:
                _bundle(artifact, quantized=True)
            return super().of(bundle, threads=threads)

    assert math.isclose(_Replaced.load(artifact / "runtime_bundle", threads=1).judge([MACHINE])[0].logit, 4.0)
    assert _Replaced.times == 2
