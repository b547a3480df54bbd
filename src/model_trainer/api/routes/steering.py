"""/runs/{run_id}/cancel, /pause, /resume and /checkpoints: steering a run that is there."""

import json
from functools import partial

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from model_trainer.api.openapi import order_body
from model_trainer.api.requests import idempotency_of, parse_body, read_empty_body, read_optional_json_body
from model_trainer.api.routes.accepted import ACCEPTED, accepted, once
from model_trainer.api.routes.endpoints import IDEMPOTENCY_KEY, RunIdPath, add
from model_trainer.api.schemas.checkpoint import CheckpointsView, ResumeBody, view_checkpoints
from model_trainer.api.schemas.run import RunView, view_run
from model_trainer.container import Container
from model_trainer.core.contracts.run import IdempotencyKey, Submission
from model_trainer.core.errors import AppError, FieldFault


class SteeringRoutes:
    """Handlers that stop runs and let them go on."""

    def __init__(self, container: Container) -> None:
        self._container = container

    def add_to(self, app: FastAPI) -> None:
        """Adds the routes."""
        add(
            app,
            "POST",
            "/runs/{run_id}/cancel",
            self.cancel,
            operation_id="cancel_run",
            summary="Ask a run to stop; it keeps its last checkpoint",
            tag="runs",
            view=RunView,
            status=202,
            problems=[404, 409],
        )
        add(
            app,
            "POST",
            "/runs/{run_id}/pause",
            self.pause,
            operation_id="pause_run",
            summary="Ask a training to save a checkpoint and stand still",
            tag="runs",
            view=RunView,
            status=202,
            problems=[404, 409],
        )
        add(
            app,
            "POST",
            "/runs/{run_id}/resume",
            self.resume,
            operation_id="resume_run",
            summary="Let a training go on from a checkpoint",
            tag="runs",
            view=RunView,
            status=202,
            headers=[IDEMPOTENCY_KEY],
            body=order_body(ResumeBody, required=False),
            answers=ACCEPTED,
            problems=[404, 409, 413],
        )
        add(
            app,
            "GET",
            "/runs/{run_id}/checkpoints",
            self.checkpoints,
            operation_id="list_checkpoints",
            summary="The checkpoints of a training, newest first",
            tag="runs",
            view=CheckpointsView,
            problems=[404],
        )

    async def cancel(self, request: Request, run_id: RunIdPath) -> RunView:
        """A queued or paused run is cancelled at once, a running one within one step; cancelling twice changes
        nothing."""
        await read_empty_body(request)
        return view_run(await run_in_threadpool(self._container.training.cancel, run_id))

    async def pause(self, request: Request, run_id: RunIdPath) -> RunView:
        """A queued training stands still at once, a running one after its next step, when its checkpoint is saved; its
        worker is free then. Pausing twice changes nothing."""
        await read_empty_body(request)
        return view_run(await run_in_threadpool(self._container.training.pause, run_id))

    async def resume(self, request: Request, run_id: RunIdPath) -> Response:
        """For a training that is paused, failed or cancelled. It goes on from its newest good checkpoint, or from that
        of `step`, and forgets those after it. A `spec` is compared with the one it was ordered with."""
        body = await read_optional_json_body(request)
        wanted = ResumeBody() if body is None else parse_body(body, ResumeBody)
        key = idempotency_of(request, body or b"", operation=f"resume_run {run_id}")
        resume = partial(self._resume, run_id, wanted)
        submission = await run_in_threadpool(once, self._container.runs, key, resume)
        return accepted(submission, view_run(submission.record), location=f"/runs/{run_id}")

    def checkpoints(self, run_id: RunIdPath) -> CheckpointsView:
        """While it runs, too. One with a `problem` is passed over."""
        return view_checkpoints(run_id, self._container.training.checkpoints(run_id))

    def _resume(self, run_id: str, wanted: ResumeBody, idempotency: IdempotencyKey | None) -> Submission:
        training = self._container.training
        if wanted.spec is None:
            return training.resume(run_id, step=wanted.step, idempotency=idempotency)
        try:
            # Not by pydantic, which writes NaN as null.
            spec = self._container.registry.parse_train_spec(json.dumps(wanted.spec))
        except AppError as error:
            faults = [FieldFault(f"/spec{fault.pointer}", fault.message) for fault in error.faults]
            at = ", ".join(fault.pointer for fault in faults)
            message = f"The spec sent along does not fit: see {at}." if faults else error.message
            raise AppError(error.code, message, facts=error.facts, faults=faults) from error
        return training.resume(run_id, step=wanted.step, spec=spec, idempotency=idempotency)
