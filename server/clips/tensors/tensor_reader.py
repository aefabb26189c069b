"""From the body of a V2 request to its clips in the engine's memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from engines.clip import Clip, PixelFormat
from server.clips.clip_reader import Decoding
from server.clips.decode import Frames, decode_clip
from server.clips.decode_jobs import Steps
from server.clips.request_fields import ClipRequest
from server.clips.tensors.frames_tensor import FramesTensor, Limits, frames_tensor, pixel_format_of
from server.clips.tensors.infer_body import InferBody, OutputTensor, RequestParameters, decode_body
from server.clips.tensors.json_pixels import json_images, json_pixels
from server.clips.tensors.length_prefixed import split_elements
from server.clips.tensors.regions import Region
from server.errors import InvalidError

HEAD_LENGTH_HEADER = "Inference-Header-Content-Length"

Pixels = npt.NDArray[np.uint8]
# Finds a registered region by its name; raises NotFoundError.
FindRegion = Callable[[str], Region]

# JSON up to this length is parsed on the event loop, so that what follows it goes straight into the engine's memory.
_SHORT_BYTES = 64 * 2**10
# The most bytes of memory that parsing takes for each byte of JSON.
_PARSING_FACTOR = 4
# The event loop copies so much from a region at once, which takes it less than a millisecond.
_PIECE_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Asked:
    """What the request asks for besides its clips; ``body_bytes``: what follows the JSON."""

    id: str | None
    parameters: RequestParameters
    outputs: list[OutputTensor] | None
    pixel_format: PixelFormat
    frames: FramesTensor


class TensorReader:
    """A V2 request that becomes clips: ``check``, ``read`` and ``decode`` are each called once, in this order.

    Pixels of a body with a short JSON and a known length go straight into the engine's memory. Every other body is read
    first, and parsed and decoded in a thread.
    """

    def __init__(
        self,
        decoding: Decoding,
        most_clips: int,
        head_bytes: int | None,
        find_region: FindRegion,
        check_asked: Callable[[Asked], None],
    ) -> None:
        """``head_bytes``: the length of the JSON, None for all of the body. ``check_asked`` may refuse the request."""
        self._decoding = decoding
        self._limits = Limits(decoding.frames, most_clips, decoding.max_clip_bytes)
        self._head_bytes = head_bytes
        self._find_region = find_region
        self._check_asked = check_asked
        self._asked: Asked | None = None
        self._pixels: list[Pixels] = []
        self._tensor = memoryview(b"")
        self._body = bytearray()
        self._data = msgspec.Raw()
        self._region: Region | None = None

    @property
    def asked(self) -> Asked:
        """What the request asks for; known after ``read``."""
        if self._asked is None:
            raise RuntimeError("the request was not read")
        return self._asked

    @property
    def clips(self) -> int:
        return self.asked.frames.clips

    def check(self) -> None:
        """Raises RequestError for what is wrong by the header alone."""
        upload = self._decoding.upload
        upload.check_length()
        if self._head_bytes is not None and upload.length is not None and self._head_bytes > upload.length:
            raise self._wrong_head(upload.length)

    async def read(self) -> None:
        """Read the body and take the regions that it names; raises RequestError."""
        upload = self._decoding.upload
        head_bytes = upload.length if self._head_bytes is None else self._head_bytes
        if upload.length is not None and head_bytes is not None and head_bytes <= _SHORT_BYTES:
            await upload.read_parts(head_bytes, self._parts)
        else:
            self._body = await upload.read()
            await self._parse_body()

    async def _parse_body(self) -> None:
        upload, length = self._decoding.upload, len(self._body)
        head_bytes = length if self._head_bytes is None else self._head_bytes
        if head_bytes > length:
            raise self._wrong_head(length)
        view = memoryview(self._body)
        self._tensor = view[head_bytes:]
        upload.memory.add(_PARSING_FACTOR * head_bytes)
        body = await self._decoding.threads.run(decode_body, view[:head_bytes], lease=upload.lease)
        upload.memory.drop(_PARSING_FACTOR * head_bytes)
        self._take(body, len(self._tensor))

    async def decode(self) -> list[Clip]:
        """Return the clips, and free everything else. Raises RequestError."""
        if self._pixels:
            return [Clip(pixels, self.asked.pixel_format) for pixels in self._pixels]
        tensor = self.asked.frames
        if self._region is not None and tensor.size is not None:
            offset = tensor.parameters.shared_memory_offset
            pixels = self._all_memory(tensor.clips, tensor.size)
            await _copied(self._region, offset, pixels)
            return [Clip(one, self.asked.pixel_format) for one in pixels]
        return await self._decoding.threads.run(self._decode, lease=self._decoding.upload.lease)

    def _parts(self, head: bytes) -> list[memoryview]:
        """Memory for what follows ``head``."""
        length = self._decoding.upload.length or 0
        self._take(decode_body(head), length - len(head))
        tensor = self.asked.frames
        if tensor.place != "body":
            return []
        if tensor.size is None:
            self._tensor = memoryview(bytearray(tensor.size_bytes))
            return [self._tensor]
        self._pixels = [self._decoding.allocate(*tensor.size) for _ in range(tensor.clips)]
        return [pixels.data.cast("B") for pixels in self._pixels]

    def _take(self, body: InferBody, rest_bytes: int) -> None:
        """Check the request, of which ``rest_bytes`` follow the JSON, and all that it names."""
        tensor, parameters = frames_tensor(body, self._limits), body.parameters or RequestParameters()
        asked = Asked(body.id, parameters, body.outputs, pixel_format_of(parameters.format), tensor)
        in_body = tensor.size_bytes if tensor.place == "body" else 0
        if rest_bytes != in_body:
            raise InvalidError(
                f"{rest_bytes} bytes follow the JSON, but the inputs have {in_body} bytes by binary_data_size",
                field=HEAD_LENGTH_HEADER,
            )
        if tensor.place == "region" and tensor.parameters.shared_memory_region is not None:
            region = self._find_region(tensor.parameters.shared_memory_region)
            region.check(tensor.parameters.shared_memory_offset, tensor.size_bytes)
            self._region = self._decoding.upload.lease.take(region.used())
        self._data = body.inputs[0].data
        self._check_asked(asked)
        self._decoding.upload.memory.count_clips(tensor.clips)
        self._asked = asked

    def _decode(self) -> Steps[list[Clip]]:
        tensor, memory = self.asked.frames, self._decoding.upload.memory
        try:
            if tensor.size is not None:
                return [Clip(pixels, self.asked.pixel_format) for pixels in self._all_pixels(tensor, tensor.size)]
            return (yield from self._images(tensor))
        finally:
            held_bytes = max(len(self._body), len(self._tensor))
            self._tensor, self._body, self._data = memoryview(b""), bytearray(), msgspec.Raw()
            memory.drop(held_bytes)

    def _all_pixels(self, tensor: FramesTensor, size: tuple[int, int]) -> list[Pixels]:
        """The pixels of each clip, copied from the body."""
        clips = self._all_memory(tensor.clips, size)
        if tensor.place == "json":
            parsed = self._parsed((tensor.clips, *clips[0].shape))
            for pixels, values in zip(clips, parsed, strict=True):
                np.copyto(pixels, values)
        else:
            for index, pixels in enumerate(clips):
                pixels.data.cast("B")[:] = self._tensor[index * pixels.nbytes : (index + 1) * pixels.nbytes]
        return clips

    def _all_memory(self, clips: int, size: tuple[int, int]) -> list[Pixels]:
        """Memory for the pixels of all clips, whose bytes are not in the body."""
        return [self._allocate(*size) for _ in range(clips)]

    def _parsed(self, shape: tuple[int, ...]) -> Pixels:
        parsing_bytes = _PARSING_FACTOR * len(self._data)
        self._decoding.upload.memory.add(parsing_bytes)
        try:
            return json_pixels(self._data, shape)
        finally:
            self._decoding.upload.memory.drop(parsing_bytes)

    def _images(self, tensor: FramesTensor) -> Generator[Any, None, list[Clip]]:
        """The images of each clip, decoded."""
        decoding, asked = self._decoding, ClipRequest(None, "BGR", "", 1)
        left_bytes, clips = decoding.max_clip_bytes, []
        for frames in self._elements(tensor):
            clip = yield from decode_clip(frames, asked, self._allocate, left_bytes, decoding.threads)
            left_bytes -= clip.frames.nbytes
            clips.append(clip)
        return clips

    def _elements(self, tensor: FramesTensor) -> Iterable[Frames]:
        frames = self._decoding.frames
        if tensor.place == "json":
            return json_images(self._data, tensor.clips, frames)
        if self._region is not None:
            self._decoding.upload.memory.add(tensor.size_bytes)
            self._tensor = memoryview(bytearray(tensor.size_bytes))
            self._region.read_into(tensor.parameters.shared_memory_offset, self._tensor)
        return split_elements(self._tensor, tensor.clips, frames)

    def _allocate(self, height: int, width: int) -> Pixels:
        self._decoding.upload.memory.add(self._decoding.frames * height * width * 3)
        return self._decoding.allocate(height, width)

    def _wrong_head(self, length: int) -> InvalidError:
        return InvalidError(
            f"{HEAD_LENGTH_HEADER} is {self._head_bytes}, but the body has {length} bytes", field=HEAD_LENGTH_HEADER
        )


async def _copied(region: Region, offset: int, clips: Iterable[Pixels]) -> None:
    """Fill ``clips`` from ``offset`` of ``region``, one after the other, on the event loop.

    Handing a clip over to a thread and back takes as long as copying it.
    """
    for pixels in clips:
        memory = pixels.data.cast("B")
        while memory:
            piece, memory = memory[:_PIECE_BYTES], memory[_PIECE_BYTES:]
            region.read_into(offset, piece)
            offset += len(piece)
            if memory:
                await asyncio.sleep(0)
