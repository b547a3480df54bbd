"""The training spec: request body, stored record and manifest are this one type.

A value left out (None) means: choose for this machine. What was chosen is a Recipe, recorded in the manifest.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.corpus import CorpusPath, EncodingErrors, SplitBy, SplitPlan
from model_trainer.core.contracts.ids import UlidText
from model_trainer.core.contracts.tokenizer import Metadata, UserId
from model_trainer.core.errors import wrong_field

DeviceChoice = Literal["auto", "cpu", "cuda"]
DeviceName = Literal["cpu", "cuda"]
PrecisionChoice = Literal["auto", "fp32", "fp16", "bf16"]
Precision = Literal["fp32", "fp16", "bf16"]
OptimizerName = Literal["adamw", "muon", "sgd"]
ScheduleName = Literal["constant", "cosine", "linear", "warmup_stable_decay"]
Steps = Annotated[int, Field(ge=1, le=1_000_000_000)]


class OptimizerSpec(Contract):
    """How weights move."""

    name: OptimizerName | None = None
    """adamw; muon (matrices by Muon, the rest by AdamW); sgd. Left out: the family's choice."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] | None = None
    """Peak learning rate of AdamW or SGD (with muon: of the parameters that are not matrices)."""
    matrix_learning_rate: Annotated[float, Field(gt=0, le=10)] | None = None
    """Peak learning rate of Muon; only with name: muon."""
    weight_decay: Annotated[float, Field(ge=0, le=10)] | None = None
    """Decoupled decay of matrices per step, times the learning rate."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Of SGD (default 0.9) and Muon (default 0.95)."""

    @model_validator(mode="after")
    def _fields_belong_together(self) -> "OptimizerSpec":
        if self.matrix_learning_rate is not None and self.name not in (None, "muon"):
            raise wrong_field("matrix_learning_rate", "matrix_learning_rate belongs to optimizer muon")
        if self.momentum is not None and self.name == "adamw":
            raise wrong_field(
                "momentum", "momentum belongs to optimizers sgd and muon; adamw has beta1 and beta2"
            )
        return self


class ScheduleSpec(Contract):
    """How the learning rate moves over the run."""

    name: ScheduleName | None = None
    warmup_steps: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    """Optimizer steps of linear warm-up from zero."""
    decay_fraction: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Share of the run that decays at the end (warmup_stable_decay)."""
    final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Last learning rate as a share of the peak."""


class CheckpointSpec(Contract):
    """When a checkpoint is written and which are kept."""

    every_steps: Steps | None = None
    """Optimizer steps between checkpoints; left out: about ten in a run, and one every five minutes."""
    every_seconds: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """Seconds between checkpoints, alone or beside every_steps: whichever comes first."""
    keep_last: Annotated[int, Field(ge=1, le=1000)] = 2
    keep_best: bool = True
    """Also keep the best by the early-stopping metric (validation loss by default), and end with its weights."""


MetricName = Literal["loss", "perplexity", "bits_per_byte", "accuracy", "roc_auc", "f1"]


class EarlyStoppingSpec(Contract):
    """Stop when a validation metric no longer gets better."""

    metric: MetricName = "loss"
    """perplexity and bits_per_byte belong to language models, roc_auc and f1 to detectors."""
    mode: Literal["min", "max"] | None = None
    """Left out: min, but max for accuracy, roc_auc and f1."""
    patience: Annotated[int, Field(ge=1, le=10_000)] = 3
    """Evaluations without improvement before the run stops."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """A smaller improvement does not count."""
    warmup_evals: Annotated[int, Field(ge=0, le=10_000)] = 0
    """First evaluations that cannot stop the run."""

    def resolved_mode(self) -> Literal["min", "max"]:
        """The direction that counts as better."""
        return self.mode or ("max" if self.metric in ("accuracy", "roc_auc", "f1") else "min")


class InitFrom(Contract):
    """Begin with the weights of an earlier training: branch off one of its checkpoints, or go on where it ended."""

    run_id: UlidText
    """A training of the same family and tokenizer; it becomes the parent of this run."""
    step: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = None
    """One of its checkpoints (GET /runs/{id}/checkpoints); left out: the weights it completed with."""
    keep_optimizer: bool = False
    """Also take the optimizer's state; needs a checkpoint's step and the same optimizer."""


class TrainSpec(Contract):
    """What every family is asked for; a family narrows `model_family` and adds its data and its sizes."""

    model_family: str
    """Which family of models to train."""
    holdout_fraction: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    """Share of the data that validates the model."""
    test_fraction: Annotated[float, Field(ge=0, le=0.4)] = 0.0
    """Share that no training decision ever sees."""
    max_seq_len: Annotated[int, Field(ge=2, le=1_048_576)] | None = None
    """Tokens in one training window (and the context of a transformer)."""
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Windows in one micro-batch."""
    gradient_accumulation_steps: Annotated[int, Field(ge=1, le=100_000)] = 1
    """Micro-batches in one optimizer step."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    optimizer: OptimizerSpec = OptimizerSpec()
    schedule: ScheduleSpec = ScheduleSpec()
    gradient_clip_norm: Annotated[float, Field(ge=0, le=1e6)] | None = None
    """Largest global gradient norm; 0 switches clipping off."""
    num_epochs: Annotated[float, Field(gt=0, le=100_000)] | None = None
    """Passes over the training text; not together with max_steps."""
    max_steps: Steps | None = None
    """Optimizer steps; not together with num_epochs."""
    log_every_steps: Steps | None = None
    eval_every_steps: Steps | None = None
    checkpoint: CheckpointSpec = CheckpointSpec()
    early_stopping: EarlyStoppingSpec | None = None
    device: DeviceChoice = "auto"
    precision: PrecisionChoice = "auto"
    """auto: fp16 with loss scaling on CUDA; on CPU bf16 where it is native, else fp32."""
    tf32: bool = False
    """Let CUDA multiply fp32 matrices in TF32: faster, with ten bits of mantissa."""
    cpu_threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    loader_workers: Annotated[int, Field(ge=0, le=256)] | None = None
    """Threads that prepare batches ahead of the model."""
    pin_memory: bool | None = None
    """Page-locked batches for faster copies to CUDA."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 42
    init_from: InitFrom | None = None
    """Begin with the weights of an earlier training instead of random ones. Sizes left out are the parent's."""
    compare_to_run_id: UlidText | None = None
    """A completed training to compare with; left out: the previous one of the same family and corpus."""
    metadata: Metadata = {}
    """Up to 16 labels of your own, filterable in lists."""
    user_id: UserId | None = None
    """Who asked; carried on every event."""

    @model_validator(mode="after")
    def _one_length(self) -> "TrainSpec":
        if self.num_epochs is not None and self.max_steps is not None:
            raise wrong_field("num_epochs", "give num_epochs or max_steps, not both")
        if self.holdout_fraction + self.test_fraction >= 0.9:
            raise wrong_field(
                "holdout_fraction", "holdout_fraction and test_fraction leave too little to train on"
            )
        return self

    @property
    def known_tokenizer_id(self) -> str | None:
        """The tokenizer it was ordered with; None when it brings one along or makes its own."""
        raise NotImplementedError


class LanguageModelSpec(TrainSpec):
    """What every family of language models is asked for."""

    corpus_path: CorpusPath
    """A file or folder of .txt, .md, .jsonl or .parquet under the data root."""
    tokenizer_id: UlidText
    """A completed tokenizer."""
    split_by: SplitBy = "line"
    """Where the corpus is cut into training, validation and test text."""
    encoding_errors: EncodingErrors = "strict"
    """`strict` refuses bytes that are not UTF-8; `replace` puts U+FFFD in and counts them."""
    sample_prompts: Annotated[tuple[Annotated[str, Field(max_length=2000)], ...], Field(max_length=16)] = ()
    """Prompts continued after training (eval/samples.jsonl); left out: the first words of the validation text."""

    @property
    def known_tokenizer_id(self) -> str | None:
        """The tokenizer."""
        return self.tokenizer_id

    def split_plan(self) -> SplitPlan:
        """How the corpus is cut."""
        return SplitPlan(
            split_by=self.split_by,
            validation_fraction=self.holdout_fraction,
            test_fraction=self.test_fraction,
            seed=self.seed,
            encoding_errors=self.encoding_errors,
        )


class Recipe(Contract):
    """A spec with every choice made for one machine and one corpus: all that training needs to know.

    `shape` holds the family's own resolved sizes; the engine does not read it.
    """

    model_family: str
    shape: dict[str, int | float | str | bool]
    vocab_size: int
    max_seq_len: int
    data_order: Literal["shuffled_windows", "parallel_streams"]
    """shuffled_windows: windows in a seeded order; parallel_streams: each row of the batch reads on where it stopped (carried state)."""
    batch_size: int
    gradient_accumulation_steps: int
    optimizer: OptimizerName
    learning_rate: float
    matrix_learning_rate: float
    weight_decay: float
    beta1: float
    beta2: float
    momentum: float
    schedule: ScheduleName
    warmup_steps: int
    decay_fraction: float
    final_fraction: float
    gradient_clip_norm: float
    num_epochs: float | None
    """Exactly one of num_epochs and max_steps is set; the engine turns epochs into steps when it knows the data."""
    max_steps: int | None
    log_every_steps: int | None
    """None: the engine derives it from the number of steps."""
    eval_every_steps: int | None
    checkpoint: CheckpointSpec
    early_stopping: EarlyStoppingSpec | None
    eval_stride: int
    """Tokens by which the evaluation window moves on: each token is scored once, with at least max_seq_len - eval_stride tokens before it."""
    device: DeviceName
    precision: Precision
    tf32: bool = False
    cpu_threads: int
    loader_workers: int
    pin_memory: bool
    seed: int


class MemoryEstimate(Contract):
    """What training will need at least, in bytes, before anything is allocated."""

    num_parameters: int
    weights: int
    gradients: int
    optimizer: int
    activations: int

    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations
