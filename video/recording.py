"""A video file: opened, measured, and decoded into frames with their times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from sampling.timeline import Timed, Timeline
from video.errors import VideoUnreadableError
from video.streams import decoded, frame_rate, time_base, video_stream

HINT = "give the path of a video file"


class VideoFile:
    """An open video file, which can be read once; ``name`` stands for it in messages."""

    def __init__(self, path: str, name: str, container: InputContainer, stream: VideoStream) -> None:
        self._path = path
        self._name = name
        self._container = container
        self._stream = stream

    @property
    def stated_length_s(self) -> float | None:
        """The length in seconds as the container states it; ``None`` if it does not."""
        duration_us: int | None = self._container.duration
        return duration_us / av.time_base if duration_us and duration_us > 0 else None

    def length_s(self, limit_s: float) -> float:
        """The length in seconds, but at most ``limit_s``.

        Opens the file a second time and reads its packets without decoding them, because the duration in a
        container is often missing (recordings of a browser) or wrong (interrupted recordings).
        """
        with translated_errors(self._name), open_container(self._path, self._name) as (container, stream):
            return _span_s(container.demux(stream), stream, limit_s)

    @property
    def frames_per_s(self) -> float:
        """The mean rate of the frames as the container states it."""
        return float(frame_rate(self._stream))

    def count_frames(self) -> int:
        """The number of frames; opens the file a second time and reads its packets without decoding them."""
        with translated_errors(self._name), open_container(self._path, self._name) as (container, stream):
            return sum(1 for packet in container.demux(stream) if packet.size and not packet.is_discard)

    def frames(self) -> Iterator[Timed[av.VideoFrame]]:
        """Decode the whole file; times never decrease.

        Damaged packets are skipped and counted in a warning. Raises VideoUnreadableError if reading fails.
        """
        timeline = Timeline(time_base(self._stream), self._start_s(), float(1 / frame_rate(self._stream)))
        with translated_errors(self._name):
            for image in decoded(self._name, self._container.demux(self._stream)):
                yield Timed(*timeline.place(image.pts, image.duration), image)

    def _start_s(self) -> float | None:
        # PyAV's type stubs say int, but raw streams have no start time.
        start_us: int | None = self._container.start_time
        return None if start_us is None else start_us / av.time_base


@contextmanager
def open_recording(path: str, name: str, threads: int = 0) -> Iterator[VideoFile]:
    """Open a video file for reading with ``threads`` decoder threads (0: as many as the machine has cores).

    Raises VideoUnreadableError or NoVideoError.
    """
    with open_container(path, name) as (container, stream):
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        yield VideoFile(path, name, container, stream)


@contextmanager
def open_container(path: str, name: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video file, and choose its video stream, for reading packets.

    Raises VideoUnreadableError or NoVideoError.
    """
    with translated_errors(name):
        # With "file:", FFmpeg does not mistake a colon in the name for a protocol.
        container = av.open(f"file:{path}", metadata_errors="ignore")
    with container:
        yield container, video_stream(name, container)


@contextmanager
def translated_errors(name: str) -> Iterator[None]:
    """Translate FFmpeg's errors into VideoUnreadableError."""
    try:
        yield
    except FFmpegError as error:
        reason = (error.strerror or str(error)).lower()
        raise VideoUnreadableError(f"cannot read {name}: {reason}", HINT) from error


def _span_s(packets: Iterator[Packet[VideoStream]], stream: VideoStream, limit_s: float) -> float:
    ticks_s = time_base(stream)
    start = end = None
    for packet in packets:
        if not packet.size or packet.is_discard:
            continue
        ticks = packet.duration or int(1 / (frame_rate(stream) * ticks_s))
        shown = packet.pts if packet.pts is not None else end or 0
        start = shown if start is None else min(start, shown)
        end = shown + ticks if end is None else max(end, shown + ticks)
        if (end - start) * ticks_s >= limit_s:
            return limit_s
    return 0.0 if start is None or end is None else float((end - start) * ticks_s)
