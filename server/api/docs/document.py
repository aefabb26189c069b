"""The OpenAPI document of the running service, for its endpoints and the model in service."""

from __future__ import annotations

import msgspec

from server.api.docs.operation import HEADERS, KEY, REF, REQUEST_ID, JsonObject, markdown, operation
from server.http.endpoint import Endpoint, Served
from server.http.problem import Problem

OPENAPI_VERSION = "3.1.0"

_ABOUT = """\
The service recognises actions in short video clips with a V-JEPA 2 model.

Every error is a problem document (RFC 9457): `detail` says what is wrong and what is accepted, `field` names the \
field of the request that is at fault, and `type` identifies the error for programs. Besides the errors of each \
operation, an unknown path gets 404, an unsupported method gets 405 with `Allow`, a header that arrives too late \
gets 408, an `Expect` other than `100-continue` gets 417, and a connection above the limit gets 503.

Cameras can send each of their frames once, on a WebSocket at `/api/v1/stream`. OpenAPI cannot describe it: see its \
[AsyncAPI document](asyncapi.json).
"""

_TAGS = {
    "inference": "Classify clips, and describe the model.",
    "health": "Probes for load balancers and orchestrators.",
    "service": "Describe and measure the service.",
    "open inference protocol": "The same for clients of Triton and KServe: errors also have `error`, which repeats \
`detail`.",
    "teaching": "Teach heads for actions of your own, with `--teaching`.",
    "documents": "The documentation of the API, which needs no key.",
}


def openapi(endpoints: tuple[Endpoint, ...], served: Served, version: str, *, keyed: bool) -> JsonObject:
    """The OpenAPI 3.1 document for ``served``; ``keyed``: the service requires API keys."""
    paths: dict[str, JsonObject] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation(endpoint, served, keyed=keyed)
    return {
        "openapi": OPENAPI_VERSION,
        "info": _info(version),
        # Relative to the document, so that it is also right behind a proxy that adds a prefix to the path.
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
        "description": "Identifier of the request: up to 128 letters, digits and `._:-`; answer and log repeat it.",
        "schema": {"type": "string"},
    }
    components: JsonObject = {"schemas": markdown(schemas), "headers": HEADERS, "parameters": {REQUEST_ID: request_id}}
    if keyed:
        components["securitySchemes"] = {KEY: {"type": "http", "scheme": "bearer"}}
    return components
