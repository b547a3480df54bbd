"""What the scripts say twice is the same as in Python."""

import re
from importlib.resources import files

from model_trainer.core.contracts.run import Phase
from model_trainer.infra.persistence.inference_rules import UNANSWERED_SECONDS
from model_trainer.infra.persistence.redis_feed import FEED, FEED_LENGTH
from model_trainer.infra.persistence.redis_inference import BELL, LEASES, LINE
from model_trainer.infra.persistence.run_signal import INFERENCE_CHANNEL


def test_the_scripts_know_every_phase_of_work_in_its_order() -> None:
    prelude = files("model_trainer.infra.persistence").joinpath("scripts", "prelude.lua").read_text()
    listed = re.search(r"local ranks = \{(.+)\}", prelude)
    assert listed is not None
    ranks = dict(pair.split(" = ") for pair in listed[1].split(", "))
    assert ranks == {phase.value: str(place) for place, phase in enumerate(Phase) if phase is not Phase.DONE}


def test_the_scripts_know_the_feed_and_how_long_it_is() -> None:
    prelude = files("model_trainer.infra.persistence").joinpath("scripts", "prelude.lua").read_text()
    assert f"'XADD', '{FEED}', 'MAXLEN', '~', {FEED_LENGTH}, " in prelude


def test_only_a_restored_run_has_events_that_the_feed_does_not_refer_to() -> None:
    scripts = files("model_trainer.infra.persistence").joinpath("scripts")
    adding = {script.name for script in scripts.iterdir() if "'XADD'" in script.read_text()}
    assert adding == {"prelude.lua", "restore.lua"}


def test_the_scripts_of_inference_know_the_same_numbers_and_keys() -> None:
    scripts = files("model_trainer.infra.persistence").joinpath("scripts")
    words = scripts.joinpath("inference_words.lua").read_text()
    assert f"unanswered_seconds = {UNANSWERED_SECONDS} " in words
    assert f"'{LINE}', '{LEASES}', '{BELL}'" in words
    assert f"'PUBLISH', '{INFERENCE_CHANNEL}'" in words
