"""The AsyncAPI document of streams, because OpenAPI has no WebSockets; made of the types of the messages."""

from __future__ import annotations

from http import HTTPMethod
from typing import Any, get_args

import msgspec

from server.api.docs.operation import KEY, REF, JsonObject, markdown
from server.api.stream_messages import Answer, End, Hello
from server.streams.frames import FRAME_HEADER, FRAME_VERSION

ASYNCAPI_VERSION = "3.0.0"

_CHANNEL = "stream"
_FRAME = "frame"
_ABOUT = """\
A stream is a WebSocket on which a camera sends each frame once, and the service answers a prediction for every \
window. It begins with a `hello`, which is answered by `ready`; then come frames, and answers beside them; `end` lets \
the service answer the windows that were begun and close the stream. All other requests are in [OpenAPI](openapi.json).
"""
_CLOSE = """\
The service closes with 1000 after an end, 1001 when it stops, 1008 for a message that it does not take, 1009 for one \
that is too long, and 1013 when it is overloaded or has lost its engine. The reason of the close says more. The \
subprotocol is `vjepa2.stream.v1`. Where a key is needed, it comes in `Authorization`, in the hello, or as a second \
subprotocol `bearer.KEY`.
"""
_FRAME_TEXT = f"""\
A header of {FRAME_HEADER.size} bytes, little-endian: uint32 version, which is {FRAME_VERSION}; float64 time of the \
frame in seconds by the client's clock; uint32 width and uint32 height in pixels. Then packed 8-bit pixels, three for \
each pixel, or, if width and height are 0, a JPEG, PNG or WebP image.
"""


def asyncapi(path: str, version: str, *, keyed: bool) -> JsonObject:
    """The AsyncAPI 3 document of the stream at ``path``; ``keyed``: the service requires API keys."""
    sent = (Hello, End)
    answers = get_args(Answer)
    structs, schemas = msgspec.json.schema_components((*sent, *answers), ref_template=REF)
    messages = {_name(kind): _message(kind, schema) for kind, schema in zip((*sent, *answers), structs, strict=True)}
    components: JsonObject = {"schemas": markdown(schemas), "messages": {**messages, _FRAME: _frame()}}
    if keyed:
        components["securitySchemes"] = {KEY: {"type": "http", "scheme": "bearer"}}
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {
            "title": "vjepa2-serve streams",
            "version": version,
            "description": _ABOUT,
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "channels": {_CHANNEL: _channel(path, list(components["messages"]))},
        "operations": {
            "begin": _operation("receive", "Ask for a stream", Hello, keyed=keyed) | {"reply": _reply("ready")},
            "send": _operation("receive", "Send the next frame", _FRAME, keyed=keyed),
            "finish": _operation("receive", "End the stream", End, keyed=keyed) | {"reply": _reply("ended")},
            "answer": _operation("send", "What the service tells", *answers, keyed=keyed),
        },
        "components": components,
    }


def _name(kind: type[msgspec.Struct] | str) -> str:
    """Of a message: its tag, or for the hello, which needs none, that of its type."""
    if isinstance(kind, str):
        return kind
    tag = kind.__struct_config__.tag
    return str(tag) if tag is not None else kind.__name__.lower()


def _message(kind: type[msgspec.Struct], schema: JsonObject) -> JsonObject:
    told = markdown(kind.__doc__ or "").strip()
    return {"name": _name(kind), "summary": told.split("\n")[0], "contentType": "application/json", "payload": schema}


def _frame() -> JsonObject:
    payload = {"type": "string", "format": "binary", "description": _FRAME_TEXT}
    summary = "A frame of the camera, a binary message."
    return {"name": _FRAME, "summary": summary, "contentType": "application/octet-stream", "payload": payload}


def _channel(path: str, names: list[str]) -> JsonObject:
    return {
        "address": path,
        "description": _CLOSE,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {"ws": {"method": HTTPMethod.GET.value}},
    }


def _operation(action: str, summary: str, *kinds: Any, keyed: bool) -> JsonObject:
    told: JsonObject = {
        "action": action,
        "summary": summary,
        "channel": {"$ref": f"#/channels/{_CHANNEL}"},
        "messages": [_reference(_name(kind)) for kind in kinds],
    }
    return told | {"security": [{"$ref": f"#/components/securitySchemes/{KEY}"}]} if keyed else told


def _reply(name: str) -> JsonObject:
    return {"channel": {"$ref": f"#/channels/{_CHANNEL}"}, "messages": [_reference(name)]}


def _reference(name: str) -> JsonObject:
    return {"$ref": f"#/channels/{_CHANNEL}/messages/{name}"}
