"""Decodes the frames of files and live sources and gives them their times."""

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
from consumer.sources.ffmpeg import HINTS, Link, frame_rate, open_container, time_base, translated_errors
from consumer.sources.footage import Footage
from consumer.sources.source import Source
from sampling.live_timeline import Clock, LiveTimeline
from sampling.timeline import Timed, Timeline

logger = logging.getLogger(__name__)

# After a silence this long, the next datagrams may come from another sender.
DATAGRAM_SILENCE_S = 1.0

# A larger difference between time stamps and arrival times means another sender: no network delays packets so long.
OTHER_SENDER_S = 1.0


class Video(Protocol):
    """A sequence of frames that can be read once."""

    def frames(self) -> Iterator[Timed[av.VideoFrame]]:
        """Yield the frames in presentation order; raises SourceError if reading fails."""
        ...


class Live(Video, Protocol):
    """The video of a live source."""

    @property
    def ahead_s(self) -> float:
        """By how many seconds the times of the frames so far are too late; see LiveTimeline."""
        ...


class Recording(Video, Protocol):
    """A video with an end, whose length is known before it is read."""

    @property
    def stated_length_s(self) -> float | None:
        """The length in seconds as its container states it, which may be wrong; ``None`` if it does not."""
        ...

    def length_s(self, limit_s: float) -> float:
        """The length in seconds, but at most ``limit_s``."""
        ...


class VideoFile:
    """An open video file; once ``stopped`` is set, ``frames()`` raises SourceStoppedError."""

    def __init__(
        self, source: Source, container: InputContainer, stream: VideoStream, stopped: threading.Event
    ) -> None:
        self._source = source
        self._container = container
        self._stream = stream
        self._stopped = stopped

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
        with (
            open_container(self._source, Link()) as (container, stream),
            translated_errors(self._source, Link().silence_s),
        ):
            return _span_s(container.demux(stream), stream, limit_s)

    def frames(self) -> Iterator[Timed[av.VideoFrame]]:
        """Decode the whole file; times never decrease.

        Damaged packets are skipped and counted in a warning. Raises SourceUnreadableError if reading fails.
        """
        timeline = Timeline(time_base(self._stream), self._start_s(), float(1 / frame_rate(self._stream)))
        with translated_errors(self._source, Link().silence_s):
            for image in _decoded(self._source, self._container.demux(self._stream)):
                _check(self._stopped, self._source)
                yield Timed(*timeline.place(image.pts, image.duration), image)

    def _start_s(self) -> float | None:
        # PyAV's type stubs say int, but raw streams have no start time.
        start_us: int | None = self._container.start_time
        return None if start_us is None else start_us / av.time_base


class LiveVideo:
    """One connection to a live source; ends when it breaks, when it is silent or when ``stopped`` is set."""

    def __init__(
        self,
        source: Source,
        container: InputContainer,
        stream: VideoStream,
        stopped: threading.Event,
        link: Link,
        max_gap_s: float,
        footage: Footage | None,
    ) -> None:
        self._source = source
        self._container = container
        self._stream = stream
        self._stopped = stopped
        self._link = link
        self._footage = footage
        self._timeline = LiveTimeline(
            time_base(stream),
            float(1 / frame_rate(stream)),
            max_gap_s,
            DATAGRAM_SILENCE_S if source.datagrams else None,
            Clock(),
        )

    @property
    def ahead_s(self) -> float:
        """By how many seconds the times of the frames so far are too late; see LiveTimeline."""
        return self._timeline.ahead_s

    def frames(self) -> Iterator[Timed[av.VideoFrame]]:
        """Decode the frames as they arrive; ends only by raising SourceError."""
        with translated_errors(self._source, self._link.read_timeout_s(self._source)):
            for image in _decoded(self._source, self._packets()):
                if not image.is_corrupt:
                    time_s, duration_s, starts = self._timeline.place(image.pts)
                    if self._footage is not None:
                        self._footage.place(image.pts, time_s - self.ahead_s)
                    yield Timed(time_s, duration_s, image, starts)
        raise SourceUnreadableError(f"{self._source.name} ended", HINTS[self._source.kind])

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        """Yield the video packets; raises SourceSilentError if only other packets come, for example sound."""
        heard_s, stamped = time.monotonic(), None
        for packet in self._container.demux():
            _check(self._stopped, self._source)
            now_s = time.monotonic()
            if packet.stream_index == self._stream.index:
                heard_s = now_s
                if (stamp_s := self._stamp_s(packet)) is not None:
                    if stamped is not None and abs((stamp_s - stamped[0]) - (now_s - stamped[1])) > OTHER_SENDER_S:
                        # Another sender. Without this reset, frames until its next key frame would mix both senders.
                        self._stream.codec_context.flush_buffers()
                    stamped = stamp_s, now_s
                video = cast("Packet[VideoStream]", packet)
                if self._footage is not None:
                    self._footage.add(self._stream, video)
                yield video
            elif now_s - heard_s > self._link.silence_s:
                raise SourceSilentError(self._source.name, self._link.silence_s)

    def _stamp_s(self, packet: Packet[Stream]) -> float | None:
        """The packet's decoding time in seconds, or ``None`` if the sender cannot change."""
        if packet.dts is None or not self._source.datagrams:
            return None
        return float(packet.dts * time_base(self._stream))


@contextmanager
def open_video(source: Source, stopped: threading.Event | None = None, threads: int = 0) -> Iterator[VideoFile]:
    """Open a video file for reading with ``threads`` decoder threads (0: as many as the machine has cores).

    Raises SourceUnreadableError or NoVideoError.
    """
    with open_container(source, Link()) as (container, stream):
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        yield VideoFile(source, container, stream, stopped or threading.Event())


@contextmanager
def open_live_video(
    source: Source, link: Link, max_gap_s: float, stopped: threading.Event, footage: Footage | None = None
) -> Iterator[LiveVideo]:
    """Connect to a live source, and keep its latest video in ``footage``.

    Raises SourceUnreadableError, SourceSilentError or NoVideoError.
    """
    with open_container(source, link) as (container, stream):
        # Frame threads, as used for files, would delay the output by one frame per thread.
        stream.thread_type = "SLICE"
        if footage is not None:
            footage.connect()
        yield LiveVideo(source, container, stream, stopped, link, max_gap_s, footage)


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
