"""The OpenAPI document of the service as it runs: its endpoints, and what its model takes."""

from __future__ import annotations

from typing import Any

import msgspec

from engines.manifest import Manifest
from server.api.docs.operation import HEADERS, KEY, REF, REQUEST_ID, JsonObject, operation
from server.http.endpoint import Endpoint
from server.http.problem import Problem

OPENAPI_VERSION = "3.1.0"

_ABOUT = """\
A clip of a camera goes in, the actions that a V-JEPA 2 model sees in it come out.

Every error is a problem (RFC 9457): `detail` says what was wrong and what is accepted, `field` which field of the \
request was at fault, and `type` is there for programs. A path that does not exist is answered with 404, a method that \
it does not have with 405 and `Allow`, a header that does not come in time with 408, an `Expect` for anything but \
`100-continue` with 417, and a connection too many with 503.
"""

_TAGS = {
    "inference": "Clips in, actions out.",
    "health": "For load balancers and orchestrators.",
    "service": "What it is and how it is doing.",
    "documents": "These pages. They need no key.",
}


def openapi(endpoints: tuple[Endpoint, ...], manifest: Manifest, version: str, *, keyed: bool) -> JsonObject:
    """OpenAPI 3.1 for ``manifest``'s model; ``keyed`` is whether the service has keys."""
    paths: dict[str, JsonObject] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation(endpoint, manifest, keyed=keyed)
    return {
        "openapi": OPENAPI_VERSION,
        "info": _info(version),
        # Relative to the document, so that it holds behind a proxy that serves it under a prefix.
        "servers": [{"url": "."}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        "paths": paths,
        "components": _components(endpoints, keyed=keyed),
    }


def _info(version: str) -> JsonObject:
    licence = {"name": "MIT", "identifier": "MIT"}
    return {"title": "vjepa2-serve", "version": version, "description": _ABOUT, "license": licence}


def _components(endpoints: tuple[Endpoint, ...], *, keyed: bool) -> JsonObject:
    examples = (body.example for endpoint in endpoints for body in endpoint.answers.values())
    kinds = {type(example) for example in examples if isinstance(example, msgspec.Struct)} | {Problem}
    in_order = sorted(kinds, key=lambda kind: kind.__name__)
    (_, schemas) = msgspec.json.schema_components(in_order, ref_template=REF)
    request_id = {
        "name": REQUEST_ID,
        "in": "header",
        "description": "Letters, digits and `._:-`, at most 128; comes back with the answer and is in the log.",
        "schema": {"type": "string"},
    }
    components: JsonObject = {"schemas": _markdown(schemas), "headers": HEADERS, "parameters": {REQUEST_ID: request_id}}
    if keyed:
        components["securitySchemes"] = {KEY: {"type": "http", "scheme": "bearer"}}
    return components


def _markdown(told: Any) -> Any:
    """Descriptions are docstrings, which mark code with two ticks."""
    if isinstance(told, dict):
        return {key: _markdown(value) for key, value in told.items()}
    if isinstance(told, list):
        return [_markdown(value) for value in told]
    return told.replace("``", "`") if isinstance(told, str) else told
