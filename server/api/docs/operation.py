"""The OpenAPI operation object of one endpoint."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec

from server.api.docs.examples import ERRORS
from server.errors import RequestError
from server.http.endpoint import Endpoint, ResponseBody, Served
from server.http.problem import MEDIA_TYPE, OUR_FAULT, Problem, headers_of, problem_of, status_of

JsonObject = dict[str, Any]

REF = "#/components/schemas/{name}"
REQUEST_ID = "X-Request-Id"
KEY = "key"

# All headers of answers; the endpoints and the errors name those that they send.
HEADERS: JsonObject = {
    REQUEST_ID: {
        "description": "The identifier of the request if it sent a valid one, otherwise a new one; the log has it too.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds after which the client should try again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {
        "description": "The authentication scheme of the API key.",
        "required": True,
        "schema": {"type": "string", "const": "Bearer"},
    },
    "Server-Timing": {
        "description": "The values of `timings_ms` for the developer tools of browsers.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Content-Security-Policy": {
        "description": "Forbids the page to load anything from other hosts.",
        "required": True,
        "schema": {"type": "string"},
    },
}


def operation(endpoint: Endpoint, served: Served, *, keyed: bool) -> JsonObject:
    """The operation object of ``endpoint``; ``keyed``: the service requires API keys."""
    asked = endpoint.request(served) if endpoint.request else {}
    parameters = [{"$ref": f"#/components/parameters/{REQUEST_ID}"}, *asked.pop("parameters", ())]
    said: JsonObject = {
        "operationId": endpoint.name,
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "description": endpoint.description or endpoint.summary,
        "parameters": parameters,
        **asked,
        "responses": _responses(endpoint),
    }
    return said | ({"security": [{KEY: []}]} if keyed and endpoint.policy.needs_key else {})


def _responses(endpoint: Endpoint) -> JsonObject:
    told = {status: _answer(body) for status, body in endpoint.answers.items()}
    by_status: dict[HTTPStatus, list[type[RequestError]]] = {}
    for kind in endpoint.all_errors:
        by_status.setdefault(status_of(kind), []).append(kind)
    told |= {status: _errors(kinds) for status, kinds in by_status.items()}
    told[HTTPStatus.INTERNAL_SERVER_ERROR] = _our_fault()
    return {str(status.value): told[status] for status in sorted(told)}


def _answer(body: ResponseBody) -> JsonObject:
    content: JsonObject = {"schema": {"type": "string"}, "example": body.example}
    if isinstance(body.example, msgspec.Struct):
        content["schema"] = _ref(type(body.example))
    raw: JsonObject = {"application/octet-stream": {}} if body.raw else {}
    return _response(body.description, body.headers, {body.media_type: content, **raw})


def _errors(kinds: Iterable[type[RequestError]]) -> JsonObject:
    told = {kind: ERRORS[kind] for kind in kinds}
    headers = sorted({name for kind in told for name in headers_of(kind)})
    examples = {
        kind.__name__.removesuffix("Error"): {"summary": said.meaning, "value": problem_of(said.error)}
        for kind, said in told.items()
    }
    meaning = " ".join(said.meaning for said in told.values())
    return _response(meaning, headers, {MEDIA_TYPE: {"schema": _ref(Problem), "examples": examples}})


def _our_fault() -> JsonObject:
    example = {"summary": OUR_FAULT, "value": problem_of(Exception())}
    content = {"schema": _ref(Problem), "examples": {"Unexpected": example}}
    return _response(
        "The service failed; its log has the cause under the identifier of the request.", (), {MEDIA_TYPE: content}
    )


def _response(description: str, headers: Iterable[str], content: JsonObject) -> JsonObject:
    named = {name: {"$ref": f"#/components/headers/{name}"} for name in (REQUEST_ID, *headers)}
    return {"description": description, "headers": named, "content": content}


def _ref(kind: type[msgspec.Struct]) -> JsonObject:
    return {"$ref": REF.format(name=kind.__name__)}


def markdown(told: Any) -> Any:
    """Convert docstrings, which mark code with two backticks, to Markdown."""
    if isinstance(told, dict):
        return {key: markdown(value) for key, value in told.items()}
    if isinstance(told, list):
        return [markdown(value) for value in told]
    return told.replace("``", "`") if isinstance(told, str) else told
