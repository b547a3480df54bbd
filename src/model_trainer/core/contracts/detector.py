"""What a detector is asked for: labelled texts in, a classifier out. 0 is human, 1 is AI."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from model_trainer.core.contracts.base import Contract, JsonObject
from model_trainer.core.contracts.corpus import CorpusPath, SplitName
from model_trainer.core.contracts.ids import UlidText
from model_trainer.core.contracts.training import CheckpointSpec, TrainSpec
from model_trainer.core.errors import wrong_field

Label = Literal[0, 1]
"""0 human, 1 AI."""
ColumnName = Annotated[str, Field(min_length=1, max_length=200)]
AUTO = "auto"
DEFAULT_ENCODER = "microsoft/deberta-v3-large"
OWN_VOCABULARY = 4096
"""Entries, at most, of a tokenizer that a detector makes from its own texts when nothing is asked for. Twice as many made
rarer pairs and worse detectors of short texts (benchmarks/detector.py)."""
DecisionName = Literal["half", "max_f1", "youden", "fpr_1", "fpr_5", "precision"]
"""Thresholds by name: 0.5; most F1; Youden's J; at most 1 % and 5 % of human texts called AI; a target precision."""


class Columns(Contract):
    """Which column says what; `auto` finds it by name and content and says why."""

    text_col: ColumnName = AUTO
    label_col: ColumnName = AUTO
    label_map: dict[Annotated[str, Field(max_length=200)], Label] = {}
    """What each label value means, where names do not prove it: {"0": 1, "1": 0}."""
    unlabeled_default_label: Label | None = None
    """Of all texts in files without a label column."""
    group_col: ColumnName | None = AUTO
    """Rows of one source document share its value and never part; none: each text is its own."""
    domain_col: ColumnName | None = AUTO
    generator_col: ColumnName | None = AUTO
    split_col: ColumnName | None = None
    """A column that says train, validation or test; left out: split by groups and seed."""
    collapse_whitespace: bool = False
    """Turns each run of spaces and newlines into one space, in training and ever after."""


class CalibrateSpec(Contract):
    """How logits become probabilities, and probabilities verdicts. All of it is fitted on validation logits alone."""

    undo_loss: bool = True
    """Take back what focal loss and class weights do to the posterior, before anything is fitted."""
    fit_bias: bool = False
    """Fit a bias beside the temperature (Platt scaling)."""
    target_precision: Annotated[float, Field(gt=0, lt=1)] = 0.95
    decision: DecisionName = "max_f1"
    """The threshold that verdicts use unless a request names another."""
    band_false_positives: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    """Above the band at most this share of human texts is expected."""
    band_misses: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Below the band at most this share of AI texts is expected."""
    length_buckets: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(max_length=8)] = (60, 120, 250)
    """Words at which texts are long enough for the next bucket; each bucket has thresholds of its own."""

    @model_validator(mode="after")
    def _ascending(self) -> "CalibrateSpec":
        if list(self.length_buckets) != sorted(set(self.length_buckets)):
            raise wrong_field("length_buckets", "length_buckets must ascend")
        return self


class ReportSpec(Contract):
    """What an evaluation of a detector measures beside the metrics themselves."""

    bootstrap_samples: Annotated[int, Field(ge=0, le=100_000)] = 1000
    """Resamplings by group for intervals; 0 leaves them out."""
    robustness: bool = True
    """Score attacked copies of the evaluated texts too."""
    robustness_texts: Annotated[int, Field(ge=1, le=1_000_000)] = 500
    """At most so many texts are attacked."""


class ExportSpec(Contract):
    """What the runtime bundle is made of."""

    quantize: bool = False
    """Offer int8 weights; they are taken only when the gate lets them pass."""
    max_auroc_loss: Annotated[float, Field(ge=0, le=1)] = 0.002
    max_flips: Annotated[float, Field(ge=0, le=1)] = 0.005
    """Share of verdicts that may change."""
    max_size: Annotated[float, Field(gt=0, le=2)] = 0.9
    """Of fp32's bytes: what takes more gains nothing, and int8 judges one window at a time."""


class EvaluateDetectorSpec(Contract):
    """Which texts to measure a detector on: one of its own splits, or labelled texts it never saw."""

    split: SplitName | None = None
    data_paths: Annotated[tuple[CorpusPath, ...], Field(max_length=64)] = ()
    columns: Columns = Columns()
    """Of data_paths; the splits of the training keep its own."""
    report: ReportSpec = ReportSpec()
    compare_to_run_id: UlidText | None = None
    """A completed training to compare with; left out: the previous one of the same family and data."""

    @model_validator(mode="after")
    def _one_source(self) -> "EvaluateDetectorSpec":
        if (self.split is None) == (not self.data_paths):
            raise wrong_field("split", "give exactly one of split and data_paths")
        return self


class DetectorSpec(TrainSpec):
    """What every family of text classifiers is asked for."""

    data_paths: Annotated[tuple[CorpusPath, ...], Field(min_length=1, max_length=64)]
    """Files or folders of .parquet, .csv or .jsonl under the data root."""
    columns: Columns = Columns()
    test_fraction: Annotated[float, Field(ge=0, le=0.4)] = 0.1
    """Share that no training decision ever sees; measured once, at the end."""
    audit: Literal["warn", "block", "off"] = "warn"
    """What to do when a trivial feature (length, newlines, punctuation) tells the classes apart: say so, or refuse."""
    tokenizer_id: UlidText | None = None
    """A completed tokenizer; left out: the encoder's own, or one made from the training texts (from_scratch)."""
    vocab_size: Annotated[int, Field(ge=300, le=1_000_000)] | None = None
    """Of the tokenizer made from the training texts."""
    model_name: Annotated[str, Field(min_length=1, max_length=400)] | None = None
    """An encoder on the Hugging Face hub or in its cache; with from_scratch its architecture alone is taken."""
    from_scratch: bool = False
    """Random weights instead of the hub's."""
    layers: Annotated[int, Field(ge=1, le=256)] | None = None
    hidden_size: Annotated[int, Field(ge=8, le=65_536)] | None = None
    attention_heads: Annotated[int, Field(ge=1, le=512)] | None = None
    """Must divide hidden_size."""
    ffn_size: Annotated[int, Field(ge=8, le=262_144)] | None = None
    max_position_embeddings: Annotated[int, Field(ge=16, le=1_048_576)] | None = None
    min_params: Annotated[int, Field(ge=1)] | None = None
    """Refuse to train a smaller model."""
    checkpoint: CheckpointSpec = CheckpointSpec(keep_best=False)
    """keep_best is off here: weights that were chosen on validation texts take part of what thresholds promise on them."""
    focal_gamma: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Of the focal loss (Lin et al. 2017); 0 is cross-entropy."""
    positive_weight: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Weight of AI texts in the loss; left out: human texts over AI texts in the training split."""
    window_stride: Annotated[int, Field(ge=1)] | None = None
    """Tokens from one window of a long text to the next; left out: windows do not overlap."""
    normalise_unicode: bool = True
    """Undo look-alike letters and invisible characters when texts are judged; training sees them as they are."""
    gradient_checkpointing: bool = False
    """Less memory for more time."""
    finish: bool = True
    """Calibrate, evaluate, export and write the card at the end; without it training ends with its logits."""
    calibration: CalibrateSpec = CalibrateSpec()
    report: ReportSpec = ReportSpec()
    export: ExportSpec = ExportSpec()

    @model_validator(mode="after")
    def _fields_belong_together(self) -> "DetectorSpec":
        if not self.from_scratch:
            own = {
                "layers": self.layers,
                "hidden_size": self.hidden_size,
                "attention_heads": self.attention_heads,
                "ffn_size": self.ffn_size,
                "max_position_embeddings": self.max_position_embeddings,
                "min_params": self.min_params,
                "vocab_size": self.vocab_size,
                "tokenizer_id": self.tokenizer_id,
            }
            asked = [name for name, value in own.items() if value is not None]
            if asked:
                raise wrong_field(
                    asked[0],
                    f"{', '.join(asked)}: only with from_scratch; an encoder of the hub brings its own",
                )
        if self.tokenizer_id is not None and self.vocab_size is not None:
            raise wrong_field("tokenizer_id", "give tokenizer_id or vocab_size, not both")
        return self

    @property
    def known_tokenizer_id(self) -> str | None:
        """The tokenizer it was ordered with."""
        return self.tokenizer_id

    @property
    def brings_tokenizer(self) -> bool:
        """Whether its encoder does: one that is named has a tokenizer, unless the request wants another one."""
        wants_another = self.tokenizer_id is not None or self.vocab_size is not None
        return not self.from_scratch or (self.model_name is not None and not wants_another)


class WindowPlan(Contract):
    """How a text becomes windows of tokens: `prefix` + a stretch of it + `suffix`, the stretches `stride` apart."""

    length: int
    """Tokens in a window, prefix and suffix counted."""
    stride: int
    """Tokens of text from the start of one stretch to the next."""
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    pad_id: int

    @property
    def stretch(self) -> int:
        """Tokens of text in a full window."""
        return self.length - len(self.prefix) - len(self.suffix)


class Reading(Contract):
    """What is done to a text before it is cut into tokens, whenever it is judged."""

    collapse_whitespace: bool
    normalise_unicode: bool


class TrainingConfig(Contract):
    """training_config.json: what else is needed to use the weights in model/, or to make them again."""

    schema_version: Literal[1] = 1
    run_id: str
    model_family: str
    spec: JsonObject
    recipe: JsonObject
    reading: Reading
    windows: WindowPlan
    focal_gamma: float
    positive_weight: float
    """As it was in the loss."""
    num_parameters: int
    num_embedding_parameters: int
    data_sha256: str
    tokenizer_sha256: str
