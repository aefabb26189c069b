"""Opens each kind of source with FFmpeg and chooses its video stream."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, cast

import av
from av.codec import CodecContext
from av.container import InputContainer
from av.error import ExitError, FFmpegError
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from consumer.errors import NoVideoError, SourceSilentError, SourceUnreadableError
from consumer.sources.source import Kind, Source, rtp_description

Transport = Literal["tcp", "udp"]

# FFmpeg decodes plain text into pictures of a terminal; such a file is not a video.
TEXT_CODECS = frozenset({"ansi", "bintext", "idf", "xbin"})

UNKNOWN_CODEC = "unknown codec"

# For streams without any frame rate; FFmpeg assumes the same for raw video.
ASSUMED_RATE = Fraction(25)

# Room for a large key frame that arrives in one burst; the kernel may allow less.
SOCKET_BUFFER_BYTES = 4 * 2**20

# FFmpeg analyses a stream for five seconds by default, which delays the first frames; it keeps those frames.
ANALYSIS_US = 2_000_000

HINTS = {
    Kind.FILE: "give the path of a video file",
    Kind.RTSP: "check the address, user and password of the camera, and that it supports --rtsp-transport",
    Kind.RTP: "check that no other program listens on this port",
    Kind.SDP: "check the session description, and that no other program listens on its port",
    Kind.MPEGTS: "check that no other program listens on this port",
    Kind.CAMERA: "check that the device exists, is not in use and that this user may read it (group video)",
}


@dataclass(frozen=True, slots=True)
class Link:
    """How to connect to live sources; one is lost if it sends nothing for ``silence_s`` seconds."""

    transport: Transport = "tcp"
    silence_s: float = 10.0

    def read_timeout_s(self, source: Source) -> float:
        """How many seconds to wait for the next packet of a source that has sent some.

        For RTP, less than ``silence_s``: FFmpeg may drop the packets of a restarted sender as old ones for minutes,
        which looks like silence, and only a new connection ends that.
        """
        return self.silence_s / 4 if source.kind in (Kind.RTP, Kind.SDP) else self.silence_s


@contextmanager
def open_container(source: Source, link: Link) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open ``source`` and choose its video stream.

    Raises SourceUnreadableError, SourceSilentError or NoVideoError.
    """
    with translated_errors(source, link.silence_s):
        container = _open(source, link)
    with container:
        yield container, _video_stream(source, container)


@contextmanager
def translated_errors(source: Source, silence_s: float) -> Iterator[None]:
    """Translate FFmpeg's errors into SourceErrors; ``silence_s`` is the timeout that FFmpeg was given."""
    try:
        yield
    except ExitError as error:
        raise SourceSilentError(source.name, silence_s) from error
    except FFmpegError as error:
        reason = (error.strerror or str(error)).lower()
        raise SourceUnreadableError(f"cannot read {source.name}: {reason}", HINTS[source.kind]) from error


def frame_rate(stream: VideoStream) -> Fraction:
    """Frames per second, or 25 if the stream does not tell."""
    return stream.average_rate or stream.guessed_rate or ASSUMED_RATE


def time_base(stream: VideoStream) -> Fraction:
    """Seconds per tick of the stream's time stamps."""
    # Only output streams that are not open yet have no time base.
    return cast(Fraction, stream.time_base)


def _open(source: Source, link: Link) -> InputContainer:
    if source.kind is Kind.FILE:
        # With "file:", FFmpeg does not mistake a colon in the name for a protocol.
        return av.open(f"file:{source.location}", metadata_errors="ignore")
    file, file_format, options = _live_input(source, link)
    return av.open(
        file,
        mode="r",
        format=file_format,
        # fpsprobesize 0: FFmpeg need not count frames to find their rate, because LiveTimeline measures it.
        options=options | {"analyzeduration": str(ANALYSIS_US), "fpsprobesize": "0"},
        metadata_errors="ignore",
        timeout=(link.silence_s, link.read_timeout_s(source)),
    )


def _live_input(source: Source, link: Link) -> tuple[str | io.BytesIO, str, dict[str, str]]:
    """The input, its format and the options for FFmpeg."""
    if source.kind is Kind.RTSP:
        options = {"rtsp_transport": link.transport, "timeout": str(round(link.silence_s * 1e6))}
        return source.location, "rtsp", options | _media_options()
    if source.kind is Kind.SDP:
        return f"file:{source.location}", "sdp", _media_options()
    if source.kind is Kind.RTP:
        return io.BytesIO(rtp_description(source).encode()), "sdp", _media_options()
    if source.kind is Kind.MPEGTS:
        return source.location, "mpegts", {"overrun_nonfatal": "1", "buffer_size": str(SOCKET_BUFFER_BYTES)}
    return source.location, "video4linux2", {}


def _media_options() -> dict[str, str]:
    return {
        "allowed_media_types": "video",
        "buffer_size": str(SOCKET_BUFFER_BYTES),
        "protocol_whitelist": "file,crypto,data,rtp,udp,tcp,tls,rtsp,rtsps,srtp",
    }


def _video_stream(source: Source, container: InputContainer) -> VideoStream:
    stream = container.streams.best("video")
    if isinstance(stream, VideoStream) and _is_video(stream):
        return stream
    found = ", ".join(f"{each.type} ({_codec(each)})" for each in container.streams) or "nothing"
    hint = "give a source with a video stream that FFmpeg can decode"
    raise NoVideoError(f"no video in {source.name}, found only: {found}", hint)


def _is_video(stream: VideoStream) -> bool:
    # Cover art of a music file is a video stream with one picture.
    is_cover = bool(stream.disposition & Disposition.attached_pic)
    return not is_cover and _codec(stream) not in TEXT_CODECS | {UNKNOWN_CODEC}


def _codec(stream: Stream) -> str:
    # None if FFmpeg has no decoder, which PyAV's type stubs do not say.
    codec: CodecContext | None = stream.codec_context
    return UNKNOWN_CODEC if codec is None else codec.name
