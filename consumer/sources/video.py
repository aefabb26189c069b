"""The video: decoded frames with their times, of a file or of what is live, read lazily and once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, cast

import av
from av.container import InputContainer
from av.error import InvalidDataError
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from consumer.errors import SourceSilentError, SourceStoppedError, SourceUnreadableError
from consumer.sources.ffmpeg import CURES, Link, frame_rate, opened, readable, time_base
from consumer.sources.source import Source
from sampling.live_timeline import Clock, LiveTimeline
from sampling.timeline import Timed, Timeline

logger = logging.getLogger(__name__)

# A receiver of datagrams that hears nothing this long may hear of another sender next.
DATAGRAM_SILENCE_S = 1.0

# Networks do not hold datagrams back for this long.
OTHER_SENDER_S = 1.0


class Video(Protocol):
    """What frames are read from; one pass."""

    def frames(self) -> Iterator[Timed[av.VideoFrame]]:
        """The frames in presentation order; raises SourceError when there are no more for a bad reason."""
        ...


class Live(Video, Protocol):
    """A video that goes on by itself; see LiveTimeline for ``ahead_s``."""

    @property
    def ahead_s(self) -> float:
        """By how many seconds its frames so far lie later than they were seen."""
        ...


class Recording(Video, Protocol):
    """A video that has an end, and a length that can be asked for before it is read."""

    def length_s(self, limit_s: float) -> float:
        """Seconds of video, or ``limit_s`` if there are at least that many."""
        ...


class VideoFile:
    """An open video file; ``stopped`` makes ``frames()`` raise SourceStoppedError instead of its next frame."""

    def __init__(
        self, source: Source, container: InputContainer, stream: VideoStream, stopped: threading.Event
    ) -> None:
        self._source = source
        self._container = container
        self._stream = stream
        self._stopped = stopped

    def length_s(self, limit_s: float) -> float:
        """Seconds of video in the file, or ``limit_s`` if there are at least that many.

        Reads packets from a second opening of the file without decoding them: containers' own durations are
        missing (recordings of a browser) or wrong (recordings that broke off) too often.
        """
        with opened(self._source, Link()) as (container, stream), readable(self._source, Link().silence_s):
            return _span_s(container.demux(stream), stream, limit_s)

    def frames(self) -> Iterator[Timed[av.VideoFrame]]:
        """Decode the file from its start to its end; times never go back.

        Damaged packets are skipped and counted in a warning. Raises SourceUnreadableError when reading fails.
        """
        timeline = Timeline(time_base(self._stream), self._start_s(), float(1 / frame_rate(self._stream)))
        with readable(self._source, Link().silence_s):
            for image in _decoded(self._source, self._container.demux(self._stream)):
                _check(self._stopped, self._source)
                yield Timed(*timeline.place(image.pts, image.duration), image)

    def _start_s(self) -> float | None:
        # PyAV's stubs promise an int, but raw streams have no start.
        start_us: int | None = self._container.start_time
        return None if start_us is None else start_us / av.time_base


class LiveVideo:
    """One connection to a live source, until it breaks off, falls silent or is ``stopped``."""

    def __init__(
        self,
        source: Source,
        container: InputContainer,
        stream: VideoStream,
        stopped: threading.Event,
        link: Link,
        max_gap_s: float,
    ) -> None:
        self._source = source
        self._container = container
        self._stream = stream
        self._stopped = stopped
        self._link = link
        self._timeline = LiveTimeline(
            time_base(stream),
            float(1 / frame_rate(stream)),
            max_gap_s,
            DATAGRAM_SILENCE_S if source.datagrams else None,
            Clock(),
        )

    @property
    def ahead_s(self) -> float:
        """By how many seconds its frames so far lie later than they were seen."""
        return self._timeline.ahead_s

    def frames(self) -> Iterator[Timed[av.VideoFrame]]:
        """Decode what comes; never ends but by raising SourceError."""
        with readable(self._source, self._link.patience_s(self._source)):
            for image in _decoded(self._source, self._watched()):
                if not image.is_corrupt:
                    time_s, duration_s, starts = self._timeline.place(image.pts)
                    yield Timed(time_s, duration_s, image, starts)
        raise SourceUnreadableError(f"{self._source.name} ended", CURES[self._source.kind])

    def _watched(self) -> Iterator[Packet[VideoStream]]:
        """The video's packets; raises SourceSilentError where only others, sound for instance, come."""
        heard_s, stamped = time.monotonic(), None
        for packet in self._container.demux():
            _check(self._stopped, self._source)
            now_s = time.monotonic()
            if packet.stream_index == self._stream.index:
                heard_s = now_s
                if (stamp_s := self._stamp_s(packet)) is not None:
                    if stamped is not None and abs((stamp_s - stamped[0]) - (now_s - stamped[1])) > OTHER_SENDER_S:
                        # Another sender. Its first key frame may be lost; what is decoded until its next would be a
                        # mixture of both.
                        self._stream.codec_context.flush_buffers()
                    stamped = stamp_s, now_s
                yield cast("Packet[VideoStream]", packet)
            elif now_s - heard_s > self._link.silence_s:
                raise SourceSilentError(self._source.name, self._link.silence_s)

    def _stamp_s(self, packet: Packet[Stream]) -> float | None:
        """The packet's time in seconds, where that tells something of its sender."""
        if packet.dts is None or not self._source.datagrams:
            return None
        return float(packet.dts * time_base(self._stream))


@contextmanager
def open_video(source: Source, stopped: threading.Event | None = None) -> Iterator[VideoFile]:
    """Open a video file for reading; raises SourceUnreadableError or NoVideoError."""
    with opened(source, Link()) as (container, stream):
        stream.thread_type = "AUTO"
        yield VideoFile(source, container, stream, stopped or threading.Event())


@contextmanager
def open_live_video(source: Source, link: Link, max_gap_s: float, stopped: threading.Event) -> Iterator[LiveVideo]:
    """Connect to a live source; raises SourceUnreadableError, SourceSilentError or NoVideoError."""
    with opened(source, link) as (container, stream):
        # Threads by frame, as for files, would hold back as many frames as there are threads.
        stream.thread_type = "SLICE"
        yield LiveVideo(source, container, stream, stopped, link, max_gap_s)


def _check(stopped: threading.Event, source: Source) -> None:
    if stopped.is_set():
        raise SourceStoppedError(source.name)


def _decoded(source: Source, packets: Iterator[Packet[VideoStream]]) -> Iterator[av.VideoFrame]:
    damaged_packets = 0
    try:
        for packet in packets:
            try:
                images = packet.decode()
            except InvalidDataError:
                damaged_packets += 1
                continue
            yield from images
    finally:
        if damaged_packets:
            logger.warning("damaged packets skipped", extra={"source": source.name, "packets": damaged_packets})


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
