"""From a request's body to a clip in the engine's memory: one way for each encoding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from aiohttp import hdrs

from engines.clip import Clip
from engines.engine import Engine
from engines.errors import UnsupportedMediaError
from server.clips.decode import Frames, check_clip_bytes, decode_clip
from server.clips.decode_threads import Workers
from server.clips.infer_request import JSON, MULTIPART, OCTET_STREAM
from server.clips.json_encoding import parse_json
from server.clips.multipart_encoding import parse_parts
from server.clips.octet_stream_encoding import check_byte_count, parse_query
from server.clips.request_fields import Asked, checked
from server.http.request_body import Body


class Intake(Protocol):
    """A body that is to become a clip: ``check``, ``read`` and ``decode`` it, each once, in this order."""

    def check(self) -> None:
        """Raises RequestError for what the header alone tells to be wrong."""
        ...

    async def read(self) -> None:
        """The body, as far as it has to be known to be a clip that takes a place; raises RequestError."""
        ...

    async def decode(self) -> tuple[Asked, Clip]:
        """The clip and what is asked of it; nothing else is held any more. Raises RequestError."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """A body, the engine that its clip is for, and what it may take to decode it."""

    body: Body
    engine: Engine
    workers: Workers
    max_clip_bytes: int

    @property
    def frames(self) -> int:
        return self.engine.manifest.frames

    @property
    def labels(self) -> int:
        return len(self.engine.manifest.labels)


def intake_of(source: Source) -> Intake:
    """As the content type says; raises UnsupportedMediaError."""
    kind = source.body.request.content_type
    if kind not in ENCODINGS:
        raise UnsupportedMediaError(f"Content-Type is {kind}; accepted: {', '.join(ENCODINGS)}", field="Content-Type")
    return ENCODINGS[kind](source)


class _WholeBody:
    """Read to its end, then parsed and decoded in a worker thread."""

    def __init__(self, source: Source, parse: Callable[[bytearray], tuple[Asked, Frames]]) -> None:
        self._source = source
        self._parse = parse
        self._body = bytearray()

    def check(self) -> None:
        self._source.body.check_length()

    async def read(self) -> None:
        self._body = await self._source.body.read()

    async def decode(self) -> tuple[Asked, Clip]:
        body, self._body = self._body, bytearray()
        try:
            return await self._source.workers.run(self._decode, body)
        finally:
            self._source.body.holding.drop(len(body))

    def _decode(self, body: bytearray) -> tuple[Asked, Clip]:
        source = self._source
        asked, frames = self._parse(body)
        return asked, decode_clip(frames, asked, self._allocate, source.max_clip_bytes, source.workers.for_each)

    def _allocate(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        source = self._source
        source.body.holding.add(source.frames * height * width * 3)
        return source.engine.allocate(height, width)


class _PackedPixels:
    """Written into the engine's memory as they come; there is nothing left to decode then."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._query = parse_query(source.body.request.query.items())
        self._asked = checked(self._query, source.labels)
        self._pixels: npt.NDArray[np.uint8] | None = None

    def check(self) -> None:
        source, query = self._source, self._query
        source.body.check_length()
        check_clip_bytes(source.frames, query.height, query.width, min(source.max_clip_bytes, source.body.max_bytes))
        if source.body.length is not None:
            self._check_byte_count(source.body.length)

    async def read(self) -> None:
        size_bytes = self._source.frames * self._query.height * self._query.width * 3
        self._check_byte_count(await self._source.body.read_into(size_bytes, self._memory))

    async def decode(self) -> tuple[Asked, Clip]:
        if self._pixels is None:
            raise RuntimeError("decoded before it was read")
        return self._asked, Clip(self._pixels, self._asked.pixel_format)

    def _memory(self, _: int) -> memoryview:
        self._pixels = self._source.engine.allocate(self._query.height, self._query.width)
        return self._pixels.data.cast("B")

    def _check_byte_count(self, sent: int) -> None:
        check_byte_count(sent, self._source.frames, self._query.height, self._query.width)


def _json(source: Source) -> Intake:
    return _WholeBody(source, lambda body: parse_json(body, frames=source.frames, labels=source.labels))


def _multipart(source: Source) -> Intake:
    content_type = source.body.request.headers[hdrs.CONTENT_TYPE]
    return _WholeBody(source, lambda body: parse_parts(body, content_type, frames=source.frames, labels=source.labels))


ENCODINGS: dict[str, Callable[[Source], Intake]] = {JSON: _json, OCTET_STREAM: _PackedPixels, MULTIPART: _multipart}
