"""Decodes the frames of files and live sources and gives them their times."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, cast

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from consumer.errors import SourceSilentError, SourceStoppedError, SourceUnreadableError
from consumer.sources.ffmpeg import HINTS, Link, open_live_container, translated_errors, translated_video_errors
from consumer.sources.footage import Footage
from consumer.sources.source import Source
from sampling.live_timeline import Clock, LiveTimeline
from sampling.timeline import Timed
from video import recording
from video.streams import decoded, frame_rate, time_base

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

    def __init__(self, source: Source, recording: recording.VideoFile, stopped: threading.Event) -> None:
        self._source = source
        self._recording = recording
        self._stopped = stopped

    @property
    def stated_length_s(self) -> float | None:
        """The length in seconds as the container states it; ``None`` if it does not."""
        return self._recording.stated_length_s

    def length_s(self, limit_s: float) -> float:
        """The length in seconds, but at most ``limit_s``; reads the packets of the file without decoding them."""
        with translated_video_errors():
            return self._recording.length_s(limit_s)

    def frames(self) -> Iterator[Timed[av.VideoFrame]]:
        """Decode the whole file; times never decrease.

        Damaged packets are skipped and counted in a warning. Raises SourceUnreadableError if reading fails.
        """
        with translated_video_errors():
            for frame in self._recording.frames():
                _check(self._stopped, self._source)
                yield frame


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
            for image in decoded(self._source.name, self._packets()):
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
    with (
        translated_video_errors(),
        recording.open_recording(source.location, source.name, threads) as opened,
    ):
        yield VideoFile(source, opened, stopped or threading.Event())


@contextmanager
def open_live_video(
    source: Source, link: Link, max_gap_s: float, stopped: threading.Event, footage: Footage | None = None
) -> Iterator[LiveVideo]:
    """Connect to a live source, and keep its latest video in ``footage``.

    Raises SourceUnreadableError, SourceSilentError or NoVideoError.
    """
    with open_live_container(source, link) as (container, stream):
        # Frame threads, as used for files, would delay the output by one frame per thread.
        stream.thread_type = "SLICE"
        if footage is not None:
            footage.connect()
        yield LiveVideo(source, container, stream, stopped, link, max_gap_s, footage)


def _check(stopped: threading.Event, source: Source) -> None:
    if stopped.is_set():
        raise SourceStoppedError(source.name)
