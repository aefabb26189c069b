"""Opening: how FFmpeg is told to open each kind of source, and which of its streams is looked at."""

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

# FFmpeg "decodes" plain text as a terminal's screen; nobody means that by a video.
TEXT_CODECS = frozenset({"ansi", "bintext", "idf", "xbin"})

UNKNOWN_CODEC = "unknown codec"

# For streams that say nothing at all about their rate: FFmpeg's own assumption for raw video.
ASSUMED_RATE = Fraction(25)

# Room for a key frame of a large camera that comes as one burst; the kernel may allow less.
SOCKET_BUFFER_BYTES = 4 * 2**20

# FFmpeg would look for five seconds at what is in a stream. The frames are kept, so this costs latency at the start.
ANALYSIS_US = 2_000_000

CURES = {
    Kind.FILE: "give the path of a video file",
    Kind.RTSP: "check address, user and password of the camera, and that it speaks RTSP over --rtsp-transport",
    Kind.RTP: "check that nothing else listens on this port",
    Kind.SDP: "check the session description, and that nothing else listens on its port",
    Kind.MPEGTS: "check that nothing else listens on this port",
    Kind.CAMERA: "check that the device exists, is not in use and may be read by this user (group video)",
}


@dataclass(frozen=True, slots=True)
class Link:
    """How live sources are connected to; ``silence_s`` is how long they may say nothing."""

    transport: Transport = "tcp"
    silence_s: float = 10.0

    def patience_s(self, source: Source) -> float:
        """How long to wait for the next packet of a source that has begun to send.

        FFmpeg takes packets of an RTP sender that has started anew for old ones and drops them, possibly for minutes:
        that looks like silence too, and a connection made anew ends it.
        """
        return self.silence_s / 4 if source.kind in (Kind.RTP, Kind.SDP) else self.silence_s


@contextmanager
def opened(source: Source, link: Link) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open ``source``; raises SourceUnreadableError, SourceSilentError or NoVideoError."""
    with readable(source, link.silence_s):
        container = _open(source, link)
    with container:
        yield container, _moving_picture(source, container)


@contextmanager
def readable(source: Source, silence_s: float) -> Iterator[None]:
    """Turn FFmpeg's errors into ours; ``silence_s`` is how long it has been told to wait."""
    try:
        yield
    except ExitError as error:
        raise SourceSilentError(source.name, silence_s) from error
    except FFmpegError as error:
        reason = (error.strerror or str(error)).lower()
        raise SourceUnreadableError(f"cannot read {source.name}: {reason}", CURES[source.kind]) from error


def frame_rate(stream: VideoStream) -> Fraction:
    """Frames a second, as far as the stream says."""
    return stream.average_rate or stream.guessed_rate or ASSUMED_RATE


def time_base(stream: VideoStream) -> Fraction:
    """Seconds per tick."""
    # Only streams that are written, and not opened yet, have none.
    return cast(Fraction, stream.time_base)


def _open(source: Source, link: Link) -> InputContainer:
    if source.kind is Kind.FILE:
        # "file:" keeps FFmpeg from taking a colon in the name for a protocol.
        return av.open(f"file:{source.location}", metadata_errors="ignore")
    file, file_format, options = _live_input(source, link)
    return av.open(
        file,
        mode="r",
        format=file_format,
        # Nor need it count frames to tell their rate: it is measured here.
        options=options | {"analyzeduration": str(ANALYSIS_US), "fpsprobesize": "0"},
        metadata_errors="ignore",
        timeout=(link.silence_s, link.patience_s(source)),
    )


def _live_input(source: Source, link: Link) -> tuple[str | io.BytesIO, str, dict[str, str]]:
    """What to open, as which format, with which options."""
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


def _moving_picture(source: Source, container: InputContainer) -> VideoStream:
    stream = container.streams.best("video")
    if isinstance(stream, VideoStream) and _moves(stream):
        return stream
    found = ", ".join(f"{each.type} ({_codec(each)})" for each in container.streams) or "nothing"
    cure = "give a source with a video stream that FFmpeg can decode"
    raise NoVideoError(f"no video in {source.name}, found only: {found}", cure)


def _moves(stream: VideoStream) -> bool:
    # Cover art is a video stream too, of one picture.
    is_cover = bool(stream.disposition & Disposition.attached_pic)
    return not is_cover and _codec(stream) not in TEXT_CODECS | {UNKNOWN_CODEC}


def _codec(stream: Stream) -> str:
    # None where FFmpeg has no decoder, whatever PyAV's stubs promise.
    codec: CodecContext | None = stream.codec_context
    return UNKNOWN_CODEC if codec is None else codec.name
