"""/families: what can be trained here, with the schema of each request."""

from fastapi import FastAPI

from model_trainer.api.routes.endpoints import HasSchema, add
from model_trainer.api.schemas.family import FamiliesView, FamilyView, TokenizerKindView
from model_trainer.api.validators.tokenizer import has_library
from model_trainer.container import Container
from model_trainer.core.contracts.base import JsonObject, type_json_object
from model_trainer.core.contracts.run import Worker
from model_trainer.models.family import Family
from model_trainer.tokenizers.kind import TokenizerKind

INNER_REF = "#/$defs/{model}"


class FamilyRoutes:
    """Handler of /families."""

    def __init__(self, container: Container) -> None:
        self._container = container

    def add_to(self, app: FastAPI) -> None:
        """Adds the route."""
        add(
            app,
            "GET",
            "/families",
            self.list_families,
            operation_id="list_families",
            summary="Every family of models and kind of tokenizer, with its JSON schema",
            tag="models",
            view=FamiliesView,
        )

    def list_families(self) -> FamiliesView:
        """A tokenizer is available when a live worker has its library; with none alive, when this server has it."""
        registry = self._container.registry
        queue_name = self._container.settings.rq.short_queue_name
        workers = tuple(worker for worker in self._container.workers.alive() if worker.queue == queue_name)
        return FamiliesView(
            families=tuple(map(_view_family, registry.families().values())),
            tokenizers=tuple(
                _view_kind(kind, missing=registry.missing_modules(kind), workers=workers)
                for kind in registry.tokenizers().values()
            ),
        )


def _view_family(family: Family) -> FamilyView:
    return FamilyView(
        name=family.name,
        title=family.title,
        supported_tokenizers=family.supported_tokenizers(),
        example=family.example(),
        json_schema=_schema(family.spec),
    )


def _view_kind(
    kind: TokenizerKind, *, missing: tuple[str, ...], workers: tuple[Worker, ...]
) -> TokenizerKindView:
    available = any(has_library(worker, kind) for worker in workers) if workers else not missing
    return TokenizerKindView(
        name=kind.name,
        title=kind.title,
        available=available,
        missing_modules=() if available else missing or kind.requires,
        extra=kind.extra,
        example=kind.example(),
        json_schema=_schema(kind.spec),
    )


def _schema(model: HasSchema) -> JsonObject:
    return type_json_object.validate_python(model.model_json_schema(ref_template=INNER_REF))
