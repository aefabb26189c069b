"""What a decoder process is told to do, and what it answers: the protocol between it and the process of the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

import msgspec

from engines.manifest import Manifest

_LENGTH_BYTES = 4


class Views(msgspec.Struct, frozen=True, kw_only=True):
    """``segments`` clips of a video, spread over its length, each seen in ``crops`` squares along the longer side."""

    segments: int
    crops: int


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Cut the video file ``path`` into windows of ``frames`` frames at ``fps`` per second, ``stride`` frames apart.

    ``path`` may be a directory of images, which are taken for frames at ``fps``. With ``views``, the windows are those
    of ``archive.decoding.views`` instead.
    ``name`` stands for the file in messages. Frames are shrunk to the short edge ``resize`` and cropped to ``crop``
    pixels. Windows do not span a gap of more than ``max_gap_s`` seconds (None: the length of a window). ``threads``
    decode it (0: as many as there are cores).
    """

    path: str
    name: str
    frames: int
    fps: float
    stride: int
    resize: int
    crop: int
    max_gap_s: float | None = None
    threads: int = 0
    views: Views | None = None


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How videos are sampled: ``fps`` frames per second; windows start ``stride`` frames apart (None: half of one).

    ``max_gap_s`` and ``views`` are as in ``Job``.
    """

    fps: float = 3.0
    stride: int | None = None
    max_gap_s: float | None = None
    views: Views | None = None

    def job(self, path: str, name: str, manifest: Manifest, threads: int = 0) -> Job:
        """The job for the video file ``path`` and the model of ``manifest``."""
        return Job(
            path=path,
            name=name,
            frames=manifest.frames,
            fps=self.fps,
            stride=self.stride or max(1, manifest.frames // 2),
            resize=manifest.preprocessing.resize,
            crop=manifest.preprocessing.crop,
            max_gap_s=self.max_gap_s,
            threads=threads,
            views=self.views,
        )


class Found(msgspec.Struct, frozen=True, tag="window"):
    """A window; its pixels follow: uint8 [frames, crop, crop, 3], RGB. The fields are those of ``DecodedWindow``."""

    start_s: float
    end_s: float
    changes: tuple[float, ...]
    of_s: float | None


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """The video has ended; every window was sent."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The video cannot be read, or not to its end."""

    what: str
    hint: str


class Logged(msgspec.Struct, frozen=True, tag="logged"):
    """A log record of the decoder."""

    level: int
    message: str
    fields: dict[str, str | int | float]


Message = Found | Ended | Failed | Logged

_messages = msgspec.json.Decoder(Message)


def write_message(stream: BinaryIO, message: Message, pixels: memoryview | None = None) -> None:
    """Write ``message``, then ``pixels``, which only ``Found`` has."""
    text = msgspec.json.encode(message)
    stream.write(len(text).to_bytes(_LENGTH_BYTES, "little") + text)
    if pixels is not None:
        stream.write(pixels)
    stream.flush()


def read_message(read: Callable[[int], bytes]) -> Message | None:
    """The next message; ``read(count)`` gives so many bytes, or none where the decoder has ended, as this does then."""
    text = read(int.from_bytes(read(_LENGTH_BYTES), "little"))
    return _messages.decode(text) if text else None
