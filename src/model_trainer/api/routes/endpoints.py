"""How a route is written down: one call, so that every operation has an id, its parameters and its errors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal, ParamSpec, Protocol

from fastapi import FastAPI, Path
from fastapi.params import Depends
from pydantic import JsonValue
from starlette.requests import Request

from model_trainer.api.requests import parse_query
from model_trainer.api.schemas.problem import PROBLEM_MEDIA_TYPE
from model_trainer.core.contracts.base import Contract, JsonObject, type_json_object
from model_trainer.core.contracts.files import FILE_ID_PATTERN
from model_trainer.core.contracts.ids import ULID_PATTERN

P = ParamSpec("P")
Method = Literal["GET", "POST", "HEAD", "PATCH", "DELETE"]
Tag = Literal["runs", "tokenizers", "artifacts", "files", "models", "service"]

RunIdPath = Annotated[str, Path(pattern=ULID_PATTERN, description="The ULID that the run was given.")]
TokenizerIdPath = Annotated[
    str, Path(pattern=ULID_PATTERN, description="The ULID that the tokenizer was given.")
]
RequestIdPath = Annotated[
    str, Path(pattern=ULID_PATTERN, description="The ULID that the question was given.")
]
ConversationIdPath = Annotated[
    str, Path(pattern=ULID_PATTERN, description="The ULID that the conversation was given.")
]
FileIdPath = Annotated[
    str,
    Path(pattern=FILE_ID_PATTERN, description="The SHA-256 of the file: 64 hexadecimal digits, lower case."),
]
UploadIdPath = Annotated[str, Path(pattern=ULID_PATTERN, description="The ULID that the upload was given.")]
ItemIdPath = Annotated[str, Path(pattern=ULID_PATTERN, description="A run_id or a tokenizer_id.")]

SCHEMA_REF = "#/components/schemas/{model}"
PROBLEMS: dict[int, str] = {
    400: "Malformed request.",
    401: "No API key, or not the right one.",
    404: "No such thing.",
    409: "Not possible in the state it is in.",
    413: "The body is too large.",
    416: "The range lies beyond the file.",
    422: "The request does not fit: `errors` names each field.",
    500: "A fault of the server, or of a file that it keeps.",
    503: "The store is away or something else is missing for now; see Retry-After.",
}
IDEMPOTENCY_KEY: JsonObject = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "One intent of yours, 1 to 255 printable characters: the same key and body are answered by the first "
    "result (Idempotent-Replayed: true), never done twice.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
LAST_EVENT_ID: JsonObject = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The id of the last event that arrived: the stream goes on behind it.",
    "schema": {"type": "string", "pattern": "^[0-9]{1,16}$"},
}

PREFER: JsonObject = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "`wait=10`: answer when the question is answered, but after so many seconds at the latest (RFC 7240).",
    "schema": {"type": "string", "examples": ["wait=10"]},
}


class _NoParameters(Contract):
    pass


def add(
    app: FastAPI,
    method: Method,
    path: str,
    endpoint: Callable[P, object],
    *,
    operation_id: str,
    summary: str,
    tag: Tag,
    description: str | None = None,
    view: object = None,
    status: int = 200,
    query: type[Contract] = _NoParameters,
    headers: Sequence[JsonObject] = (),
    body: JsonObject | None = None,
    answers: Mapping[int, JsonObject] | None = None,
    problems: Sequence[int] = (),
) -> None:
    """Adds one operation.

    Args:
        description: more about it; left out: the endpoint's docstring.
        view: model of the answer; None where `answers` says what comes.
        query: its query parameters; all others are refused.
        headers: OpenAPI parameters of headers it honours.
        body: OpenAPI request body.
        answers: OpenAPI responses besides the view.
        problems: statuses of problem documents besides 401, 422 and 503.
    """

    def refuse_unknown_parameters(request: Request) -> None:
        parse_query(request, query)

    responses: dict[int | str, dict[str, object]] = {
        number: _problem(number) for number in sorted({401, 422, 503, *problems})
    }
    responses.update({number: dict(answer) for number, answer in (answers or {}).items()})
    extra: dict[str, object] = {"parameters": [*_query_parameters(query), *headers]}
    if body is not None:
        extra["requestBody"] = body
    app.add_api_route(
        path,
        endpoint,
        methods=[method],
        operation_id=operation_id,
        summary=summary,
        description=description,
        tags=[tag],
        response_model=view,
        status_code=status,
        responses=responses,
        openapi_extra=extra,
        dependencies=[Depends(dependency=refuse_unknown_parameters)],
        include_in_schema=method != "HEAD",
    )


class HasSchema(Protocol):
    """A pydantic model, as far as its JSON schema goes."""

    def model_json_schema(self, *, ref_template: str) -> Mapping[str, object]:
        """The JSON schema, with references as the template says."""
        ...


def schema_of(model: HasSchema) -> JsonObject:
    """A model's JSON schema with references into the OpenAPI components."""
    return type_json_object.validate_python(model.model_json_schema(ref_template=SCHEMA_REF))


def _query_parameters(query: type[Contract]) -> list[JsonObject]:
    schema = schema_of(query)
    required = schema.get("required")
    parameters: list[JsonObject] = []
    for name, described in _as_object(schema.get("properties")).items():
        inner = dict(_as_object(described))
        parameter: JsonObject = {
            "name": name,
            "in": "query",
            "required": isinstance(required, list) and name in required,
            "description": inner.pop("description", ""),
            "schema": {key: value for key, value in inner.items() if key != "title"},
        }
        if inner.get("type") == "object":
            parameter |= {"style": "deepObject", "explode": True}
        parameters.append(parameter)
    return parameters


def _as_object(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _problem(status: int) -> dict[str, object]:
    reference = {"$ref": SCHEMA_REF.format(model="ProblemDocument")}
    return {"description": PROBLEMS[status], "content": {PROBLEM_MEDIA_TYPE: {"schema": reference}}}
