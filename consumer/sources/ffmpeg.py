"""Opens each kind of source with FFmpeg and chooses its video stream."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import av
from av.container import InputContainer
from av.error import ExitError, FFmpegError
from av.video.stream import VideoStream

import video.errors
from consumer.errors import NoVideoError, SourceSilentError, SourceUnreadableError
from consumer.sources.source import Kind, Source, rtp_description
from video.recording import HINT
from video.streams import video_stream

Transport = Literal["tcp", "udp"]

# Room for a large key frame that arrives in one burst; the kernel may allow less.
SOCKET_BUFFER_BYTES = 4 * 2**20

# FFmpeg analyses a stream for five seconds by default, which delays the first frames; it keeps those frames.
ANALYSIS_US = 2_000_000

HINTS = {
    Kind.FILE: HINT,
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
def open_live_container(source: Source, link: Link) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open ``source``, a live one, and choose its video stream.

    Raises SourceUnreadableError, SourceSilentError or NoVideoError.
    """
    with translated_errors(source, link.silence_s):
        container = _open(source, link)
    with container:
        with translated_video_errors():
            stream = video_stream(source.name, container)
        yield container, stream


@contextmanager
def translated_video_errors() -> Iterator[None]:
    """Translate the errors of reading recordings into SourceErrors."""
    try:
        yield
    except video.errors.NoVideoError as error:
        raise NoVideoError(error.what, error.hint) from error
    except video.errors.VideoError as error:
        raise SourceUnreadableError(error.what, error.hint) from error


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


def _open(source: Source, link: Link) -> InputContainer:
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
