"""Sources as the user names them, and their kinds."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from yarl import URL

from consumer.shown_text import shown_url, without_credentials

RTP_CODECS = {"h264": "H264", "h265": "H265", "hevc": "H265", "vp8": "VP8", "vp9": "VP9"}
"""The codecs that ``?codec=`` accepts, with their names in SDP."""

DEFAULT_PAYLOAD_TYPE = 96
ACCEPTED = (
    "accepted: the path of a video file, of an .sdp file, of a directory of videos or images, a quoted pattern like"
    " 'clips/**/*.mp4', /dev/videoN,"
    " rtsp://HOST/PATH, udp://HOST:PORT (MPEG-TS) or udp://HOST:PORT?codec=h264 (RTP), also as NAME=rtsp://HOST/PATH"
)


class Kind(enum.Enum):
    """How a source is read."""

    FILE = enum.auto()
    IMAGES = enum.auto()
    RTSP = enum.auto()
    RTP = enum.auto()
    SDP = enum.auto()
    MPEGTS = enum.auto()
    CAMERA = enum.auto()


@dataclass(frozen=True, slots=True)
class Source:
    """A source; ``location`` is its path or URL, and ``name`` stands for it in all outputs.

    ``name`` is what the user calls the source, or else its location without user and password.
    """

    kind: Kind
    location: str
    name: str

    @property
    def live(self) -> bool:
        """Whether the source runs in real time: its clips may be dropped, and lost connections are opened again."""
        return self.kind not in (Kind.FILE, Kind.IMAGES)

    @property
    def datagrams(self) -> bool:
        """Whether the source sends datagrams, so that its sender can be replaced without notice to the receiver."""
        return self.kind in (Kind.RTP, Kind.SDP, Kind.MPEGTS)


def parse_source(text: str) -> Source:
    """Return the source that ``text`` names. Raises ValueError that lists what is accepted."""
    if "://" in text:
        return _network_source(text)
    if text.startswith("/dev/video"):
        return Source(Kind.CAMERA, text, text)
    if text.endswith(".sdp"):
        return Source(Kind.SDP, text, text)
    return Source(Kind.IMAGES if Path(text).is_dir() else Kind.FILE, text, text)


def rtp_description(source: Source) -> str:
    """The session description (SDP) of an RTP source that was given as a URL."""
    url = URL(source.location)
    query = dict(parse_qsl(url.query_string))
    payload_type = query.get("payload", str(DEFAULT_PAYLOAD_TYPE))
    address = url.host or "0.0.0.0"  # noqa: S104 the user asks to listen on all interfaces
    family = "IP6" if ":" in address else "IP4"
    lines = (
        "v=0",
        f"o=- 0 0 IN {family} {address}",
        "s=-",
        f"c=IN {family} {address}",
        "t=0 0",
        f"m=video {url.port} RTP/AVP {payload_type}",
        f"a=rtpmap:{payload_type} {RTP_CODECS[query['codec'].lower()]}/90000",
    )
    return "".join(f"{line}\r\n" for line in lines)


def _network_source(text: str) -> Source:
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        raise ValueError(f"{shown_url(text)} is not a valid URL; {ACCEPTED}") from None
    name = without_credentials(text)
    if url.scheme in ("rtsp", "rtsps"):
        return Source(Kind.RTSP, text, name)
    if url.scheme == "udp":
        return _udp_source(text, name, url.query_string, port)
    raise ValueError(f"{url.scheme}:// is not supported; {ACCEPTED}")


def _udp_source(text: str, name: str, query_string: str, port: int | None) -> Source:
    if not port:
        raise ValueError(f"{shown_url(text)} has no port; {ACCEPTED}")
    query = dict(parse_qsl(query_string))
    if "codec" not in query:
        return Source(Kind.MPEGTS, text, name)
    if query["codec"].lower() not in RTP_CODECS:
        raise ValueError(f"codec {query['codec']!r} is not supported; accepted: {', '.join(RTP_CODECS)}")
    payload_type = query.get("payload", str(DEFAULT_PAYLOAD_TYPE))
    if not (payload_type.isdecimal() and int(payload_type) < 128):
        raise ValueError(f"payload {payload_type!r} is not an RTP payload type from 0 to 127")
    return Source(Kind.RTP, text, name)
