"""The video file: decoded frames with their times, read lazily and once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import cast

import av
from av.codec import CodecContext
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from consumer.errors import NoVideoError, SourceStoppedError, SourceUnreadableError
from consumer.timeline import Timed, Timeline

logger = logging.getLogger(__name__)

# FFmpeg "decodes" plain text as a terminal's screen; nobody means that by a video.
TEXT_CODECS = frozenset({"ansi", "bintext", "idf", "xbin"})

UNKNOWN_CODEC = "unknown codec"

# For streams that say nothing at all about their rate: FFmpeg's own assumption for raw video.
ASSUMED_RATE = Fraction(25)


class VideoFile:
    """An open video file. Use :func:`open_video`; ``frames()`` may run in another thread than ``stop()``."""

    def __init__(self, path: str, container: InputContainer, stream: VideoStream) -> None:
        self.path = path
        self._container = container
        self._stream = stream
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Make ``frames()`` raise SourceStoppedError instead of giving its next frame."""
        self._stopped.set()

    def length_s(self, limit_s: float) -> float:
        """Seconds of video in the file, or ``limit_s`` if there are at least that many.

        Reads packets from a second opening of the file without decoding them: containers' own durations are
        missing (recordings of a browser) or wrong (recordings that broke off) too often.
        """
        with _opened(self.path) as (container, stream), _readable(self.path):
            return _span_s(container.demux(stream), stream, limit_s)

    def frames(self) -> Iterator[Timed[av.VideoFrame]]:
        """Decode the file from its start to its end; times never go back.

        Damaged packets are skipped and counted in a warning. Raises SourceUnreadableError when reading fails.
        """
        timeline = Timeline(_time_base(self._stream), self._start_s(), float(1 / _rate(self._stream)))
        damaged_packets = 0
        with _readable(self.path):
            for packet in self._container.demux(self._stream):
                try:
                    images = packet.decode()
                except InvalidDataError:
                    damaged_packets += 1
                    continue
                for image in images:
                    if self._stopped.is_set():
                        raise SourceStoppedError(self.path)
                    yield Timed(*timeline.place(image.pts, image.duration), image)
        if damaged_packets:
            fields = {"source": self.path, "packets": damaged_packets}
            logger.warning("damaged packets skipped", extra=fields)

    def _start_s(self) -> float | None:
        # PyAV's stubs promise an int, but raw streams have no start.
        start_us: int | None = self._container.start_time
        return None if start_us is None else start_us / av.time_base


@contextmanager
def open_video(path: str) -> Iterator[VideoFile]:
    """Open ``path`` for reading; raises SourceUnreadableError or NoVideoError."""
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        yield VideoFile(path, container, stream)


@contextmanager
def _opened(path: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    with _readable(path):
        # "file:" keeps FFmpeg from taking a colon in the name for a protocol.
        container = av.open(f"file:{path}", metadata_errors="ignore")
    with container:
        yield container, _moving_picture(path, container)


@contextmanager
def _readable(path: str) -> Iterator[None]:
    try:
        yield
    except FFmpegError as error:
        reason = (error.strerror or str(error)).lower()
        raise SourceUnreadableError(f"cannot read {path}: {reason}", "give the path of a video file") from error


def _moving_picture(path: str, container: InputContainer) -> VideoStream:
    stream = container.streams.best("video")
    if isinstance(stream, VideoStream) and _moves(stream):
        return stream
    found = ", ".join(f"{each.type} ({_codec(each)})" for each in container.streams) or "nothing"
    cure = "give a file with a video stream that FFmpeg can decode"
    raise NoVideoError(f"no video in {path}, found only: {found}", cure)


def _moves(stream: VideoStream) -> bool:
    # Cover art is a video stream too, of one picture.
    is_cover = bool(stream.disposition & Disposition.attached_pic)
    return not is_cover and _codec(stream) not in TEXT_CODECS | {UNKNOWN_CODEC}


def _codec(stream: Stream) -> str:
    # None where FFmpeg has no decoder, whatever PyAV's stubs promise.
    codec: CodecContext | None = stream.codec_context
    return UNKNOWN_CODEC if codec is None else codec.name


def _span_s(packets: Iterator[Packet[VideoStream]], stream: VideoStream, limit_s: float) -> float:
    time_base = _time_base(stream)
    start = end = None
    for packet in packets:
        if not packet.size or packet.is_discard:
            continue
        ticks = packet.duration or int(1 / (_rate(stream) * time_base))
        shown = packet.pts if packet.pts is not None else end or 0
        start = shown if start is None else min(start, shown)
        end = shown + ticks if end is None else max(end, shown + ticks)
        if (end - start) * time_base >= limit_s:
            return limit_s
    return 0.0 if start is None or end is None else float((end - start) * time_base)


def _rate(stream: VideoStream) -> Fraction:
    return stream.average_rate or stream.guessed_rate or ASSUMED_RATE


def _time_base(stream: VideoStream) -> Fraction:
    # Only streams that are written, and not opened yet, have none.
    return cast(Fraction, stream.time_base)
