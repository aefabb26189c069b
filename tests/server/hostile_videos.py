"""Video files that were damaged on purpose, for what decodes them."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator

import av
import numpy as np

FORMATS = {
    "mp4": ("libx264", "yuv420p"),
    "matroska": ("libx264", "yuv420p"),
    "webm": ("libvpx", "yuv420p"),
    "avi": ("mjpeg", "yuvj420p"),
    "mpegts": ("mpeg2video", "yuv420p"),
    "gif": ("gif", "rgb8"),
}
_MOST_FLIPPED = 40


def sound_video(container_format: str, frames: int = 20, size: int = 64) -> bytes:
    """A video of noise and movement in that container."""
    codec, pixels = FORMATS[container_format]
    rng = np.random.default_rng(7)
    data = io.BytesIO()
    with av.open(data, "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = size
        stream.pix_fmt = pixels
        for number in range(frames):
            frame = rng.integers(0, 40, (size, size, 3), np.uint8)
            frame[number : number + 16, 8:40] = 220
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return data.getvalue()


def hostile_videos(rng: random.Random) -> Iterator[bytes]:
    """Without end: sound videos with flipped bytes, cut, spliced with another, shuffled, or with wrong sizes."""
    sound = [sound_video(name) for name in FORMATS]
    damages = (_flipped, _cut, _spliced, _with_huge_numbers, _shuffled)
    while True:
        yield rng.choice(damages)(rng.choice(sound), rng.choice(sound), rng)


def _flipped(video: bytes, _: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(video)
    # Half of the damages are in the header, on which most depends.
    end = rng.choice((min(600, len(damaged)), len(damaged)))
    for _ in range(rng.randint(1, _MOST_FLIPPED)):
        damaged[rng.randrange(end)] = rng.randrange(256)
    return bytes(damaged)


def _cut(video: bytes, _: bytes, rng: random.Random) -> bytes:
    return video[: rng.randrange(len(video))]


def _spliced(video: bytes, other: bytes, rng: random.Random) -> bytes:
    return video[: rng.randrange(len(video))] + other[rng.randrange(len(other)) :]


def _with_huge_numbers(video: bytes, _: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(video)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(damaged) - 8)
        damaged[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x01"))
    return bytes(damaged)


def _shuffled(video: bytes, _: bytes, rng: random.Random) -> bytes:
    size = rng.choice((16, 188, 1000))
    pieces = [video[at : at + size] for at in range(0, len(video), size)]
    rng.shuffle(pieces)
    return b"".join(pieces)
