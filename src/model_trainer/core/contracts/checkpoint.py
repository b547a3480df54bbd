"""What a checkpoint's JSON files hold. Numbers survive JSON bit for bit; tensors lie beside it."""

from typing import Final, Literal

from model_trainer.core.contracts.base import Contract

SCHEMA_VERSION: Final = 1


class FileDigest(Contract):
    """One file of a checkpoint."""

    sha256: str
    num_bytes: int


class CheckpointManifest(Contract):
    """manifest.json: written last, lists everything else."""

    schema_version: Literal[1]
    step: int
    files: dict[str, FileDigest]


class WindowState(Contract):
    """Sums over the steps since the last row."""

    loss_sum: float = 0.0
    norm_sum: float = 0.0
    num_steps: int = 0
    num_norms: int = 0
    """Steps whose gradients were finite; with fp16 some are not, and are passed over."""


class BestState(Contract):
    """The best evaluation so far, and how long nothing got better."""

    step: int | None = None
    value: float | None = None
    metrics: dict[str, float] = {}
    reference: float | None = None
    """The value that the next one must beat by min_delta."""
    num_evaluations: int = 0
    num_without_improvement: int = 0
    stopped_early: bool = False


class LossScaleState(Contract):
    """Of fp16's loss scaling."""

    scale: float = 1.0
    num_good_steps: int = 0


class TrainingState(Contract):
    """state.json: what a run remembers besides tensors."""

    schema_version: Literal[1]
    recipe_sha256: str
    data_sha256: str
    torch_version: str
    step: int
    total_steps: int
    batch_size: int
    gradient_accumulation_steps: int
    window: WindowState
    best: BestState
    loss_scale: LossScaleState
    metrics: dict[str, float]
    """The latest of each."""
    evaluation_owed: bool = False
    """Whether training stopped inside the evaluation of this step: it comes first when the run goes on."""
