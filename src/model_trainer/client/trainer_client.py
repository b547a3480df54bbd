"""The API's resources as methods: a request in, a view out, every fault an AppError."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar

import httpx

from model_trainer.client.download import Received, download, nothing_to_tell
from model_trainer.client.files import Files
from model_trainer.client.follow import follow
from model_trainer.client.http import Endpoint, HttpConnection, path_part
from model_trainer.client.questions import Questions
from model_trainer.client.views import (
    ArtifactView,
    CheckpointsView,
    EvaluationsView,
    FamiliesView,
    HealthView,
    LogsView,
    ModelCardView,
    PredictionsView,
    PredictionView,
    RunPageView,
    RunView,
    SeriesView,
    ServerEvent,
    TokenizerPageView,
    TokenizerView,
    read_view,
)
from model_trainer.core.contracts.base import JsonObject, dump_json

Kind = Literal["models", "tokenizers"]
DEFAULT_TIMEOUT_SECONDS = 30.0
PAGE_SIZE = 100
PORTION_TEXTS = 32
PORTION_BYTES = 1 << 17
"""Of texts in one request: so little is judged within seconds."""
PageT = TypeVar("PageT", RunPageView, TokenizerPageView)


class TrainerClient:
    """A typed face on the API. Use it in a with-block, or close it."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        endpoint = Endpoint(base_url=base_url.rstrip("/"), api_key=api_key, timeout_seconds=timeout_seconds)
        self._connection = HttpConnection(endpoint, transport=transport, sleep=sleep)
        self.questions = Questions(self._connection)
        """To trained models."""
        self.files = Files(self._connection)
        """Of the store."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections."""
        self._connection.close()

    def is_alive(self) -> bool:
        """Whether the API answers, right now."""
        return self._connection.answers("/healthz")

    def version(self) -> str:
        """Which version the API is of."""
        return read_view(HealthView, self._connection.get("/healthz")).version

    def is_ready(self) -> bool:
        """Whether the API has all it needs (Redis, a worker, disk), right now."""
        return self._connection.answers("/readyz")

    def check_ready(self) -> None:
        """Raises SERVICE_UNAVAILABLE with what is missing when the API is not ready."""
        self._connection.get("/readyz")

    def families(self) -> FamiliesView:
        """Every family and tokenizer with its JSON schema."""
        return read_view(FamiliesView, self._connection.get("/families"))

    # Tokenizers

    def train_tokenizer(self, spec: JsonObject, *, idempotency_key: str | None = None) -> TokenizerView:
        """Orders a tokenizer; the answer is its first state."""
        return read_view(
            TokenizerView,
            self._connection.post("/tokenizers/train", body=spec, idempotency_key=idempotency_key),
        )

    def tokenizer(self, tokenizer_id: str) -> TokenizerView:
        """One tokenizer; raises TOKENIZER_NOT_FOUND."""
        return read_view(TokenizerView, self._connection.get(f"/tokenizers/{path_part(tokenizer_id)}"))

    def tokenizers(
        self, *, limit: int = PAGE_SIZE, filters: Mapping[str, str] | None = None
    ) -> Iterator[TokenizerView]:
        """All tokenizers, newest first, fetched page by page (`limit` a page)."""
        for page in self._pages(TokenizerPageView, "/tokenizers", limit=limit, filters=filters):
            yield from page.data

    # Runs

    def train(self, spec: JsonObject, *, idempotency_key: str | None = None) -> RunView:
        """Orders a training; the answer is its first state."""
        return read_view(
            RunView, self._connection.post("/runs/train", body=spec, idempotency_key=idempotency_key)
        )

    def run(self, run_id: str) -> RunView:
        """One run; raises RUN_NOT_FOUND."""
        return read_view(RunView, self._connection.get(f"/runs/{path_part(run_id)}"))

    def runs(self, *, limit: int = PAGE_SIZE, filters: Mapping[str, str] | None = None) -> Iterator[RunView]:
        """All runs, newest first, fetched page by page (`limit` a page).

        Filters are query parameters: status, family, user_id, metadata[key].
        """
        for page in self._pages(RunPageView, "/runs", limit=limit, filters=filters):
            yield from page.data

    def cancel(self, run_id: str) -> RunView:
        """Asks a run to stop; raises CONFLICT when it is over."""
        return read_view(RunView, self._connection.post(f"/runs/{path_part(run_id)}/cancel"))

    def pause(self, run_id: str) -> RunView:
        """Asks a training to stand still; raises CONFLICT when it is over or being cancelled, or is no training."""
        return read_view(RunView, self._connection.post(f"/runs/{path_part(run_id)}/pause"))

    def resume(
        self,
        run_id: str,
        *,
        step: int | None = None,
        spec: JsonObject | None = None,
        idempotency_key: str | None = None,
    ) -> RunView:
        """Lets a training go on, from its newest checkpoint or from that of `step`; raises CONFLICT with the reason.

        `spec` is what the caller takes it to have been ordered with; another one is refused.
        """
        body: JsonObject = {}
        if step is not None:
            body["step"] = step
        if spec is not None:
            body["spec"] = spec
        path = f"/runs/{path_part(run_id)}/resume"
        return read_view(RunView, self._connection.post(path, body=body, idempotency_key=idempotency_key))

    def checkpoints(self, run_id: str) -> CheckpointsView:
        """The checkpoints of a training, newest first."""
        return read_view(CheckpointsView, self._connection.get(f"/runs/{path_part(run_id)}/checkpoints"))

    def evaluate(self, run_id: str, spec: JsonObject, *, idempotency_key: str | None = None) -> RunView:
        """Orders an evaluation of a trained model; the answer is a run of its own."""
        return self._order("evaluate", run_id, spec, idempotency_key)

    def calibrate(self, run_id: str, spec: JsonObject, *, idempotency_key: str | None = None) -> RunView:
        """Orders a new calibration of a detector; the answer is a run of its own."""
        return self._order("calibrate", run_id, spec, idempotency_key)

    def export(self, run_id: str, spec: JsonObject, *, idempotency_key: str | None = None) -> RunView:
        """Orders a new export of a detector; the answer is a run of its own."""
        return self._order("export", run_id, spec, idempotency_key)

    def model_card(self, run_id: str) -> ModelCardView:
        """What a detector is."""
        return read_view(ModelCardView, self._connection.get(f"/runs/{path_part(run_id)}/model-card"))

    def model_card_page(self, run_id: str) -> str:
        """The same as a page of Markdown."""
        body = self._connection.get(f"/runs/{path_part(run_id)}/model-card", accept="text/markdown")
        return body.decode(errors="replace")

    def predict(
        self, run_id: str, texts: Sequence[str], *, decision: str | None = None
    ) -> Iterator[PredictionView]:
        """What a detector says of each text, in their order; asked for portion by portion.

        `decision` names the threshold; left out, it is the calibration's. Raises why there is no answer.
        """
        for portion in _portions(texts):
            body: JsonObject = {"texts": list(portion)}
            if decision is not None:
                body["decision"] = decision
            answer = self.questions.ask("predict", run_id, body)
            yield from self.questions.wait(answer).read(PredictionsView).predictions

    def evaluations(self, run_id: str) -> EvaluationsView:
        """What evaluations of a run have found."""
        return read_view(EvaluationsView, self._connection.get(f"/runs/{path_part(run_id)}/eval"))

    def metrics(self, run_id: str) -> SeriesView:
        """The whole series of a run."""
        return read_view(SeriesView, self._connection.get(f"/runs/{path_part(run_id)}/metrics"))

    def logs(self, run_id: str, *, tail: int = 200) -> LogsView:
        """The last lines of a run's log."""
        return read_view(
            LogsView, self._connection.get(f"/runs/{path_part(run_id)}/logs", query={"tail": tail})
        )

    def follow_events(self, run_id: str, *, after: int = 0) -> Iterator[ServerEvent]:
        """Every event of a run behind `after`, as they come; ends with `done`."""
        return follow(self._connection, f"/runs/{path_part(run_id)}/events", query={"after": after})

    def follow_logs(self, run_id: str, *, tail: int = 200) -> Iterator[ServerEvent]:
        """The last lines of a run's log, then every new one; ends with `done`."""
        return follow(self._connection, f"/runs/{path_part(run_id)}/logs/stream", query={"tail": tail})

    # Artifacts

    def artifact(self, kind: Kind, item_id: str) -> ArtifactView:
        """What lies in an artifact folder; raises ARTIFACT_NOT_FOUND."""
        return read_view(ArtifactView, self._connection.get(f"/artifacts/{kind}/{path_part(item_id)}"))

    def download(
        self,
        kind: Kind,
        item_id: str,
        *,
        path: str,
        target: Path,
        sha256: str | None = None,
        received: Received = nothing_to_tell,
    ) -> str:
        """Leaves one file of an artifact at `target`, verified; returns its SHA-256."""
        url = f"/artifacts/{kind}/{path_part(item_id)}/download"
        return download(
            self._connection,
            url,
            path=path,
            target=target,
            query={"path": path},
            sha256=sha256,
            received=received,
        )

    def read_file(self, kind: Kind, item_id: str, *, path: str) -> bytes:
        """A small file of an artifact."""
        return self._connection.get(f"/artifacts/{kind}/{path_part(item_id)}/download", query={"path": path})

    def _order(self, verb: str, run_id: str, spec: JsonObject, idempotency_key: str | None) -> RunView:
        path = f"/runs/{path_part(run_id)}/{verb}"
        return read_view(RunView, self._connection.post(path, body=spec, idempotency_key=idempotency_key))

    def _pages(
        self, page_type: type[PageT], path: str, *, limit: int, filters: Mapping[str, str] | None
    ) -> Iterator[PageT]:
        query: dict[str, str | int] = {"limit": limit, **(filters or {})}
        while True:
            page = read_view(page_type, self._connection.get(path, query=query))
            yield page
            if not page.has_more or page.last_id is None:
                return
            query["after"] = page.last_id


def _portions(texts: Sequence[str]) -> Iterator[list[str]]:
    portion: list[str] = []
    num_bytes = 0
    for text in texts:
        size = len(dump_json(text).encode())
        if portion and (len(portion) == PORTION_TEXTS or num_bytes + size > PORTION_BYTES):
            yield portion
            portion, num_bytes = [], 0
        portion.append(text)
        num_bytes += size
    if portion:
        yield portion
