"""/healthz, /readyz and /metrics: for orchestrators of containers and for Prometheus."""

from fastapi import FastAPI
from starlette.responses import Response

import model_trainer
from model_trainer.api.routes.endpoints import add
from model_trainer.api.schemas.health import HealthView, ReadyView
from model_trainer.api.store_health import StoreHealth
from model_trainer.api.telemetry import Telemetry
from model_trainer.container import Container
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.inference import INFERENCE_QUEUE
from model_trainer.core.errors import AppError, ErrorCode, FieldFault

METRICS: dict[int, JsonObject] = {
    200: {"description": "Prometheus text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}
}


class HealthRoutes:
    """Handlers for machines that watch this one."""

    def __init__(self, container: Container, telemetry: Telemetry) -> None:
        self._container = container
        self._telemetry = telemetry
        self._store = StoreHealth(container.store)

    def add_to(self, app: FastAPI) -> None:
        """Adds the routes."""
        add(
            app,
            "GET",
            "/healthz",
            self.healthz,
            operation_id="get_health",
            summary="Whether the process answers",
            tag="service",
            view=HealthView,
        )
        add(
            app,
            "GET",
            "/readyz",
            self.readyz,
            operation_id="get_readiness",
            summary="Whether Redis, the artifact store, a worker for each queue and disk space are there",
            tag="service",
            view=ReadyView,
        )
        add(
            app,
            "GET",
            "/metrics",
            self.metrics,
            operation_id="get_service_metrics",
            summary="Counts and durations for Prometheus",
            tag="service",
            answers=METRICS,
        )

    def healthz(self) -> HealthView:
        """Asks nobody else."""
        return HealthView(version=model_trainer.__version__)

    def readyz(self) -> ReadyView:
        """503 names in `errors` what is missing."""
        container = self._container
        try:
            container.runs.ping()
            alive = container.workers.alive()
        except AppError as error:
            raise _not_ready([FieldFault(pointer="/store", message=error.message)]) from error
        rq = container.settings.rq
        queues = (rq.queue_name, rq.short_queue_name, INFERENCE_QUEUE)
        workers = {queue: sum(worker.queue == queue for worker in alive) for queue in queues}
        free = container.artifacts.free_bytes()
        faults = [
            FieldFault(pointer=f"/workers/{queue}", message=f"no live worker listens on the queue {queue}")
            for queue, number in workers.items()
            if number == 0
        ]
        if free < container.settings.app.min_free_disk_bytes:
            message = f"{free} bytes are free where artifacts go (APP__MIN_FREE_DISK_BYTES)"
            faults.append(FieldFault(pointer="/disk", message=message))
        unreachable = self._store.fault()
        if unreachable is not None:
            faults.append(FieldFault(pointer="/artifact_store", message=unreachable))
        if faults:
            raise _not_ready(faults)
        return ReadyView(workers=workers, free_disk_bytes=free)

    def metrics(self) -> Response:
        """Read at scrape: runs by status, queues, workers, disk; and this process' HTTP requests."""
        return Response(self._telemetry.exposition(), media_type=self._telemetry.content_type)


def _not_ready(faults: list[FieldFault]) -> AppError:
    missing = "; ".join(fault.message.rstrip(".") for fault in faults)
    return AppError(ErrorCode.SERVICE_UNAVAILABLE, f"Not ready: {missing}.", faults=faults)
