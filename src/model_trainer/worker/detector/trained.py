"""A detector that an earlier job trained, found and loaded again."""

from dataclasses import dataclass
from pathlib import Path

from model_trainer.core import artifact_files as files
from model_trainer.core.contracts.detector import DetectorSpec, TrainingConfig
from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.models.family import DetectorFamily
from model_trainer.models.recipe_file import read_recipe
from model_trainer.serving.bundle import TOKENIZER
from model_trainer.worker.detector.config_file import read_training_config
from model_trainer.worker.detector.stages import Judge
from model_trainer.worker.follow_up import device_for
from model_trainer.worker.parts import WorkerParts
from model_trainer.worker.trained import completed_training


@dataclass(frozen=True, slots=True)
class TrainedDetector:
    """A completed training of a detector; its network is loaded when it is needed."""

    record: RunRecord
    spec: DetectorSpec
    family: DetectorFamily
    config: TrainingConfig
    folder: Path

    def judge(self) -> Judge:
        """The network, ready to judge texts; raises ARTIFACT_CORRUPT when its files do not fit."""
        recipe = read_recipe(self.folder)
        model = self.family.classifier().load(recipe, self.folder / files.MODEL)
        device = device_for(recipe)
        device.move_module(model)
        return Judge(
            model=model,
            device=device,
            recipe=recipe,
            config=self.config,
            tokenizer=self.folder / TOKENIZER,
        )


def find_detector(parts: WorkerParts, run_id: str) -> TrainedDetector:
    """A completed detector; raises CONFLICT when it is not completed or no detector, ARTIFACT_CORRUPT when its
    training_config.json is damaged."""
    record, spec = completed_training(parts, run_id)
    family = parts.registry.family(spec.model_family)
    if not isinstance(spec, DetectorSpec) or not isinstance(family, DetectorFamily):
        raise AppError(ErrorCode.CONFLICT, f"Run {run_id} trained a {family.name}, which is no detector.")
    folder = parts.artifacts.folder("models", run_id)
    config = read_training_config(folder / files.TRAINING_CONFIG)
    return TrainedDetector(record=record, spec=spec, family=family, config=config, folder=folder)
