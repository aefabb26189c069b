"""The input ``frames`` of a request: its shape and the place of its data, checked for a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from engines.clip import PixelFormat
from server.clips.infer_request import MAX_SIDE_PIXELS
from server.clips.tensors.infer_body import InferBody, InputParameters, InputTensor
from server.errors import InvalidError, TooLargeError, shown

FRAMES = "frames"
UINT8, BYTES = "UINT8", "BYTES"
PRIORITIES: dict[int, Literal["high", "normal", "low"]] = {0: "normal", 1: "high", 2: "normal", 3: "low"}

Place = Literal["body", "region", "json"]
_LENGTH_BYTES = 4
_PIXEL_DIMENSIONS, _IMAGE_DIMENSIONS = 5, 2
# Five numbers of 64 bits need fewer; a longer text would only cost memory.
_MOST_SHAPE_BYTES = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model and the settings accept: frames of a clip, clips of a request, decoded bytes of a request."""

    frames: int
    clips: int
    clip_bytes: int


@dataclass(frozen=True, slots=True)
class FramesTensor:
    """``clips`` clips, of ``size`` (height, width) for pixels, or None for encoded images; and where their data is.

    ``size_bytes`` is the length of the data in the body or in the region, 0 for JSON.
    """

    clips: int
    size: tuple[int, int] | None
    place: Place
    size_bytes: int
    parameters: InputParameters


def pixel_format_of(name: str) -> PixelFormat:
    """Raises InvalidError."""
    if name == "BGR":
        return "BGR"
    if name == "RGB":
        return "RGB"
    raise InvalidError(f"the parameter format is {shown(name)!r}; accepted: BGR, RGB", field="format")


def frames_tensor(body: InferBody, limits: Limits) -> FramesTensor:
    """The one input that the model has; raises InvalidError, or TooLargeError for more pixels than are accepted."""
    tensor = _only_input(body.inputs)
    shape = _shape(tensor.shape)
    pixels = tensor.datatype == UINT8
    if not pixels and tensor.datatype != BYTES:
        raise InvalidError(
            f"the datatype of frames is {shown(tensor.datatype)!r}; accepted: UINT8, BYTES", field=FRAMES
        )
    _check_shape(shape, pixels, limits)
    parameters = tensor.parameters or InputParameters()
    place, size_bytes = _place(tensor, parameters)
    size = (shape[2], shape[3]) if pixels else None
    if size is not None:
        _check_pixels(shape, limits)
        if place != "json":
            _check_size(size_bytes, shape)
    elif place != "json" and size_bytes < _LENGTH_BYTES * shape[0] * shape[1]:
        raise InvalidError(
            f"the {shape[0] * shape[1]} elements of frames need 4 bytes of length each, but the tensor has"
            f" {size_bytes} bytes",
            field=FRAMES,
        )
    return FramesTensor(shape[0], size, place, size_bytes, parameters)


def _only_input(inputs: list[InputTensor]) -> InputTensor:
    for tensor in inputs:
        if tensor.name != FRAMES:
            raise InvalidError(f"unknown input {shown(tensor.name)!r}; accepted: {FRAMES}", field="inputs")
    if len(inputs) != 1:
        raise InvalidError(f"the input {FRAMES} is there {len(inputs)} times; accepted: once", field="inputs")
    return inputs[0]


def _shape(text: msgspec.Raw) -> list[int]:
    try:
        if len(text) > _MOST_SHAPE_BYTES:
            raise InvalidError("the shape of frames has too many dimensions", field=FRAMES)
        shape = msgspec.json.decode(text, type=list[int])
    except msgspec.DecodeError:
        raise InvalidError("the shape of frames is no list of whole numbers", field=FRAMES) from None
    return shape


def _check_shape(shape: list[int], pixels: bool, limits: Limits) -> None:
    ends = [3] if pixels else []
    right = len(shape) == (_PIXEL_DIMENSIONS if pixels else _IMAGE_DIMENSIONS)
    if not right or shape[1] != limits.frames or shape[4:] != ends or any(side < 1 for side in shape):
        rest = ", height, width, 3]" if pixels else "]"
        raise InvalidError(
            f"the shape of frames is {shown(str(shape))}; accepted for this model and datatype:"
            f" [clips, {limits.frames}{rest}",
            field=FRAMES,
        )
    if shape[0] > limits.clips:
        raise InvalidError(
            f"frames holds {shown(str(shape[0]))} clips; accepted: at most {limits.clips} in one request", field=FRAMES
        )


def _check_pixels(shape: list[int], limits: Limits) -> None:
    clips, frames, height, width, _ = shape
    if max(height, width) > MAX_SIDE_PIXELS:
        raise InvalidError(
            f"frames of {shown(str(width))} x {shown(str(height))} pixels; accepted: sides of 1 to {MAX_SIDE_PIXELS}",
            field=FRAMES,
        )
    if (size_bytes := clips * frames * height * width * 3) > limits.clip_bytes:
        raise TooLargeError(
            f"{clips} clips of {frames} frames of {width} x {height} pixels are {size_bytes} bytes;"
            f" accepted: at most {limits.clip_bytes} in one request",
            field=FRAMES,
        )


def _check_size(size_bytes: int, shape: list[int]) -> None:
    clips, frames, height, width, channels = shape
    if size_bytes != (needed := clips * frames * height * width * channels):
        raise InvalidError(
            f"the data of frames has {size_bytes} bytes, but its shape {shape} takes {needed}", field=FRAMES
        )


def _place(tensor: InputTensor, parameters: InputParameters) -> tuple[Place, int]:
    """Where the data of ``tensor`` is, and its length in bytes."""
    in_json = bool(len(tensor.data))
    in_region = parameters.shared_memory_region is not None or parameters.shared_memory_byte_size is not None
    in_body = parameters.binary_data_size is not None
    if in_json + in_region + in_body != 1:
        raise InvalidError(
            "the data of frames must be in exactly one place: data, binary_data_size or shared_memory_region",
            field=FRAMES,
        )
    if in_json:
        return "json", 0
    if in_body:
        return "body", parameters.binary_data_size or 0
    if parameters.shared_memory_region is None or parameters.shared_memory_byte_size is None:
        raise InvalidError("shared_memory_region and shared_memory_byte_size go together", field=FRAMES)
    return "region", parameters.shared_memory_byte_size
