"""/runs/{run_id}/evaluate and /eval."""

from functools import partial

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from model_trainer.api.middleware.request_id import current_request_id
from model_trainer.api.openapi import evaluate_body
from model_trainer.api.places import evaluation_after_training, evaluation_of
from model_trainer.api.requests import idempotency_of, parse_body, parse_query, read_json_body
from model_trainer.api.routes.accepted import ACCEPTED, accepted, once
from model_trainer.api.routes.endpoints import IDEMPOTENCY_KEY, RunIdPath, add
from model_trainer.api.schemas.evaluation import EvaluationsQuery, EvaluationsView
from model_trainer.api.schemas.run import RunView, view_run
from model_trainer.api.validators.evaluation import check_evaluation
from model_trainer.container import Container
from model_trainer.core.contracts.detector import EvaluateDetectorSpec
from model_trainer.core.contracts.evaluation import EvaluateSpec
from model_trainer.core.contracts.run import IdempotencyKey, Submission
from model_trainer.orchestrators.detectors import is_detector


class EvaluationRoutes:
    """Handlers of a training's evaluations."""

    def __init__(self, container: Container) -> None:
        self._container = container

    def add_to(self, app: FastAPI) -> None:
        """Adds the routes."""
        add(
            app,
            "POST",
            "/runs/{run_id}/evaluate",
            self.evaluate,
            operation_id="evaluate_run",
            summary="Order an evaluation of a completed training",
            tag="runs",
            view=RunView,
            status=202,
            headers=[IDEMPOTENCY_KEY],
            body=evaluate_body(),
            answers=ACCEPTED,
            problems=[404, 409, 413],
        )
        add(
            app,
            "GET",
            "/runs/{run_id}/eval",
            self.list_evaluations,
            operation_id="get_evaluations",
            summary="What evaluations of a training found",
            tag="runs",
            view=EvaluationsView,
            query=EvaluationsQuery,
            problems=[404],
        )

    async def evaluate(self, request: Request, run_id: RunIdPath) -> Response:
        """On one of the run's own splits, or on text (for a detector: labelled texts) under the data root. The evaluation is a
        run of its own."""
        body = await read_json_body(request)
        key = idempotency_of(request, body, operation=f"evaluate_run {run_id}")
        start = partial(self._start, body, run_id)
        submission = await run_in_threadpool(once, self._container.runs, key, start)
        return accepted(submission, view_run(submission.record), location=f"/runs/{submission.record.run_id}")

    def list_evaluations(self, request: Request, run_id: RunIdPath) -> EvaluationsView:
        """The evaluation after training first, then those asked for, newest first."""
        wanted = parse_query(request, EvaluationsQuery)
        training = self._container.training.find_training(run_id)
        page = self._container.evaluations.list_evaluations(
            parent_run_id=run_id, after=wanted.after, limit=wanted.limit
        )
        artifacts = self._container.artifacts
        found = [evaluation_of(artifacts, job, model=training) for job in page.records]
        if wanted.after is None:
            found.insert(0, evaluation_after_training(artifacts, training))
        return EvaluationsView(
            run_id=run_id,
            data=tuple(evaluation for evaluation in found if evaluation is not None),
            jobs=tuple(map(view_run, page.records)),
            has_more=page.has_more,
        )

    def _start(self, body: bytes, run_id: str, idempotency: IdempotencyKey | None) -> Submission:
        container = self._container
        parent = container.training.find_training(run_id)
        spec: EvaluateSpec | EvaluateDetectorSpec = (
            parse_body(body, EvaluateDetectorSpec) if is_detector(parent) else parse_body(body, EvaluateSpec)
        )
        workers = container.workers_of(container.settings.rq.short_queue_name)
        check_evaluation(spec, parent, corpora=container.corpora, runs=container.runs, workers=workers)
        return container.evaluations.start(
            spec, parent=parent, request_id=current_request_id(), idempotency=idempotency
        )
