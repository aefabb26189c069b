"""Which model a request is for: its query or its body says it."""

from __future__ import annotations

from server.clips.infer_request import JSON, MULTIPART
from server.clips.json_encoding import model_in_json
from server.clips.multipart_encoding import model_in_parts
from server.clips.upload import Upload
from server.errors import InvalidError

FIELD = "model"


def model_in_query(upload: Upload) -> str | None:
    """The name in the query; raises InvalidError if it is there twice."""
    names = [text for name, text in upload.query if name == FIELD]
    if len(names) > 1:
        raise InvalidError(f"{FIELD} is there twice", field=FIELD)
    return names[0] if names else None


def may_name_model(upload: Upload) -> bool:
    """Whether the body has fields, of which one may be the model."""
    return _kind(upload) in (JSON, MULTIPART)


def model_in_body(upload: Upload, body: bytearray) -> str | None:
    """The name in ``body``, None if there is none or if it cannot be read: then its reader tells what is wrong."""
    return model_in_json(body) if _kind(upload) == JSON else model_in_parts(body, upload.content_type)


def _kind(upload: Upload) -> str:
    return upload.content_type.partition(";")[0].strip().lower()
