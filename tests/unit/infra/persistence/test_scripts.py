"""What the scripts say twice is the same as in Python."""

import re
from importlib.resources import files

from model_trainer.core.contracts.run import Phase


def test_the_scripts_know_every_phase_of_work_in_its_order() -> None:
    prelude = files("model_trainer.infra.persistence").joinpath("scripts", "prelude.lua").read_text()
    listed = re.search(r"local ranks = \{(.+)\}", prelude)
    assert listed is not None
    ranks = dict(pair.split(" = ") for pair in listed[1].split(", "))
    assert ranks == {phase.value: str(place) for place, phase in enumerate(Phase) if phase is not Phase.DONE}
