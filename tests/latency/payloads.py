"""The clip that everybody is sent, in each of the encodings."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

import numpy as np
import simplejpeg

from export.demo.rendering.clips import render_clip
from tests.latency.stand_in_device import FRAMES, LABELS, Frames, label_index, mark

SIDE_PIXELS = 240
CLIP_BYTES = FRAMES * SIDE_PIXELS * SIDE_PIXELS * 3
ENCODINGS = ("json", "octet-stream", "multipart")
# Of a camera: without it, rendered frames make JPEGs of a third of the usual size.
_NOISE_LEVELS = 4
_JPEG_QUALITY = 90
_BOUNDARY = "a-boundary-that-no-jpeg-contains"
_SEED = 35_000_000
_MARK = 7


@dataclass(frozen=True)
class Payload:
    """One request's query, content type and body."""

    name: str
    query: str
    content_type: str
    body: bytes

    def request(self, path: str = "/api/v1/infer") -> bytes:
        """The whole of it as it is written to the socket."""
        head = (
            f"POST {path}{self.query} HTTP/1.1",
            "Host: benchmark",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            "Accept: */*",
        )
        return "\r\n".join([*head, "", ""]).encode() + self.body


def bgr_clip(side: int = SIDE_PIXELS) -> Frames:
    """Uint8 BGR [16, side, side, 3]: a rendered motion that carries the stand-in device's mark."""
    rendered = render_clip(_SEED, frames=FRAMES, size=(side, side)).frames
    noise = np.random.default_rng(_SEED).normal(0, _NOISE_LEVELS, rendered.shape)
    frames = np.ascontiguousarray((rendered[..., ::-1] + noise).round().clip(0, 255).astype(np.uint8))
    mark(frames, _MARK)
    return frames


def stand_in_label() -> str:
    """What a stand-in engine answers to every payload."""
    return LABELS[label_index(bgr_clip())]


def payloads() -> dict[str, Payload]:
    """One for each of ``ENCODINGS``, of the same clip; multipart as JPEGs."""
    frames = bgr_clip()
    made = (_json(frames), octet_stream(frames), _multipart(frames))
    return {payload.name: payload for payload in made}


def _json(frames: Frames) -> Payload:
    texts = [base64.b64encode(frame.tobytes()).decode() for frame in frames]
    body = {"frames": texts, "width": frames.shape[2], "height": frames.shape[1], "format": "BGR"}
    return Payload("json", "", "application/json", json.dumps(body).encode())


def octet_stream(frames: Frames) -> Payload:
    """BGR ``frames`` as packed pixels."""
    query = f"?width={frames.shape[2]}&height={frames.shape[1]}&format=BGR"
    return Payload("octet-stream", query, "application/octet-stream", frames.tobytes())


def jpegs(frames: Frames) -> list[bytes]:
    """Each of BGR ``frames`` as a camera would compress it."""
    return [simplejpeg.encode_jpeg(frame, _JPEG_QUALITY, "BGR", "420") for frame in frames]


def _multipart(frames: Frames) -> Payload:
    parts = [_part(number, image) for number, image in enumerate(jpegs(frames))]
    body = b"".join([*parts, f"--{_BOUNDARY}--\r\n".encode()])
    return Payload("multipart", "", f"multipart/form-data; boundary={_BOUNDARY}", body)


def _part(number: int, image: bytes) -> bytes:
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="frames"; filename="{number}.jpg"\r\n'
    return f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + image + b"\r\n"
