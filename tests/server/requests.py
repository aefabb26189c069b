"""Inference requests in every encoding, as clients write them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import cv2
import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]
BOUNDARY = "a-boundary-that-no-frame-has"


@dataclass(frozen=True)
class Sent:
    """A POST request; a non-empty query begins with ``?``."""

    content_type: str
    body: bytes
    query: str = ""

    def head(self, *lines: str, length: int | None = -1) -> bytes:
        """Request line and header; ``length`` is that of the body by default, and None means a chunked body."""
        known = f"Content-Length: {len(self.body) if length == -1 else length}"
        framing = "Transfer-Encoding: chunked" if length is None else known
        first = f"POST /api/v1/infer{self.query} HTTP/1.1"
        return "\r\n".join([first, "Host: x", f"Content-Type: {self.content_type}", framing, *lines, "", ""]).encode()


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def raw_body(frames: Frames, pixel_format: str = "RGB", **fields: Any) -> dict[str, Any]:
    """``frames``: uint8 RGB [T, H, W, 3]."""
    ordered = frames if pixel_format == "RGB" else frames[..., ::-1]
    size = {"width": frames.shape[2], "height": frames.shape[1]}
    return {"frames": [text(frame.tobytes()) for frame in ordered], **size, "format": pixel_format, **fields}


def encode(frames: Frames, extension: str, *options: int) -> list[bytes]:
    """Each of ``frames``, uint8 RGB, as an image file; ``extension`` is ``.png`` and the like."""
    encoded = (cv2.imencode(extension, np.ascontiguousarray(frame[..., ::-1]), options) for frame in frames)
    return [content.tobytes() for _, content in encoded]


def image_body(images: Iterable[bytes], **fields: Any) -> dict[str, Any]:
    return {"frames": [text(image) for image in images], **fields}


def json_request(frames: Frames, **fields: Any) -> Sent:
    return Sent("application/json", json.dumps(raw_body(frames, **fields)).encode())


def octet_request(frames: Frames, pixel_format: str = "RGB", **fields: Any) -> Sent:
    ordered = frames if pixel_format == "RGB" else frames[..., ::-1]
    query = {"width": frames.shape[2], "height": frames.shape[1], "format": pixel_format} | fields
    return Sent("application/octet-stream", ordered.tobytes(), f"?{urlencode(query)}")


def multipart_request(frames: Frames, **fields: Any) -> Sent:
    """Each frame as a PNG image, which is lossless."""
    return parts_request([("frames", image) for image in encode(frames, ".png")], **fields)


def parts_request(parts: Iterable[tuple[str, bytes]], **fields: Any) -> Sent:
    """A form of ``parts`` (name and content) and of ``fields`` as text parts."""
    texts = [(name, str(value).encode()) for name, value in fields.items()]
    return Sent(f"multipart/form-data; boundary={BOUNDARY}", multipart_body([*parts, *texts]))


def multipart_body(parts: Iterable[tuple[str, bytes]], boundary: str = BOUNDARY) -> bytes:
    head = '--{}\r\nContent-Disposition: form-data; name="{}"; filename="x"\r\nContent-Type: image/png\r\n\r\n'
    sent = (head.format(boundary, name).encode() + content + b"\r\n" for name, content in parts)
    return b"".join([*sent, f"--{boundary}--\r\n".encode()])


ENCODINGS: dict[str, Callable[..., Sent]] = {
    "json": json_request,
    "octet-stream": octet_request,
    "multipart": multipart_request,
}
