"""The video stream of an FFmpeg container: which one it is, its rate, and its frames."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import cast

import av
from av.codec import CodecContext
from av.container import InputContainer
from av.error import InvalidDataError
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from video.errors import NoVideoError

logger = logging.getLogger(__name__)

# FFmpeg decodes plain text into pictures of a terminal; such a file is not a video.
TEXT_CODECS = frozenset({"ansi", "bintext", "idf", "xbin"})

UNKNOWN_CODEC = "unknown codec"

# For streams without any frame rate; FFmpeg assumes the same for raw video.
ASSUMED_RATE = Fraction(25)


def video_stream(name: str, container: InputContainer) -> VideoStream:
    """The best video stream of the source called ``name``; raises NoVideoError."""
    stream = container.streams.best("video")
    if isinstance(stream, VideoStream) and _is_video(stream):
        return stream
    found = ", ".join(f"{each.type} ({_codec(each)})" for each in container.streams) or "nothing"
    hint = "give a source with a video stream that FFmpeg can decode"
    raise NoVideoError(f"no video in {name}, found only: {found}", hint)


def frame_rate(stream: VideoStream) -> Fraction:
    """Frames per second, or 25 if the stream does not tell."""
    return stream.average_rate or stream.guessed_rate or ASSUMED_RATE


def time_base(stream: VideoStream) -> Fraction:
    """Seconds per tick of the stream's time stamps."""
    # Only output streams that are not open yet have no time base.
    return cast(Fraction, stream.time_base)


def decoded(name: str, packets: Iterable[Packet[VideoStream]]) -> Iterator[av.VideoFrame]:
    """The frames of ``packets``; damaged packets are skipped, and counted in a warning at the end."""
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
            logger.warning("damaged packets skipped", extra={"source": name, "packets": damaged_packets})


def _is_video(stream: VideoStream) -> bool:
    # Cover art of a music file is a video stream with one picture.
    is_cover = bool(stream.disposition & Disposition.attached_pic)
    return not is_cover and _codec(stream) not in TEXT_CODECS | {UNKNOWN_CODEC}


def _codec(stream: Stream) -> str:
    # None if FFmpeg has no decoder, which PyAV's type stubs do not say.
    codec: CodecContext | None = stream.codec_context
    return UNKNOWN_CODEC if codec is None else codec.name
