"""The camera's own video of the last seconds, still encoded, so that a part of it can be saved at full size."""

from __future__ import annotations

import io
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.packet import Packet
from av.video.stream import VideoStream

from consumer.sources.ffmpeg import translated_video_errors
from consumer.sources.source import Source
from video.recording import open_container
from video.streams import time_base

HEADER_FORMAT = "nut"

MOST_BYTES = 64 * 2**20
"""How much encoded video of a camera is kept: two minutes at 4 Mbit/s."""


@dataclass(slots=True, eq=False)
class _Connection:
    """What the packets of one connection share: a header with the parameters of their codec.

    A time stamp in seconds and ``offset_s`` make the time in seconds of the source; ``None`` before the first frame.
    """

    header: bytes
    time_base: Fraction
    offset_s: float | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a video, beginning with a key frame, from ``start_s`` in the time of its source."""

    connection: _Connection
    packets: list[Packet[VideoStream]]
    start_s: float


class Footage:
    """The packets of a live source for the last ``history_s`` seconds, at most 64 MiB; thread-safe.

    While ``hold`` has been called with a time, packets from that time on are kept, too. When they fill the 64 MiB,
    newer packets are not kept, because the start of an action matters most; ``_skips`` is set until the next key frame
    that fits.
    """

    def __init__(self, history_s: float) -> None:
        self._history_s = history_s
        self._held_since_s: float | None = None
        self._packets: deque[tuple[_Connection, Packet[VideoStream]]] = deque()
        self._bytes = 0
        self._skips = False
        self._connection: _Connection | None = None
        self._lock = threading.Lock()

    def connect(self) -> None:
        """Begin with the packets of a new connection."""
        self._connection = None

    def add(self, stream: VideoStream, packet: Packet[VideoStream]) -> None:
        """Keep the next packet of the connection, from its first key frame on."""
        if packet.pts is None or not packet.size or (self._connection is None and not packet.is_keyframe):
            return
        if self._connection is None:
            self._connection = _Connection(_header(stream, packet), time_base(stream))
        with self._lock:
            self._make_room(self._connection, packet)
            fits = self._bytes + packet.size <= MOST_BYTES
            self._skips = not fits or (self._skips and not packet.is_keyframe)
            if not self._skips:
                self._packets.append((self._connection, _copy(packet)))
                self._bytes += packet.size

    def place(self, pts: int | None, time_s: float) -> None:
        """Note that the frame with this time stamp was shown at ``time_s``."""
        if self._connection is not None and pts is not None:
            self._connection.offset_s = time_s - float(pts * self._connection.time_base)

    def hold(self, since_s: float | None) -> None:
        """Keep all packets since this time; ``None`` ends that."""
        with self._lock:
            self._held_since_s = since_s

    def cut(self, start_s: float, end_s: float) -> Part | None:
        """The video from the last key frame before ``start_s`` to ``end_s``, as far as it is kept.

        If the connection was lost in that time, the part of the connection with the most packets is returned.
        """
        with self._lock:
            kept = list(self._packets)
        by_connection: dict[int, list[tuple[_Connection, Packet[VideoStream]]]] = {}
        for connection, packet in kept:
            by_connection.setdefault(id(connection), []).append((connection, packet))
        parts = [
            part
            for entries in by_connection.values()
            if (part := _part(entries[0][0], [packet for _, packet in entries], start_s, end_s)) is not None
        ]
        return max(parts, key=lambda part: len(part.packets), default=None)

    def _make_room(self, connection: _Connection, packet: Packet[VideoStream]) -> None:
        """Drop what is too old, and if ``packet`` does not fit, what no action that is held needs."""
        held_s = self._held_since_s
        history_s = _time_s(connection, packet) - self._history_s
        self._drop_before(history_s if held_s is None else min(history_s, held_s))
        if self._bytes + packet.size > MOST_BYTES:
            self._drop_before(float("inf") if held_s is None else held_s, packet.size)

    def _drop_before(self, time_s: float, room_bytes: int = MOST_BYTES) -> None:
        """Drop packets up to the last key frame before ``time_s``, but no more than to have ``room_bytes`` left."""
        # From there on, the video can be decoded at that time.
        while self._bytes + room_bytes > MOST_BYTES and self._packets and self._next_key_s() <= time_s:
            self._bytes -= self._packets.popleft()[1].size

    def _next_key_s(self) -> float:
        for index, (connection, packet) in enumerate(self._packets):
            if index and packet.is_keyframe:
                return _time_s(connection, packet)
        return float("inf")


def cut_recording(source: Source, start_s: float, end_s: float) -> Part | None:
    """Like :meth:`Footage.cut` for a video file. Raises SourceError."""
    with translated_video_errors(), open_container(source.location, source.name) as (container, stream):
        begins_s = (container.start_time or 0) / av.time_base
        connection = _Connection(b"", time_base(stream), -begins_s)
        container.seek(round(max(start_s + begins_s, begins_s) / connection.time_base), stream=stream)
        packets = []
        for packet in container.demux(stream):
            if packet.pts is None or not packet.size:
                continue
            # Frames may be stored up to a second before others that are shown earlier.
            if _time_s(connection, packet) > end_s + 1:
                break
            connection.header = connection.header or _header(stream, packet)
            packets.append(_copy(packet))
    return _part(connection, packets, start_s, end_s)


def write_part(part: Part, path: Path, container_format: str) -> None:
    """Write the packets of ``part`` unchanged into a file that starts at zero."""
    with (
        av.open(io.BytesIO(part.connection.header), format=HEADER_FORMAT) as header,
        av.open(str(path), "w", format=container_format) as container,
    ):
        stream = container.add_stream_from_template(header.streams.video[0], opaque=True)
        zero = part.packets[0].pts or 0
        for packet in _in_order(part.packets):
            copied = _copy(packet)
            copied.pts, copied.dts = (packet.pts or 0) - zero, (packet.dts or 0) - zero
            copied.time_base = part.connection.time_base
            copied.stream = stream
            container.mux(copied)


def format_for(part: Part) -> str:
    """``mp4`` if it can hold the codec, which more programs play, else ``matroska``."""
    with av.open(io.BytesIO(part.connection.header), format=HEADER_FORMAT) as header:
        codec = header.streams.video[0].codec_context.codec.canonical_name
    with av.open(io.BytesIO(), "w", format="mp4") as container:
        return "mp4" if codec in container.supported_codecs else "matroska"


def _header(stream: VideoStream, first: Packet[VideoStream]) -> bytes:
    # The stream itself is gone when its connection is; the header can be opened at any later time. NUT stores the
    # parameters of any codec unchanged, and needs a packet to be recognised.
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=HEADER_FORMAT) as container:
        copied = _copy(first)
        copied.pts = copied.dts = 0
        copied.time_base = time_base(stream)
        copied.stream = container.add_stream_from_template(stream, opaque=True)
        container.mux(copied)
    return buffer.getvalue()


def _copy(packet: Packet[VideoStream]) -> Packet[VideoStream]:
    copied = cast("Packet[VideoStream]", Packet(bytes(packet)))
    copied.pts, copied.duration, copied.is_keyframe = packet.pts, packet.duration, packet.is_keyframe
    copied.dts = packet.pts if packet.dts is None else packet.dts
    return copied


def _part(connection: _Connection, packets: list[Packet[VideoStream]], start_s: float, end_s: float) -> Part | None:
    if connection.offset_s is None:
        return None
    keys = [index for index, packet in enumerate(packets) if packet.is_keyframe]
    before = [index for index in keys if _time_s(connection, packets[index]) <= start_s]
    first = before[-1] if before else next(iter(keys), None)
    if first is None:
        return None
    wanted = [packet for packet in packets[first:] if _time_s(connection, packet) < end_s]
    return Part(connection, wanted, _time_s(connection, wanted[0])) if wanted else None


def _in_order(packets: Iterable[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
    """The packets whose decoding times increase, as every container requires."""
    last: int | None = None
    for packet in packets:
        if packet.dts is not None and (last is None or packet.dts > last):
            last = packet.dts
            yield packet


def _time_s(connection: _Connection, packet: Packet[VideoStream]) -> float:
    return float((packet.pts or 0) * connection.time_base) + (connection.offset_s or 0.0)
