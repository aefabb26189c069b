"""From a request's body to a clip in the engine's memory: one reader for each encoding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from engines.clip import Clip
from engines.engine import Model
from engines.errors import ClipTooLargeError
from server.clips.decode import Frames, check_clip_bytes, decode_clip
from server.clips.decode_jobs import Steps
from server.clips.decode_threads import DecodeThreads
from server.clips.infer_request import JSON, MULTIPART, OCTET_STREAM
from server.clips.json_encoding import parse_json
from server.clips.multipart_encoding import parse_parts
from server.clips.octet_stream_encoding import check_byte_count, parse_query
from server.clips.request_fields import ClipRequest, Offered, checked
from server.clips.upload import Upload
from server.errors import TooLargeError, UnsupportedMediaError, shown

_DEFAULT_TYPE = "application/octet-stream"


class ClipReader(Protocol):
    """A body that is to become a clip: ``check``, ``read`` and ``decode`` are each called once, in this order."""

    def check(self) -> None:
        """Raises RequestError for what is wrong by the header alone."""
        ...

    async def read(self) -> None:
        """Read the body; raises RequestError."""
        ...

    async def decode(self) -> tuple[ClipRequest, Clip]:
        """Return the clip and what is asked of it, and free everything else. Raises RequestError."""
        ...


@dataclass(frozen=True, slots=True)
class Decoding:
    """An upload, the model that its clip is for, how it can be answered, and what decoding may use.

    ``read_before``: the body, if it has been read already; its reader takes it out, so that nothing else keeps it.
    """

    upload: Upload
    model: Model
    threads: DecodeThreads
    max_clip_bytes: int
    offered: Offered
    read_before: list[bytearray] = field(default_factory=list)

    @property
    def frames(self) -> int:
        return self.model.manifest.frames

    def allocate(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        """Memory of the engine for the frames; raises TooLargeError when the engine has none for this size."""
        try:
            return self.model.allocate(height, width)
        except ClipTooLargeError as error:
            raise TooLargeError(error.message, field="frames") from None


def clip_reader_for(decoding: Decoding) -> ClipReader:
    """The reader for the content type of the upload; raises UnsupportedMediaError."""
    kind = decoding.upload.content_type.partition(";")[0].strip().lower() or _DEFAULT_TYPE
    if kind not in ENCODINGS:
        accepted = ", ".join(ENCODINGS)
        raise UnsupportedMediaError(f"Content-Type is {shown(kind)}; accepted: {accepted}", field="Content-Type")
    return ENCODINGS[kind](decoding)


class _WholeBody:
    """Reads the body to its end, then parses and decodes it in a thread."""

    def __init__(self, decoding: Decoding, parse: Callable[[bytearray], tuple[ClipRequest, Frames]]) -> None:
        self._decoding = decoding
        self._parse = parse
        self._body = bytearray()

    def check(self) -> None:
        self._decoding.upload.check_length()

    async def read(self) -> None:
        before = self._decoding.read_before
        self._body = before.pop() if before else await self._decoding.upload.read()

    async def decode(self) -> tuple[ClipRequest, Clip]:
        body, self._body = self._body, bytearray()
        return await self._decoding.threads.run(self._decode, body, lease=self._decoding.upload.lease)

    def _decode(self, body: bytearray) -> Steps[tuple[ClipRequest, Clip]]:
        decoding = self._decoding
        try:
            asked, frames = self._parse(body)
            clip = yield from decode_clip(frames, asked, self._allocate, decoding.max_clip_bytes, decoding.threads)
            return asked, clip
        finally:
            decoding.upload.memory.drop(len(body))

    def _allocate(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        decoding = self._decoding
        decoding.upload.memory.add(decoding.frames * height * width * 3)
        return decoding.allocate(height, width)


class _PackedPixels:
    """Reads the pixels straight into the engine's memory, so that nothing is left to decode."""

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self._query = parse_query(decoding.upload.query)
        self._asked = checked(self._query, decoding.offered)
        self._pixels: npt.NDArray[np.uint8] | None = None

    def check(self) -> None:
        decoding, query, upload = self._decoding, self._query, self._decoding.upload
        upload.check_length()
        check_clip_bytes(decoding.frames, query.height, query.width, min(decoding.max_clip_bytes, upload.max_bytes))
        if upload.length is not None:
            self._check_byte_count(upload.length)

    async def read(self) -> None:
        size_bytes = self._decoding.frames * self._query.height * self._query.width * 3
        self._check_byte_count(await self._decoding.upload.read_into(size_bytes, self._memory))

    async def decode(self) -> tuple[ClipRequest, Clip]:
        if self._pixels is None:
            raise RuntimeError("decode was called before read")
        return self._asked, Clip(self._pixels, self._asked.pixel_format)

    def _memory(self, _: int) -> memoryview:
        self._pixels = self._decoding.allocate(self._query.height, self._query.width)
        return self._pixels.data.cast("B")

    def _check_byte_count(self, sent: int) -> None:
        check_byte_count(sent, self._decoding.frames, self._query.height, self._query.width)


def _json(decoding: Decoding) -> ClipReader:
    return _WholeBody(decoding, lambda body: parse_json(body, frames=decoding.frames, offered=decoding.offered))


def _multipart(decoding: Decoding) -> ClipReader:
    content_type = decoding.upload.content_type
    return _WholeBody(
        decoding, lambda body: parse_parts(body, content_type, frames=decoding.frames, offered=decoding.offered)
    )


ENCODINGS: dict[str, Callable[[Decoding], ClipReader]] = {
    JSON: _json,
    OCTET_STREAM: _PackedPixels,
    MULTIPART: _multipart,
}
