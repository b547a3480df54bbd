"""What the API sends, as the client reads it.

Tolerant on purpose: a newer server may send more than this client knows. What it does not know it keeps, so that
whoever prints an answer as JSON prints all of it.
"""

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from model_trainer.core.errors import AppError, ErrorCode


class View(BaseModel):
    """A frozen reading of an answer."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())


ViewT = TypeVar("ViewT", bound=View)


def read_view(view: type[ViewT], body: bytes | str) -> ViewT:
    """An answer's body; raises INTERNAL for one that cannot be read."""
    try:
        return view.model_validate_json(body)
    except ValidationError as error:
        message = "The server answered with something this client cannot read: is it a newer Model Trainer?"
        raise AppError(ErrorCode.INTERNAL, message, facts={"detail": str(error)}) from error


class FaultView(View):
    """One wrong field of a refused request."""

    pointer: str = ""
    message: str = ""


class ProblemView(View):
    """An error, as a response body."""

    code: str = ""
    message: str = ""
    request_id: str | None = None
    errors: tuple[FaultView, ...] = ()


class RunProblemView(View):
    """Why a run failed."""

    code: str
    message: str
    faults: tuple[FaultView, ...] = ()
    exception: str | None = None


class ProgressView(View):
    """How far the current phase has come."""

    step: int = 0
    total_steps: int = 0
    fraction: float = 0.0
    epoch: float = 0.0
    tokens_per_second: float | None = None
    eta_seconds: float | None = None


class LastCheckpointView(View):
    """The newest complete checkpoint of a run."""

    step: int
    path: str = ""
    num_bytes: int = 0


class AttemptView(View):
    """One worker's turn at a run."""

    owner: str = ""
    started_at_ms: int | None = None
    ended_at_ms: int | None = None
    problem: RunProblemView | None = None


class RunView(View):
    """A training or an evaluation."""

    run_id: str
    kind: str = "train"
    status: str
    phase: str = ""
    message: str = ""
    family: str = ""
    progress: ProgressView = ProgressView()
    metrics: dict[str, float] = {}
    reason: str | None = None
    failure_class: str | None = None
    problem: RunProblemView | None = None
    created_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    updated_at: str | None = None
    heartbeat_age_seconds: float | None = None
    last_event_seq: int = 0
    user_id: str | None = None
    metadata: dict[str, str] = {}
    result: dict[str, JsonValue] = {}
    spec: dict[str, JsonValue] = {}
    parent_run_id: str | None = None
    cancel_requested: bool = False
    pause_requested: bool = False
    checkpoint: LastCheckpointView | None = None
    attempts: tuple[AttemptView, ...] = ()
    host: str | None = None
    links: dict[str, str] = {}


class TokenizerView(View):
    """A tokenizer, trained or in the making."""

    tokenizer_id: str
    status: str
    phase: str = ""
    message: str = ""
    method: str = ""
    progress: ProgressView = ProgressView()
    vocab_size: int | None = None
    stats: dict[str, JsonValue] | None = None
    problem: RunProblemView | None = None
    created_at: str | None = None
    finished_at: str | None = None
    metadata: dict[str, str] = {}
    spec: dict[str, JsonValue] = {}
    links: dict[str, str] = {}


class RunPageView(View):
    """One page of runs, newest first."""

    data: tuple[RunView, ...]
    has_more: bool = False
    last_id: str | None = None


class TokenizerPageView(View):
    """One page of tokenizers, newest first."""

    data: tuple[TokenizerView, ...]
    has_more: bool = False
    last_id: str | None = None


class ArtifactFileView(View):
    """One file of an artifact."""

    path: str
    num_bytes: int
    sha256: str | None = None


class ArtifactView(View):
    """What lies in one artifact folder."""

    kind: str
    item_id: str
    status: str | None = None
    location: str | None = None
    files: tuple[ArtifactFileView, ...] = ()
    manifest: dict[str, JsonValue] | None = None


class FileView(View):
    """One file of the store."""

    file_id: str
    num_bytes: int
    reference: str
    """Stands wherever a path of data is asked for."""
    stored_at: str | None = None


class FilePageView(View):
    """One page of files, by file_id."""

    data: tuple[FileView, ...] = ()
    has_more: bool = False
    last_id: str | None = None


class UploadView(View):
    """A file that comes in parts."""

    upload_id: str
    offset: int
    num_bytes: int | None = None
    sha256: str | None = None


class SeriesRowView(View):
    """One row of a run's series."""

    step: int
    metrics: dict[str, float] = {}
    timings: dict[str, float] = {}


class SeriesView(View):
    """The whole series of a run."""

    run_id: str
    data: tuple[SeriesRowView, ...] = ()


class CheckpointView(View):
    """One checkpoint of a training."""

    step: int
    path: str = ""
    saved_at: str | None = None
    num_bytes: int = 0
    metrics: dict[str, float] = {}
    is_best: bool = False
    is_last: bool = False
    resumable: bool = True
    problem: str | None = None


class CheckpointsView(View):
    """The checkpoints of a training, newest first."""

    run_id: str
    data: tuple[CheckpointView, ...] = ()


class LogsView(View):
    """The last lines of a run's log, oldest first."""

    run_id: str
    data: tuple[dict[str, JsonValue], ...] = ()


class MetricsView(View):
    """What an evaluation measured."""

    loss: float
    perplexity: float
    bits_per_byte: float
    accuracy: float | None = None
    num_tokens: int | None = None


class ComparisonView(View):
    """Against another run on the same split."""

    run_id: str
    theirs: float
    ours: float
    difference: float
    regression: bool


class FigureView(View):
    """A number of a detector's evaluation, with its interval where one was asked for."""

    value: float
    interval: dict[str, float] | None = None


class RankingView(View):
    """How well a detector orders texts."""

    roc_auc: FigureView
    tpr_at_fpr_1: FigureView
    tpr_at_fpr_5: FigureView


class DecisionsView(View):
    """Verdicts at one threshold."""

    name: str
    threshold: float
    f1: FigureView
    precision: FigureView
    recall: FigureView
    accuracy: FigureView
    fpr: FigureView


class DetectorEvaluationView(View):
    """One evaluation of a detector."""

    evaluation_id: str
    split: str
    num_human: int = 0
    num_ai: int = 0
    ranking: RankingView
    decisions: tuple[DecisionsView, ...] = ()
    decision: str = ""
    """The one that verdicts use."""
    comparison: ComparisonView | None = None
    warnings: tuple[str, ...] = ()


class EvaluationView(View):
    """One evaluation of a language model."""

    evaluation_id: str
    split: str
    metrics: MetricsView
    comparison: ComparisonView | None = None


class EvaluationsView(View):
    """All evaluations of a run."""

    data: tuple[EvaluationView | DetectorEvaluationView, ...] = ()

    @property
    def of_language_model(self) -> tuple[EvaluationView, ...]:
        """Those of a language model."""
        return tuple(one for one in self.data if isinstance(one, EvaluationView))

    @property
    def of_detector(self) -> tuple[DetectorEvaluationView, ...]:
        """Those of a detector."""
        return tuple(one for one in self.data if isinstance(one, DetectorEvaluationView))


class PredictionView(View):
    """One judged text."""

    probability: float
    verdict: str
    band: str = ""
    threshold: float
    threshold_name: str = ""
    num_words: int = 0
    windows: tuple[dict[str, JsonValue], ...] = ()
    warnings: tuple[str, ...] = ()


class PredictionsView(View):
    """Judged texts, in the order they were sent."""

    run_id: str
    predictions: tuple[PredictionView, ...] = ()


class ModelCardView(View):
    """What a detector is."""

    name: str
    run_id: str


class KindView(View):
    """A model family or a kind of tokenizer."""

    name: str
    title: str = ""
    supported_tokenizers: tuple[str, ...] = ()
    available: bool = True
    extra: str = ""
    example: dict[str, JsonValue] = {}
    """A request for one."""
    json_schema: dict[str, JsonValue] = {}
    """Of such requests."""


class FamiliesView(View):
    """What can be trained."""

    families: tuple[KindView, ...] = ()
    tokenizers: tuple[KindView, ...] = ()


class HealthView(View):
    """That the API answers."""

    version: str = ""


class ServerEvent(View):
    """One event of a stream: its place, its name, what it says."""

    id: str | None = None
    name: str
    data: dict[str, JsonValue]
