"""The API's own description: FastAPI's, with the schemas and examples of every family and tokenizer put in."""

from collections.abc import Mapping

from pydantic import JsonValue

from model_trainer.api.examples import EXAMPLES
from model_trainer.api.routes.endpoints import SCHEMA_REF, HasSchema, schema_of
from model_trainer.api.schemas.checkpoint import ResumeBody
from model_trainer.api.schemas.page import RunListQuery, TokenizerListQuery
from model_trainer.api.schemas.problem import ProblemDocument
from model_trainer.core.contracts.base import Contract, JsonObject
from model_trainer.core.contracts.detector import CalibrateSpec, EvaluateDetectorSpec, ExportSpec
from model_trainer.core.contracts.evaluation import EvaluateSpec
from model_trainer.core.contracts.inference import ChatSpec, GenerateSpec, ScoreSpec
from model_trainer.core.contracts.prediction import PredictSpec
from model_trainer.registry import Registry

EVALUATE_EXAMPLES: JsonObject = {
    "split": {"summary": "One of the run's own splits", "value": {"split": "validation"}},
    "external": {"summary": "Text the run never saw", "value": {"corpus_path": "other-texts"}},
    "labelled": {
        "summary": "Labelled texts that a detector never saw",
        "value": {"data_paths": ["other-texts.parquet"]},
    },
}
ORDER_EXAMPLES: dict[str, JsonObject] = {
    ResumeBody.__name__: {
        "newest": {"summary": "From the newest good checkpoint", "value": {}},
        "chosen": {"summary": "From a chosen one", "value": {"step": 500}},
    },
    CalibrateSpec.__name__: {
        "defaults": {"summary": "As after training by default", "value": {}},
        "careful": {
            "summary": "Verdicts that call at most 1 % of human texts AI",
            "value": {"decision": "fpr_1"},
        },
    },
    ExportSpec.__name__: {
        "fp32": {"summary": "The weights as they are", "value": {}},
        "int8": {"summary": "Smaller and faster, if the gate lets it pass", "value": {"quantize": True}},
    },
    GenerateSpec.__name__: {
        "sampled": {
            "summary": "With the defaults",
            "value": {"prompt_text": "Once upon a time", "max_new_tokens": 64},
        },
        "greedy": {
            "summary": "The likeliest token each time, from a file under the data root",
            "value": {"prompt_path": "prompts/first.txt", "temperature": 0},
        },
        "several": {
            "summary": "Three texts, told as they come",
            "value": {
                "prompt_text": "Once upon a time",
                "num_return_sequences": 3,
                "top_p": 0.95,
                "stop_sequences": ["\n\n"],
                "seed": 7,
                "stream": True,
            },
        },
    },
    ScoreSpec.__name__: {
        "summary": {"summary": "The figures alone", "value": {"text": "To be, or not to be."}},
        "per_char": {
            "summary": "Every token, with the model's three best guesses",
            "value": {"text": "To be, or not to be.", "detail_level": "per_char", "top_k": 3},
        },
    },
    ChatSpec.__name__: {
        "new": {
            "summary": "A new conversation",
            "value": {"message": "Who are you?", "system": "Answer in one sentence."},
        },
        "continued": {
            "summary": "Its next turn",
            "value": {"message": "Since when?", "conversation_id": "01JCB1Q2ZK4X7M9T3V6W8Y0A5D"},
        },
    },
    PredictSpec.__name__: {
        "texts": {"summary": "Two texts", "value": {"texts": ["The first text.", "The second text."]}},
        "careful": {
            "summary": "With another threshold",
            "value": {"texts": ["A text."], "decision": "fpr_1"},
        },
    },
}
"""Of request bodies, by the name of the schema."""


def train_body(registry: Registry) -> JsonObject:
    """Request body of POST /runs/train."""
    families = registry.families()
    return _one_of(
        {name: family.spec.__name__ for name, family in families.items()},
        discriminator="model_family",
        examples={
            name: {"summary": family.title, "value": family.example()} for name, family in families.items()
        },
    )


def tokenizer_body(registry: Registry) -> JsonObject:
    """Request body of POST /tokenizers/train."""
    kinds = registry.tokenizers()
    return _one_of(
        {name: kind.spec.__name__ for name, kind in kinds.items()},
        discriminator="method",
        examples={name: {"summary": kind.title, "value": kind.example()} for name, kind in kinds.items()},
    )


def evaluate_body() -> JsonObject:
    """Request body of POST /runs/{run_id}/evaluate: which of the two, the run's family says."""
    schema: JsonObject = {"anyOf": [_reference(EvaluateSpec), _reference(EvaluateDetectorSpec)]}
    return {
        "required": True,
        "content": {"application/json": {"schema": schema, "examples": EVALUATE_EXAMPLES}},
    }


def order_body(spec: type[Contract], *, required: bool) -> JsonObject:
    """Request body of one schema."""
    return {
        "required": required,
        "content": {
            "application/json": {"schema": _reference(spec), "examples": ORDER_EXAMPLES[spec.__name__]}
        },
    }


def request_schemas(registry: Registry) -> JsonObject:
    """Component schemas that FastAPI cannot know of: bodies the registry parses, query models, problems."""
    models: list[HasSchema] = [
        *(family.spec for family in registry.families().values()),
        *(kind.spec for kind in registry.tokenizers().values()),
        EvaluateSpec,
        EvaluateDetectorSpec,
        CalibrateSpec,
        ExportSpec,
        GenerateSpec,
        ScoreSpec,
        ChatSpec,
        PredictSpec,
        ResumeBody,
        ProblemDocument,
    ]
    components: JsonObject = {}
    for model in models:
        schema = schema_of(model)
        title = schema.get("title")
        components |= _definitions(schema)
        components[str(title)] = schema
    for query in (RunListQuery, TokenizerListQuery):
        components |= _definitions(schema_of(query))
    return components


def complete(document: JsonObject, registry: Registry) -> JsonObject:
    """FastAPI's document with our schemas and ways to authenticate; keys sorted where order says nothing."""
    components = _as_object(document.get("components"))
    schemas = _as_object(components.get("schemas"))
    added = {name: schema for name, schema in request_schemas(registry).items() if name not in schemas}
    every = {**schemas, **added}
    sorted_schemas: JsonObject = {name: every[name] for name in sorted(every)}
    security: JsonObject = {
        "ApiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
        "Bearer": {"type": "http", "scheme": "bearer"},
    }
    examples: JsonObject = {name: {"value": value} for name, value in EXAMPLES.items()}
    return {
        **document,
        "paths": {
            path: {method: _with_examples(_as_object(one)) for method, one in _as_object(operations).items()}
            for path, operations in _as_object(document.get("paths")).items()
        },
        "components": {
            **components,
            "examples": examples,
            "schemas": sorted_schemas,
            "securitySchemes": security,
        },
        "security": [{}, {"ApiKey": []}, {"Bearer": []}],
    }


def _with_examples(operation: JsonObject) -> JsonObject:
    """An operation whose answers point to the examples of their views; of problems 422 stands for all."""
    responses: JsonObject = {}
    for status, answer in _as_object(operation.get("responses")).items():
        content: JsonObject = {}
        for media_type, described in _as_object(_as_object(answer).get("content")).items():
            view = str(_as_object(_as_object(described).get("schema")).get("$ref")).rpartition("/")[2]
            fits = view in EXAMPLES and (view != ProblemDocument.__name__ or status == "422")
            example: JsonObject = {"examples": {view: {"$ref": f"#/components/examples/{view}"}}}
            content[media_type] = {**_as_object(described), **(example if fits else {})}
        responses[status] = {**_as_object(answer), **({"content": content} if content else {})}
    return {**operation, "responses": responses}


def _reference(model: type[Contract]) -> JsonObject:
    return {"$ref": SCHEMA_REF.format(model=model.__name__)}


def _as_object(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _definitions(schema: JsonObject) -> JsonObject:
    """Takes the inner definitions out of a schema."""
    inner = schema.pop("$defs", {})
    return inner if isinstance(inner, dict) else {}


def _one_of(specs: Mapping[str, str], *, discriminator: str, examples: JsonObject) -> JsonObject:
    references: JsonObject = {name: SCHEMA_REF.format(model=spec) for name, spec in specs.items()}
    schema: JsonObject = {
        "oneOf": [{"$ref": reference} for reference in references.values()],
        "discriminator": {"propertyName": discriminator, "mapping": references},
    }
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": examples}}}
