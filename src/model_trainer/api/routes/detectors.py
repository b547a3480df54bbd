"""/runs/{run_id}/calibrate, /export and /model-card: what a trained detector is asked for."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from model_trainer.api.middleware.request_id import current_request_id
from model_trainer.api.openapi import order_body
from model_trainer.api.places import file_or_none, model_card_of
from model_trainer.api.requests import idempotency_of, parse_body, read_optional_json_body
from model_trainer.api.routes.accepted import ACCEPTED, accepted, once
from model_trainer.api.routes.endpoints import IDEMPOTENCY_KEY, RunIdPath, add
from model_trainer.api.schemas.run import RunView, view_run
from model_trainer.container import Container
from model_trainer.core.artifact_files import CARD_PAGE
from model_trainer.core.contracts.base import Contract, JsonObject
from model_trainer.core.contracts.detector import CalibrateSpec, ExportSpec
from model_trainer.core.contracts.model_card import ModelCard
from model_trainer.core.contracts.run import IdempotencyKey, Submission
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.orchestrators.detectors import check_trained_detector
from model_trainer.orchestrators.follow_ups import FollowUpOrchestrator

MARKDOWN = "text/markdown"
CARD: dict[int, JsonObject] = {
    200: {
        "description": "As JSON, or with `Accept: text/markdown` as the page for the Hub.",
        "content": {MARKDOWN: {"schema": {"type": "string"}}},
    }
}
VARIES = {"Vary": "Accept"}
TEXT_ONLY = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'"}
"""A page may hold what somebody wrote into data or labels: no browser is to take it for more than text."""

P = ParamSpec("P")
SpecT = TypeVar("SpecT", bound=Contract)


class DetectorRoutes:
    """Handlers of what only detectors have."""

    def __init__(self, container: Container) -> None:
        self._container = container

    def add_to(self, app: FastAPI) -> None:
        """Adds the routes."""
        self._add_order(
            app, "calibrate", self.calibrate, "Order a new calibration of a detector", CalibrateSpec
        )
        self._add_order(app, "export", self.export, "Order a new export of a detector", ExportSpec)
        add(
            app,
            "GET",
            "/runs/{run_id}/model-card",
            self.model_card,
            operation_id="get_model_card",
            summary="What a detector is, for those who will use it",
            tag="runs",
            view=ModelCard,
            answers=CARD,
            problems=[404, 409],
        )

    async def calibrate(self, request: Request, run_id: RunIdPath) -> Response:
        """Fits temperature and thresholds anew on the logits of the validation split; then evaluation, bundle and card are
        made again. The calibration is a run of its own."""
        return await self._order(request, run_id, CalibrateSpec, self._container.calibrations)

    async def export(self, request: Request, run_id: RunIdPath) -> Response:
        """Writes model.onnx and the runtime bundle anew, with int8 weights where they are asked for and pass the gate. The
        export is a run of its own."""
        return await self._order(request, run_id, ExportSpec, self._container.exports)

    def model_card(self, request: Request, run_id: RunIdPath) -> Response:
        """Data, metrics with intervals, calibration, limits."""
        record = self._container.training.find_training(run_id)
        check_trained_detector(record, wanted="have a model card")
        artifacts = self._container.artifacts
        if MARKDOWN not in request.headers.get("accept", ""):
            card = model_card_of(artifacts, run_id)
            if card is None:
                raise _no_card(run_id)
            return Response(card.model_dump_json(), headers=VARIES, media_type="application/json")
        page = file_or_none(artifacts, "models", run_id, CARD_PAGE)
        if page is None:
            raise _no_card(run_id)
        return Response(page.read_bytes(), headers={**VARIES, **TEXT_ONLY}, media_type=MARKDOWN)

    def _add_order(
        self,
        app: FastAPI,
        verb: str,
        endpoint: Callable[P, object],
        summary: str,
        spec: type[Contract],
    ) -> None:
        add(
            app,
            "POST",
            f"/runs/{{run_id}}/{verb}",
            endpoint,
            operation_id=f"{verb}_run",
            summary=summary,
            tag="runs",
            view=RunView,
            status=202,
            headers=[IDEMPOTENCY_KEY],
            body=order_body(spec, required=False),
            answers=ACCEPTED,
            problems=[404, 409, 413],
        )

    async def _order(
        self, request: Request, run_id: str, model: type[SpecT], jobs: FollowUpOrchestrator[SpecT]
    ) -> Response:
        body = await read_optional_json_body(request) or b"{}"
        spec = parse_body(body, model)
        key = idempotency_of(request, body, operation=f"{jobs.kind.value}_run {run_id}")

        def start(idempotency: IdempotencyKey | None) -> Submission:
            parent = self._container.training.find_training(run_id)
            return jobs.start(spec, parent=parent, request_id=current_request_id(), idempotency=idempotency)

        submission = await run_in_threadpool(once, self._container.runs, key, start)
        return accepted(submission, view_run(submission.record), location=f"/runs/{submission.record.run_id}")


def _no_card(run_id: str) -> AppError:
    message = f"Run {run_id} has no model card. POST /runs/{run_id}/calibrate writes it again."
    return AppError(ErrorCode.ARTIFACT_NOT_FOUND, message, facts={"run_id": run_id})
