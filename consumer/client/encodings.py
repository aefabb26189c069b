"""The body: a clip as the bytes of a request, in one of the three forms that the service takes."""

from __future__ import annotations

import ipaddress
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
    """What is asked beside the frames; ``top_k`` of ``None`` leaves it to the service."""

    clip_id: str
    top_k: int | None = None
    pixel_format: PixelFormat = "RGB"
    jpeg_quality: int = JPEG_QUALITY


@dataclass(frozen=True, slots=True)
class Body:
    """A request's query, content type, exact length and content; ``chunks()`` can be had again to send it again."""

    query: dict[str, str]
    content_type: str
    size_bytes: int
    chunks: Callable[[], Iterator[bytes | memoryview]]

    @property
    def headers(self) -> dict[str, str]:
        """A known length lets the service refuse or allocate at once."""
        return {"Content-Type": self.content_type, "Content-Length": str(self.size_bytes)}


def encode_clip(pictures: Sequence[Picture], encoding: Encoding, options: Options) -> Body:
    """Make the body; for ``jpeg`` that takes a millisecond or more a frame, for the others next to nothing.

    Raises:
        ClipError: the pictures are not uint8 ``[height, width, 3]``, all of one size.
    """
    check_pictures(pictures)
    return ENCODERS[encoding](pictures, options)


def usual_encoding(url: str) -> Encoding:
    """Octet-stream on loopback, where bytes cost nothing; JPEG, a tenth of the bytes, over a network."""
    host = URL(url).host or ""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost" or host.endswith(".localhost")
    return "raw" if loopback else "jpeg"


def check_pictures(pictures: Sequence[Picture]) -> None:
    """Raise ClipError for what cannot be sent as a clip."""
    cure = "give uint8 arrays [height, width, 3], all of one size"
    if not len(pictures):
        raise ClipError("the clip has no frames", cure)
    for index, picture in enumerate(pictures):
        if picture.dtype != "uint8" or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise ClipError(f"frame {index} is {picture.dtype} {list(picture.shape)}", cure)
        if picture.shape != pictures[0].shape:
            raise ClipError(f"frame {index} is {list(picture.shape)}, frame 0 is {list(pictures[0].shape)}", cure)


def _json(pictures: Sequence[Picture], options: Options) -> Body:
    """Made frame by frame while it is sent: the base64 never exists as a whole."""
    height, width, _ = pictures[0].shape
    fields: dict[str, object] = {"clip_id": options.clip_id, "width": width, "height": height}
    fields["format"] = options.pixel_format
    if options.top_k is not None:
        fields["top_k"] = options.top_k
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
    return Body({}, "application/json", size_bytes, chunks)


def _raw(pictures: Sequence[Picture], options: Options) -> Body:
    height, width, _ = pictures[0].shape
    query = {"width": str(width), "height": str(height), "format": options.pixel_format} | _texts(options)

    def chunks() -> Iterator[memoryview]:
        for picture in pictures:
            yield picture.data.cast("B")

    return Body(query, "application/octet-stream", sum(picture.nbytes for picture in pictures), chunks)


def _jpeg(pictures: Sequence[Picture], options: Options) -> Body:
    boundary = secrets.token_hex(16)
    parts = [_part(boundary, name, text.encode()) for name, text in _texts(options).items()]
    parts += [_part(boundary, "frames", _image(picture, options), f"{i}.jpg") for i, picture in enumerate(pictures)]
    parts.append(f"--{boundary}--\r\n".encode())
    content_type = f"multipart/form-data; boundary={boundary}"
    return Body({}, content_type, sum(map(len, parts)), lambda: iter(parts))


def _part(boundary: str, name: str, content: bytes, file_name: str | None = None) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'
    if file_name is not None:
        head += f'; filename="{file_name}"\r\nContent-Type: image/jpeg'
    return f"{head}\r\n\r\n".encode() + content + b"\r\n"


def _image(picture: Picture, options: Options) -> bytes:
    return bytes(
        simplejpeg.encode_jpeg(
            picture, quality=options.jpeg_quality, colorspace=options.pixel_format, colorsubsampling="420"
        )
    )


def _texts(options: Options) -> dict[str, str]:
    top_k = {} if options.top_k is None else {"top_k": str(options.top_k)}
    return {"clip_id": options.clip_id} | top_k


ENCODERS: dict[Encoding, Callable[[Sequence[Picture], Options], Body]] = {"json": _json, "raw": _raw, "jpeg": _jpeg}
