"""Requests of the Open Inference Protocol, as clients write them."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np
import numpy.typing as npt

from tests.server.requests import encode

HEAD_LENGTH = "Inference-Header-Content-Length"
INFER = "/v2/models/{}/infer"

Clips = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class TensorRequest:
    """The JSON of a request, and the binary data that follows it."""

    head: dict[str, Any]
    data: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        return json.dumps(self.head).encode() + self.data

    @property
    def all_headers(self) -> dict[str, str]:
        length = {HEAD_LENGTH: str(len(self.body) - len(self.data))} if self.data else {}
        kind = "application/octet-stream" if self.data else "application/json"
        return {"Content-Type": kind} | length | self.headers


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Any
    head: dict[str, Any]
    data: bytes

    def probabilities(self) -> npt.NDArray[np.float32]:
        """float32 [N, labels] from the binary data or the JSON."""
        return self.output("probabilities")

    def output(self, name: str) -> npt.NDArray[np.float32]:
        """float32 of the shape that is told, from the JSON or the binary data, which is in the order of the outputs."""
        offset = 0
        for told in self.head["outputs"]:
            size = told.get("parameters", {}).get("binary_data_size", 0)
            if told["name"] == name:
                values = told["data"] if "data" in told else np.frombuffer(self.data[offset : offset + size], "<f4")
                return np.asarray(values, np.float32).reshape(told["shape"])
            offset += size
        raise AssertionError(f"no output {name}")


def pixels(clips: Clips, **parameters: Any) -> TensorRequest:
    """uint8 RGB [N, T, H, W, 3] as binary data."""
    tensor = _tensor("UINT8", clips.shape, {"binary_data_size": clips.nbytes})
    return TensorRequest(_head(tensor, {"format": "RGB"} | parameters), clips.tobytes())


def json_pixels(clips: Clips, *, nested: bool) -> TensorRequest:
    tensor = _tensor("UINT8", clips.shape) | {"data": (clips if nested else clips.reshape(-1)).tolist()}
    return TensorRequest(_head(tensor, {"format": "RGB"}))


def images(clips: Clips, extension: str = ".png") -> TensorRequest:
    """Each frame as an encoded image, with its length before it."""
    data = prefixed(image for clip in clips for image in encode(clip, extension))
    tensor = _tensor("BYTES", clips.shape[:2], {"binary_data_size": len(data)})
    return TensorRequest(_head(tensor), data)


def json_images(clips: Clips, *, nested: bool) -> TensorRequest:
    rows = [[base64.b64encode(image).decode() for image in encode(clip, ".png")] for clip in clips]
    tensor = _tensor("BYTES", clips.shape[:2]) | {"data": rows if nested else [text for row in rows for text in row]}
    return TensorRequest(_head(tensor))


def in_region(shape: Iterable[int], datatype: str, region: str, byte_size: int, offset: int = 0) -> TensorRequest:
    place = {
        "shared_memory_region": region,
        "shared_memory_byte_size": byte_size,
        "shared_memory_offset": offset,
    }
    return TensorRequest(_head(_tensor(datatype, shape, place), {"format": "RGB"}))


def prefixed(elements: Iterable[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


async def ask(
    session: aiohttp.ClientSession, sent: TensorRequest, model: str = "batch", path: str = INFER, **request: Any
) -> Reply:
    request = {"data": sent.body, "headers": sent.all_headers} | request
    async with session.post(path.format(model), **request) as response:
        return split(response.status, response.headers, await response.read())


def split(status: int, headers: Any, body: bytes) -> Reply:
    """The JSON of an answer and the data after it."""
    length = int(headers.get(HEAD_LENGTH, len(body)))
    return Reply(status, headers, json.loads(body[:length]), body[length:])


def _tensor(datatype: str, shape: Iterable[int], parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    tensor: dict[str, Any] = {"name": "frames", "datatype": datatype, "shape": list(shape)}
    return tensor | ({"parameters": parameters} if parameters else {})


def _head(tensor: dict[str, Any], parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"inputs": [tensor]} | ({"parameters": parameters} if parameters else {})
