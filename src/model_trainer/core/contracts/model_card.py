"""model_card.json: what a detector is, for those who will use it."""

from typing import Literal

from model_trainer.core.contracts.base import Contract, JsonObject
from model_trainer.core.contracts.calibration import Calibration
from model_trainer.core.contracts.data_report import DataReport
from model_trainer.core.contracts.detector_evaluation import DetectorEvaluation
from model_trainer.core.contracts.export import ExportReport


class ModelCard(Contract):
    """model_card.json; README.md says the same in the Hub's format."""

    schema_version: Literal[1] = 1
    name: str
    run_id: str
    model_family: str
    base_model: str | None
    """The hub's encoder it was fine-tuned from."""
    num_parameters: int
    num_embedding_parameters: int
    max_tokens: int
    training: JsonObject
    """The choices that made it: loss, steps, optimizer, seed."""
    data: DataReport | None
    calibration: Calibration
    evaluation: DetectorEvaluation | None
    export: ExportReport | None
    intended_use: tuple[str, ...]
    limits: tuple[str, ...]
    libraries: dict[str, str]
