"""Puts the API together: routes inside, error answers around them, what every request passes around those."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

import fastapi.exceptions
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import model_trainer
from model_trainer.api.answers import Answers
from model_trainer.api.asgi import AsgiApp
from model_trainer.api.middleware.access_log import AccessLogMiddleware
from model_trainer.api.middleware.auth import AuthMiddleware
from model_trainer.api.middleware.body_limit import BodyLimitMiddleware
from model_trainer.api.middleware.drain import DrainMiddleware
from model_trainer.api.middleware.framing import FramingMiddleware
from model_trainer.api.middleware.request_id import RequestIdMiddleware
from model_trainer.api.openapi import complete
from model_trainer.api.problems import (
    answer_app_error,
    answer_disconnect,
    answer_http_exception,
    answer_invalid_parameters,
    answer_unknown_error,
)
from model_trainer.api.routes.artifacts import ArtifactRoutes
from model_trainer.api.routes.detectors import DetectorRoutes
from model_trainer.api.routes.evaluations import EvaluationRoutes
from model_trainer.api.routes.events import EventRoutes
from model_trainer.api.routes.families import FamilyRoutes
from model_trainer.api.routes.files import FileRoutes
from model_trainer.api.routes.health import HealthRoutes
from model_trainer.api.routes.inference import InferenceRoutes
from model_trainer.api.routes.runs import RunRoutes
from model_trainer.api.routes.series import SeriesRoutes
from model_trainer.api.routes.steering import SteeringRoutes
from model_trainer.api.routes.tokenizers import TokenizerRoutes
from model_trainer.api.streams import Streams
from model_trainer.api.telemetry import Telemetry
from model_trainer.container import Container
from model_trainer.core.contracts.base import JsonObject, type_json_object
from model_trainer.core.errors import AppError

DESCRIPTION = (
    "Train, evaluate and keep account of tokenizers, language models and text detectors. Long work is answered with 202 and a "
    "Location to watch; every error is an application/problem+json document with a stable `code`."
)


class _FastApiErrors(Protocol):
    @property
    def RequestValidationError(self) -> type[Exception]: ...  # noqa: N802 - FastAPI's name


FASTAPI_ERRORS: _FastApiErrors = fastapi.exceptions


class Application(FastAPI):
    """The ASGI app. Set `stopping` to end its event streams: a server does that before it waits for them."""

    def __init__(
        self,
        container: Container,
        *,
        streams: Streams | None = None,
    ) -> None:
        super().__init__(
            title="Model Trainer",
            version=model_trainer.__version__,
            description=DESCRIPTION,
            redoc_url=None,
            swagger_ui_oauth2_redirect_url=None,
            lifespan=_lifespan,
            redirect_slashes=False,
        )
        self.container = container
        self._document: JsonObject | None = None
        self.stopping = asyncio.Event()
        self.streams = streams or Streams(signal=container.signal, stopping=self.stopping)
        answers = Answers(
            container.inference, self.streams, signal=container.inference_signal, stopping=self.stopping
        )
        self.telemetry = Telemetry(container, self.streams)
        self.add_exception_handler(AppError, answer_app_error)
        self.add_exception_handler(ClientDisconnect, answer_disconnect)
        self.add_exception_handler(HTTPException, answer_http_exception)
        self.add_exception_handler(FASTAPI_ERRORS.RequestValidationError, answer_invalid_parameters)
        self.add_exception_handler(Exception, answer_unknown_error)
        for routes in (
            TokenizerRoutes(container),
            RunRoutes(container),
            SteeringRoutes(container),
            EvaluationRoutes(container),
            DetectorRoutes(container),
            InferenceRoutes(container, self.streams, answers),
            SeriesRoutes(container, self.streams),
            EventRoutes(container, self.streams),
            ArtifactRoutes(container, self.streams),
            FileRoutes(container, self.streams),
            FamilyRoutes(container),
            HealthRoutes(container, self.telemetry),
        ):
            routes.add_to(self)

    def build_middleware_stack(self) -> AsgiApp:
        """Ours lies outside FastAPI's own, so that answers to unknown errors pass it too. Read it from below."""
        settings = self.container.settings
        app: AsgiApp = super().build_middleware_stack()
        app = BodyLimitMiddleware(
            app, max_bytes=settings.app.max_body_bytes, max_file_bytes=settings.app.max_file_bytes
        )
        app = AuthMiddleware(app, settings=settings)
        app = FramingMiddleware(app)
        app = DrainMiddleware(app)
        app = AccessLogMiddleware(app, meter=self.telemetry)
        return RequestIdMiddleware(app)

    def openapi(self) -> JsonObject:
        """The document behind /openapi.json."""
        if self._document is None:
            inherited: Mapping[str, object] = super().openapi()
            self._document = complete(type_json_object.validate_python(inherited), self.container.registry)
        return self._document


def create_app(container: Container) -> Application:
    """The API over a container's finished container."""
    return Application(container)


def openapi_document(container: Container) -> str:
    """openapi.json: the same bytes for the same code."""
    return type_json_object.dump_json(create_app(container).openapi(), indent=2).decode() + "\n"


@asynccontextmanager
async def _lifespan(app: Application) -> AsyncIterator[None]:
    try:
        yield
    finally:
        app.stopping.set()
        await app.container.signal.close()
        await app.container.inference_signal.close()
