"""/runs: order, list and look at."""

from functools import partial

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from model_trainer.api.middleware.request_id import current_request_id
from model_trainer.api.openapi import train_body
from model_trainer.api.requests import idempotency_of, parse_query, read_json_body
from model_trainer.api.routes.accepted import ACCEPTED, accepted, once
from model_trainer.api.routes.endpoints import IDEMPOTENCY_KEY, RunIdPath, add
from model_trainer.api.schemas.page import Page, RunListQuery
from model_trainer.api.schemas.run import RunView, view_run, view_runs
from model_trainer.api.validators.order import check_order
from model_trainer.container import Container
from model_trainer.core.contracts.run import IdempotencyKey, RunQuery, Submission
from model_trainer.core.contracts.training import TrainSpec


class RunRoutes:
    """Handlers of /runs."""

    def __init__(self, container: Container) -> None:
        self._container = container

    def add_to(self, app: FastAPI) -> None:
        """Adds the routes."""
        add(
            app,
            "POST",
            "/runs/train",
            self.train,
            operation_id="train_model",
            summary="Order a training",
            tag="runs",
            view=RunView,
            status=202,
            headers=[IDEMPOTENCY_KEY],
            body=train_body(self._container.registry),
            answers=ACCEPTED,
            problems=[409, 413],
        )
        add(
            app,
            "GET",
            "/runs",
            self.list_runs,
            operation_id="list_runs",
            summary="List runs, newest first",
            tag="runs",
            view=Page[RunView],
            query=RunListQuery,
        )
        add(
            app,
            "GET",
            "/runs/{run_id}",
            self.get_run,
            operation_id="get_run",
            summary="Where a run stands",
            tag="runs",
            view=RunView,
            problems=[404],
        )

    async def train(self, request: Request) -> Response:
        """Checks the spec, records the run and puts it in the queue."""
        body = await read_json_body(request)
        spec = self._container.registry.parse_train_spec(body)
        key = idempotency_of(request, body, operation="train_model")
        submission = await run_in_threadpool(once, self._container.runs, key, partial(self._start, spec))
        return accepted(submission, view_run(submission.record), location=f"/runs/{submission.record.run_id}")

    def list_runs(self, request: Request) -> Page[RunView]:
        """One page; ask again with after=last_id while has_more."""
        wanted = parse_query(request, RunListQuery)
        query = RunQuery(
            kind=wanted.kind,
            limit=wanted.limit,
            after=wanted.after,
            status=wanted.status,
            family=wanted.family,
            user_id=wanted.user_id,
            metadata=wanted.metadata,
        )
        return view_runs(self._container.training.list_runs(query))

    def get_run(self, run_id: RunIdPath) -> RunView:
        """A training, a tokenizer in the making or an evaluation."""
        return view_run(self._container.training.find(run_id))

    def _start(self, spec: TrainSpec, idempotency: IdempotencyKey | None) -> Submission:
        check_order(spec, self._container)
        return self._container.training.start(spec, request_id=current_request_id(), idempotency=idempotency)
