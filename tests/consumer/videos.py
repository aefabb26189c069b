"""Real videos whose frames carry their number."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from consumer.client.encodings import Picture

# A frame's number is drawn as this many black or white columns, so that it survives codecs and shrinking.
BITS = 8
SOUND_HZ = 48_000


def at(fps: float, seconds: float, start_s: float = 0.0) -> list[float]:
    """Times of a steady video's frames."""
    return [start_s + index / fps for index in range(round(fps * seconds))]


def write_video(
    path: Path,
    times_s: Iterable[float],
    *,
    codec: str = "libx264",
    size: tuple[int, int] = (128, 96),
    time_base: Fraction = Fraction(1, 90_000),
    rate: int = 30,
    sound_s: float = 0.0,
) -> Path:
    """Write a video whose frame ``i`` is shown at ``times_s[i]`` and carries the number ``i`` modulo 256."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = time_base
        sound = container.add_stream("aac", rate=SOUND_HZ) if sound_s else None
        for number, time_s in enumerate(times_s):
            frame = numbered_frame(number, size)
            frame.pts, frame.time_base = round(time_s / time_base), time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            _write_silence(container, sound, sound_s)
    return path


def write_sound(path: Path, seconds: float = 1.0) -> Path:
    """Write a file with sound only."""
    with av.open(path, "w") as container:
        _write_silence(container, container.add_stream("aac", rate=SOUND_HZ), seconds)
    return path


def damage(path: Path, which: slice) -> None:
    """Overwrite some of the file's video packets with zeros."""
    with av.open(path) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.pos is not None]
    content = bytearray(path.read_bytes())
    for offset, size in packets[which]:
        content[offset : offset + size] = bytes(size)
    path.write_bytes(content)


def numbered_frame(number: int, size: tuple[int, int] = (128, 96)) -> av.VideoFrame:
    """A frame of ``size`` (width, height) that carries ``number``."""
    width, height = size
    bits = np.array([255 * (number >> bit & 1) for bit in range(BITS)], dtype=np.uint8)
    columns = bits[np.arange(width) * BITS // width]
    pixels = np.broadcast_to(columns[None, :, None], (height, width, 3))
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")


def number_of(picture: Picture) -> int:
    """The number that a picture carries."""
    height, width, _ = picture.shape
    middles = [width * (2 * bit + 1) // (2 * BITS) for bit in range(BITS)]
    return sum(int(picture[height // 2, middle].mean() > 127) << bit for bit, middle in enumerate(middles))


def _write_silence(container: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    for start in range(0, int(SOUND_HZ * seconds), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_HZ, start, Fraction(1, SOUND_HZ)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())
