"""Real cameras, as far as a network can tell: numbered frames at their pace over RTSP, RTP or MPEG-TS."""

from __future__ import annotations

import contextlib
import itertools
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, BinaryIO

import av

from tests.consumer.videos import numbered_frame

FPS = 20
SIZE = (128, 96)
# A jump that no sampling of a clip ever makes, so that a clip across it can be told by its numbers.
JUMP = 77
RTCP = range(200, 208)


def free_port() -> int:
    """A UDP port that nobody uses; even, as RTP wants it."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port % 2 == 0:
            return port


class Numbers:
    """Counts frames over all connections of a camera."""

    def __init__(self) -> None:
        self._next = 0
        self._taken = threading.Condition()

    def take(self) -> int:
        with self._taken:
            self._next += 1
            self._taken.notify_all()
            return self._next - 1

    def jump(self) -> None:
        """Go on elsewhere, as a scene does while nobody is there to see it."""
        with self._taken:
            self._next += JUMP

    def wait_for_more(self, frames: int) -> None:
        """Return when so many more have been sent."""
        with self._taken:
            until = self._next + frames
            assert self._taken.wait_for(lambda: self._next >= until, 60)


def send_frames(
    target: Any,
    container_format: str,
    numbers: Numbers,
    stopped: threading.Event,
    size: tuple[int, int] = SIZE,
    **options: str,
) -> None:
    """Encode numbered frames as H.264 and send them at their pace until ``stopped``; a GOP is half a second."""
    with av.open(target, "w", format=container_format, options=options) as container:
        encoding = {"tune": "zerolatency", "preset": "ultrafast", "g": str(FPS // 2), "bf": "0"}
        stream = container.add_stream("libx264", rate=FPS, options=encoding)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        began_s = time.monotonic()
        for index in itertools.count():
            if stopped.wait(max(0.0, began_s + index / FPS - time.monotonic())):
                break
            frame = numbered_frame(numbers.take() % 256, size)
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))


class UdpCamera:
    """Sends RTP or MPEG-TS to a port of this machine while it is on."""

    def __init__(self, url: str, container_format: str) -> None:
        self.numbers = Numbers()
        self._url = url
        self._format = container_format
        self._off = threading.Event()
        self._thread: threading.Thread | None = None

    def on(self) -> None:
        self._off.clear()
        arguments = (self._url, self._format, self.numbers, self._off)
        self._thread = threading.Thread(target=send_frames, args=arguments, daemon=True)
        self._thread.start()

    def off(self) -> None:
        self._off.set()
        if self._thread is not None:
            self._thread.join()


@contextlib.contextmanager
def udp_camera(url: str, container_format: str) -> Iterator[UdpCamera]:
    camera = UdpCamera(url, container_format)
    try:
        yield camera
    finally:
        camera.off()


class _Interleaved:
    """Takes RTP packets from FFmpeg's muxer and writes them into an RTSP connection."""

    def __init__(self, connection: BinaryIO, silent: threading.Event) -> None:
        self._connection = connection
        self._silent = silent

    def write(self, packet: bytes) -> int:
        if not self._silent.is_set():
            channel = 1 if packet[1] in RTCP else 0
            with contextlib.suppress(OSError, ValueError):
                self._connection.write(b"$" + bytes([channel]) + len(packet).to_bytes(2, "big") + bytes(packet))
                self._connection.flush()
        return len(packet)


class _Connection(socketserver.StreamRequestHandler):
    """One client: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN over TCP, media interleaved (RFC 2326, 10.12)."""

    server: RtspServer

    def handle(self) -> None:
        stopped = threading.Event()
        self.server.connections.append((self.connection, stopped))
        try:
            while (request := self._request()) is not None:
                self._answer(*request, stopped)
        except OSError:
            return
        finally:
            stopped.set()

    def _request(self) -> tuple[str, str, str] | None:
        """Method, URL and sequence number; receiver reports of the client are passed over."""
        while (first := self.rfile.read(1)) == b"$":
            _, length = self.rfile.read(1), int.from_bytes(self.rfile.read(2), "big")
            self.rfile.read(length)
        if not first:
            return None
        method, url, _ = (first + self.rfile.readline()).decode().split()
        headers = dict(line.decode().strip().lower().split(": ", 1) for line in iter(self.rfile.readline, b"\r\n"))
        return method, url, headers["cseq"]

    def _answer(self, method: str, url: str, sequence: str, stopped: threading.Event) -> None:
        handlers: dict[str, Callable[[str], tuple[dict[str, str], str]]] = {
            "OPTIONS": lambda url: ({"Public": "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"}, ""),
            "DESCRIBE": self._describe,
            "SETUP": lambda url: ({"Transport": "RTP/AVP/TCP;unicast;interleaved=0-1", "Session": "1"}, ""),
        }
        headers, body = handlers[method](url) if method in handlers else ({"Session": "1"}, "")
        fields = {"CSeq": sequence, **headers, "Content-Length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.wfile.write(f"RTSP/1.0 200 OK\r\n{head}\r\n{body}".encode())
        self.wfile.flush()
        if method == "PLAY":
            target = _Interleaved(self.wfile, self.server.silent)
            arguments = (target, "rtp", self.server.numbers, stopped)
            options = {"packetsize": "1200", "size": self.server.size}
            threading.Thread(target=send_frames, args=arguments, kwargs=options, daemon=True).start()

    def _describe(self, url: str) -> tuple[dict[str, str], str]:
        lines = ("v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=-", "t=0 0", "m=video 0 RTP/AVP 96", "a=rtpmap:96 H264/90000")
        return {"Content-Type": "application/sdp", "Content-Base": url}, "".join(f"{line}\r\n" for line in lines)


class RtspServer(socketserver.ThreadingTCPServer):
    """An RTSP server with one camera; ``silent`` keeps connections open without a word."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, size: tuple[int, int]) -> None:
        self.size = size
        self.numbers = Numbers()
        self.silent = threading.Event()
        self.connections: list[tuple[socket.socket, threading.Event]] = []
        super().__init__(("127.0.0.1", port), _Connection)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/camera"

    def cut(self) -> None:
        """Break off all connections, as a network does that fails."""
        connections, self.connections = self.connections, []
        for connection, stopped in connections:
            stopped.set()
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def rtsp_server(port: int = 0, size: tuple[int, int] = SIZE) -> Iterator[RtspServer]:
    with RtspServer(port, size) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
            server.cut()
