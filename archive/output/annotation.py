"""Writes an MP4 of a video with its actions in the picture; the sound is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from archive.segments import Segment
from sampling.timeline import Timed
from video.recording import open_recording, translated_errors

# Fine enough for every frame rate, and exact for the usual ones.
_TIME_BASE = Fraction(1, 90_000)
_NOMINAL_FPS = 30
_FONT = cv2.FONT_HERSHEY_SIMPLEX
# Of the height of the picture.
_LINE_SHARE = 0.06
_FONT_HEIGHT_PX = 22
_INK, _GROUND = (255, 255, 255), (0, 0, 0)


def annotate(path: str, name: str, segments: Sequence[Segment], output: Path) -> None:
    """Write the video ``path`` with the actions of ``segments`` to the MP4 file ``output``.

    The picture is H.264 with the times of the original and turned upright. Sound is copied, or encoded as AAC where MP4
    cannot hold it.

    Raises:
        VideoError: ``path`` cannot be read.
    """
    with (
        open_recording(path, name) as recording,
        translated_errors(name),
        av.open(str(output), "w", format="mp4") as target,
        av.open(f"file:{path}", metadata_errors="ignore") as source,
    ):
        frames = recording.frames()
        first = next(frames, None)
        if first is None:
            return
        size = _size(first.frame)
        video = _video_stream(target, size)
        sound = _Sound(source, target)
        for timed in _chained(first, frames):
            sound.mux_until(timed.time_s)
            target.mux(video.encode(_drawn(timed, segments, size)))
        target.mux(video.encode())
        sound.mux_until(float("inf"))


class _Sound:
    """The best sound stream of ``source``, which goes into ``target`` packet by packet."""

    def __init__(self, source: InputContainer, target: OutputContainer) -> None:
        self._target = target
        self._packets: Iterator[Packet[AudioStream]] = iter(())
        self._waiting: Packet[AudioStream] | None = None
        stream = source.streams.best("audio")
        if not isinstance(stream, AudioStream):
            return
        start_us: int | None = source.start_time
        self._start_s = 0.0 if start_us is None else start_us / av.time_base
        self._copies = stream.codec_context.name in target.supported_codecs
        self._packets = source.demux(stream)
        self._stream = (
            target.add_stream_from_template(stream)
            if self._copies
            else target.add_stream("aac", rate=stream.codec_context.sample_rate)
        )
        self._waiting = next(self._packets, None)

    def mux_until(self, time_s: float) -> None:
        """Write the packets up to ``time_s`` seconds of the video, so that a player finds both close to each other."""
        while self._waiting is not None and self._time_s(self._waiting) <= time_s:
            self._write(self._waiting)
            self._waiting = next(self._packets, None)

    def _time_s(self, packet: Packet[AudioStream]) -> float:
        return 0.0 if packet.dts is None else float(packet.dts * packet.time_base) - self._start_s

    def _write(self, packet: Packet[AudioStream]) -> None:
        if not self._copies:
            for frame in packet.decode():
                self._shift(frame)
                self._target.mux(self._stream.encode(frame))
            if packet.dts is None:
                self._target.mux(self._stream.encode(None))
        elif packet.dts is not None:
            shift = round(self._start_s / packet.time_base)
            packet.dts -= shift
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.stream = self._stream
            self._target.mux(packet)

    def _shift(self, frame: av.AudioFrame) -> None:
        if frame.pts is not None:
            frame.pts -= round(self._start_s / cast(Fraction, frame.time_base))


def _chained(first: Timed[av.VideoFrame], rest: Iterator[Timed[av.VideoFrame]]) -> Iterator[Timed[av.VideoFrame]]:
    """All frames with times that rise: an encoder refuses two frames of one time."""
    last_s = -1.0
    yield first
    last_s = first.time_s
    for timed in rest:
        if timed.time_s - last_s >= _TIME_BASE:
            last_s = timed.time_s
            yield timed


def _size(frame: av.VideoFrame) -> tuple[int, int]:
    """Width and height of the upright picture; even, as H.264 needs them."""
    turned = round(frame.rotation / 90) % 2
    width, height = (frame.height, frame.width) if turned else (frame.width, frame.height)
    return max(2, width - width % 2), max(2, height - height % 2)


def _video_stream(target: OutputContainer, size: tuple[int, int]) -> VideoStream:
    stream = target.add_stream("libx264", rate=_NOMINAL_FPS)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = _TIME_BASE
    return stream


def _drawn(timed: Timed[av.VideoFrame], segments: Sequence[Segment], size: tuple[int, int]) -> av.VideoFrame:
    upright = np.rot90(timed.frame.to_ndarray(format="rgb24"), round(timed.frame.rotation / 90))
    picture = _fitted(upright, size)
    shown = [segment for segment in segments if segment.start_s <= timed.time_s < segment.end_s]
    for line, segment in enumerate(shown):
        _write_line(picture, f"{segment.label} ({segment.confidence:.0%})", line)
    frame = av.VideoFrame.from_ndarray(picture, "rgb24")
    frame.pts, frame.time_base = round(timed.time_s / _TIME_BASE), _TIME_BASE
    return frame


def _fitted(picture: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """``picture`` in the size of the video, which a stream may change on its way."""
    width, height = size
    if picture.shape[0] - height in (0, 1) and picture.shape[1] - width in (0, 1):
        return np.ascontiguousarray(picture[:height, :width])
    return cast(npt.NDArray[np.uint8], cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def _write_line(picture: npt.NDArray[np.uint8], text: str, line: int) -> None:
    """Write ``text`` into the picture, as large as its height and width allow."""
    height, width, _ = picture.shape
    row_px = max(8, round(height * _LINE_SHARE))
    scale = 0.7 * row_px / _FONT_HEIGHT_PX
    (text_px, _), _ = cv2.getTextSize(text, _FONT, scale, 1)
    scale *= min(1.0, (width - row_px) / text_px)
    thickness = max(1, round(scale))
    top = row_px * line
    cv2.rectangle(picture, (0, top), (width, top + row_px), _GROUND, cv2.FILLED)
    cv2.putText(picture, text, (row_px // 2, top + round(row_px * 0.75)), _FONT, scale, _INK, thickness, cv2.LINE_AA)
