"""The connection of a client, with limits on the number of connections and on the time that a header takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import cast

from aiohttp import HttpVersion11, StreamReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from server.config.settings import Settings
from server.http.framing import ACCEPTED_VERSIONS, is_well_framed
from server.http.problem import problem_answer, problem_for, raw_problem
from server.http.transport.aiohttp_internals import (
    answer_in_http_1_1,
    has_queued_requests,
    newest_body,
    replace_request_parser,
    waits_for_request,
)
from server.http.transport.direct_body import DirectBody
from server.http.transport.half_closed import HalfClosed
from server.telemetry.metrics import Metrics

# For so long the rest of a refused body is read, so that its sender can read the answer before the connection closes.
_LINGERING_S = 2
_MAX_REASON_CHARACTERS = 200
# The HTTP parser gets so many bytes at once: headers, and the start of a body, until the reader of the body takes over.
_READ_BYTES = 64 * 2**10
# How aiohttp's parser reports a version that it does not know.
_UNKNOWN_VERSION = "Invalid HTTP version"
# aiohttp tells its version and that of Python by default.
SERVER_NAME = "vjepa2-serve"


class Connections:
    """Makes the protocol object of each new connection.

    ``open`` is the number of connections that are served, at most ``most``.
    """

    def __init__(self, server: web.Server, settings: Settings, metrics: Metrics, most: int) -> None:
        self.server = server
        self.most = most
        self.settings = settings
        self.metrics = metrics
        self.open = 0
        self.loop = asyncio.get_running_loop()

    def __call__(self) -> Connection:
        return Connection(self)


class Connection(web.RequestHandler):
    """aiohttp's protocol, with a limit on the time from a request's first byte to the end of its header.

    A connection is refused, or counted until it is lost. A counted connection waits for a request, reads its header
    (``_header_timer`` runs), reads its body and answers, and waits again. While ``DirectBody`` reads the body, the
    transport has that protocol instead of this one.

    Invariants: ``_counted`` holds exactly while the connection is part of ``Connections.open``. ``_first_byte_s`` is
    set from the first byte of a request until it is answered and its body has ended. After ``_discarding`` is set, data
    is dropped until the connection closes. ``_last_body`` is that of the newest request; the bodies before it are
    complete. ``_half_closed`` is set when the client sends no more and still waits for answers. ``_request`` is set
    while a request is handled and its answer has not begun.
    """

    def __init__(self, connections: Connections) -> None:
        super().__init__(
            connections.server,
            loop=connections.loop,
            keepalive_timeout=connections.settings.keepalive_timeout_s,
            lingering_time=_LINGERING_S,
            access_log=None,  # type: ignore[arg-type]
            # aiohttp inflates bodies on the event loop.
            auto_decompress=False,
        )
        self._connections = connections
        self._counted = False
        self._discarding = False
        self._first_byte_s: float | None = None
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._last_body: StreamReader | None = None
        self._half_closed: HalfClosed | None = None
        self._request: web.BaseRequest | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._connections.open >= self._connections.most:
            self._refuse(cast(asyncio.Transport, transport))
            return
        self._count(1)
        if hasattr(
            transport, "max_size"
        ):  # asyncio reads 256 KiB at once by default, and each read is copied three times
            transport.max_size = _READ_BYTES
        # Writing is paused from the first byte that the system does not take, so that the timer sees every such byte.
        cast(asyncio.Transport, transport).set_write_buffer_limits(high=0)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_timer()
        self._stop_write_timer()
        if self._half_closed is not None:
            self._half_closed.stop()
        if self._counted:
            self._count(-1)
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._counted or self._discarding:
            return
        if self._first_byte_s is None and _begins_request(data):
            self._first_byte_s = self._connections.loop.time()
            limit_s = self._connections.settings.header_timeout_s
            self._header_timer = self._connections.loop.call_later(limit_s, self._close_slow)
        super().data_received(data)
        self._last_body = newest_body(self) or self._last_body

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more; it still gets the answers to what it has sent completely."""
        if self._last_body is None or not self._last_body.is_eof() or waits_for_request(self):
            return False
        if self._half_closed is None:
            self._half_closed = HalfClosed(cast(asyncio.Transport, self.transport), self._may_write_interim)
        if not has_queued_requests(self):
            self.close()
        return True

    def pause_writing(self) -> None:
        """The client does not read; it has ``write_timeout_s`` to go on."""
        super().pause_writing()
        limit_s = self._connections.settings.write_timeout_s
        self._write_timer = self._connections.loop.call_later(limit_s, self._abort_unread)

    def resume_writing(self) -> None:
        """The client has read everything."""
        self._stop_write_timer()
        super().resume_writing()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The answer to bytes that are not HTTP, which no handler sees."""
        if isinstance(exc, UnicodeError):  # of aiohttp's answer to an unknown ``Expect``
            status, message = HTTPStatus.BAD_REQUEST, "a header holds bytes that are not UTF-8"
            exc = HttpProcessingError(code=status, message=message)
        if _UNKNOWN_VERSION in (message or ""):
            status = HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
        plain = super().handle_error(request, status, exc, message)
        reason = " ".join((message or "it failed").split())[:_MAX_REASON_CHARACTERS]
        answer = problem_answer(HTTPStatus(plain.status), f"the request cannot be read: {reason}")
        answer.force_close()
        return answer

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write the answer, and close the connection where nothing may follow.

        aiohttp's own refusals become problems; it refuses an unknown ``Expect`` before any middleware runs.
        """
        answer = problem_for(resp) if isinstance(resp, web.HTTPException) else resp
        answer.headers[hdrs.SERVER] = SERVER_NAME
        is_last = self._half_closed is not None and not has_queued_requests(self)
        if is_last or not is_well_framed(request):
            answer.force_close()
        if request.version not in ACCEPTED_VERSIONS:
            answer_in_http_1_1(request)
        return await super().finish_response(request, answer, start_time)

    def request_began(self, request: web.BaseRequest) -> float:
        """The header of ``request`` is complete; returns the time of its first byte by the event loop's clock."""
        self._stop_timer()
        self._request = request
        first_byte_s = self._first_byte_s
        # The first byte of a pipelined request came with the request before it, at an unknown time.
        return self._connections.loop.time() if first_byte_s is None else first_byte_s

    def request_ended(self, request: web.BaseRequest) -> None:
        """``request`` is answered; the first byte after the end of its body begins the next request."""
        self._request = None
        request.content.on_eof(self._await_next)

    async def receive(
        self, request: web.BaseRequest, rest: Sequence[memoryview], arrived: Callable[[int], None]
    ) -> None:
        """Fill the parts of ``rest``, one after the other, with the end of the body of ``request``.

        ``request.content`` must be read to its end before.
        ``arrived`` gets the length of each piece, and may raise to stop the reading. A connection whose body was not
        received to its end cannot be used for another request.
        """
        if self.transport is None:
            raise ConnectionResetError("the connection was lost")

        def completed() -> None:
            # The parser that read the header still expects these bytes.
            replace_request_parser(self)
            request.content.feed_eof()

        await DirectBody(self, self.transport, rest, arrived, completed).received()

    def ignore_rest(self) -> None:
        """Drop the rest of a body unparsed, because parsing costs as much as reading it, and close."""
        self._discarding = True

    def _may_write_interim(self) -> bool:
        request = self._request
        return request is not None and request.version == HttpVersion11 and not request.writer.output_size

    def _await_next(self) -> None:
        self._first_byte_s = None

    def _close_slow(self) -> None:
        self._connections.metrics.closed("slow_header")
        limit_s = self._connections.settings.header_timeout_s
        if self.transport is not None:
            detail = f"the request's header was not there after {limit_s:g} s"
            self.transport.write(raw_problem(HTTPStatus.REQUEST_TIMEOUT, detail))
        self.force_close()

    def _abort_unread(self) -> None:
        self._connections.metrics.closed("unread_answer")
        if self.transport is not None:
            # A close would wait until the client has read the rest.
            self.transport.abort()

    def _refuse(self, transport: asyncio.Transport) -> None:
        self._connections.metrics.closed("too_many")
        transport.write(raw_problem(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections"))
        transport.close()

    def _count(self, change: int) -> None:
        self._counted = change > 0
        self._connections.open += change
        self._connections.metrics.connected(self._connections.open)

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


def _begins_request(data: bytes) -> bool:
    """Whether ``data`` holds more than the line ends that are ignored before a request (RFC 9112, 2.2)."""
    return bool(data[:1] not in (b"", b"\r", b"\n") or data.strip(b"\r\n"))
