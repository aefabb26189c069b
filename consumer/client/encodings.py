"""Encodes a clip as a request body, in one of the three encodings that the service accepts."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
import pybase64
import simplejpeg
from numpy.typing import NDArray
from yarl import URL

from commandline.hosts import is_loopback
from consumer.errors import ClipError

Picture = NDArray[np.uint8]
"""One frame's pixels: uint8 ``[height, width, 3]``, contiguous."""

Encoding = Literal["raw", "jpeg", "json"]
PixelFormat = Literal["RGB", "BGR"]

JPEG_QUALITY = 90

FRAME_BREAK = b'","'
JSON_END = b'"]}'


@dataclass(frozen=True, slots=True)
class Options:
    """The fields of a request beside its frames; the service uses its defaults for those that are ``None``."""

    clip_id: str
    top_k: int | None = None
    pixel_format: PixelFormat = "RGB"
    jpeg_quality: int = JPEG_QUALITY
    head: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    model: str | None = None

    @property
    def query(self) -> dict[str, str]:
        """The model, by which a service of several knows at once for which of them the body is."""
        return {} if self.model is None else {"model": self.model}

    @property
    def chosen(self) -> dict[str, str | int]:
        """The fields that are the same in every encoding, without those that are ``None``."""
        fields = {
            "clip_id": self.clip_id,
            "top_k": self.top_k,
            "head": self.head,
            "encoding_format": self.encoding_format,
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Body:
    """A request's query, content type, exact size and content; each call of ``chunks()`` starts from the beginning."""

    query: dict[str, str]
    content_type: str
    size_bytes: int
    chunks: Callable[[], Iterator[bytes | memoryview]]

    @property
    def headers(self) -> dict[str, str]:
        """The headers; the length lets the service refuse or allocate before it reads the body."""
        return {"Content-Type": self.content_type, "Content-Length": str(self.size_bytes)}


def encode_clip(pictures: Sequence[Picture], encoding: Encoding, options: Options) -> Body:
    """Encode the clip; ``jpeg`` takes a millisecond or more per frame, the other encodings almost no time.

    Raises:
        ClipError: the pictures are not uint8 ``[height, width, 3]``, all of one size.
    """
    check_pictures(pictures)
    return ENCODERS[encoding](pictures, options)


def default_encoding(url: str) -> Encoding:
    """``raw`` for loopback addresses, where bandwidth is free; ``jpeg``, a tenth of the bytes, for all others."""
    return "raw" if is_loopback(URL(url).host or "") else "jpeg"


def check_pictures(pictures: Sequence[Picture]) -> None:
    """Raise ClipError unless the pictures form a valid clip."""
    hint = "give uint8 arrays [height, width, 3], all of one size"
    if not len(pictures):
        raise ClipError("the clip has no frames", hint)
    for index, picture in enumerate(pictures):
        if picture.dtype != "uint8" or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise ClipError(f"frame {index} is {picture.dtype} {list(picture.shape)}", hint)
        if picture.shape != pictures[0].shape:
            raise ClipError(f"frame {index} is {list(picture.shape)}, frame 0 is {list(pictures[0].shape)}", hint)


def _json(pictures: Sequence[Picture], options: Options) -> Body:
    """Encode frame by frame while the body is sent, so that the whole base64 text is never in memory."""
    height, width, _ = pictures[0].shape
    fields = {"width": width, "height": height, "format": options.pixel_format} | options.chosen
    head = msgspec.json.encode(fields)[:-1] + b',"frames":["'

    def chunks() -> Iterator[bytes]:
        lead = head
        for picture in pictures:
            yield lead
            yield pybase64.b64encode(picture.data)
            lead = FRAME_BREAK
        yield JSON_END

    breaks = len(FRAME_BREAK) * (len(pictures) - 1)
    size_bytes = len(head) + 4 * height * width * len(pictures) + breaks + len(JSON_END)
    return Body(options.query, "application/json", size_bytes, chunks)


def _raw(pictures: Sequence[Picture], options: Options) -> Body:
    height, width, _ = pictures[0].shape
    query = (
        {"width": str(width), "height": str(height), "format": options.pixel_format} | _texts(options) | options.query
    )

    def chunks() -> Iterator[memoryview]:
        for picture in pictures:
            yield picture.data.cast("B")

    return Body(query, "application/octet-stream", sum(picture.nbytes for picture in pictures), chunks)


def _jpeg(pictures: Sequence[Picture], options: Options) -> Body:
    boundary = secrets.token_hex(16)
    parts = [_part(boundary, name, text.encode()) for name, text in _texts(options).items()]
    parts += [_part(boundary, "frames", image, f"{i}.jpg") for i, image in enumerate(_images(pictures, options))]
    parts.append(f"--{boundary}--\r\n".encode())
    content_type = f"multipart/form-data; boundary={boundary}"
    return Body(options.query, content_type, sum(map(len, parts)), lambda: iter(parts))


def _part(boundary: str, name: str, content: bytes, file_name: str | None = None) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'
    if file_name is not None:
        head += f'; filename="{file_name}"\r\nContent-Type: image/jpeg'
    return f"{head}\r\n\r\n".encode() + content + b"\r\n"


def _images(pictures: Sequence[Picture], options: Options) -> Iterator[bytes]:
    return (encode_image(picture, options.pixel_format, options.jpeg_quality) for picture in pictures)


def encode_image(picture: Picture, pixel_format: PixelFormat, quality: int) -> bytes:
    """The picture as a JPEG; takes a millisecond or more."""
    return bytes(simplejpeg.encode_jpeg(picture, quality=quality, colorspace=pixel_format, colorsubsampling="420"))


def _texts(options: Options) -> dict[str, str]:
    return {name: str(value) for name, value in options.chosen.items()}


ENCODERS: dict[Encoding, Callable[[Sequence[Picture], Options], Body]] = {"json": _json, "raw": _raw, "jpeg": _jpeg}
