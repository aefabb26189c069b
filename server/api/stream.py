"""``GET /api/v1/stream``: a WebSocket on which each frame is sent once and every window is answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

import msgspec
from aiohttp import WSCloseCode, WSMessage, WSMsgType, hdrs, web

from engines.linear_heads.head import Head
from engines.manifest import Manifest
from server.api import stream_messages as messages
from server.api.stream_answers import StreamAnswers, Wanted, log_fields, most_frame_bytes, problem_message, summary_of
from server.api.stream_options import options_of
from server.clips.infer_request import DEFAULT_TOP_K
from server.clips.request_fields import checked_top_k
from server.errors import (
    InvalidError,
    RequestError,
    RetryLaterError,
    SlowBodyError,
    TooLargeError,
    UnreadableError,
)
from server.http.auth import GUARD
from server.http.context import LOG_FIELDS, SERVICE
from server.http.cors import check_origin
from server.serving.classify import offered_by
from server.serving.models.served_model import ServedModel
from server.serving.service import Service, State
from server.streams.events import Event
from server.streams.frames import FRAME_HEADER, parse_frame, time_of
from server.streams.streams import OpenStream, Streams

STREAMS: web.AppKey[Streams] = web.AppKey("streams", Streams)
PROTOCOL = "vjepa2.stream.v1"
# A browser can set no headers, so that its key comes as the name of a subprotocol that the service does not choose.
KEY_PROTOCOL = "bearer."
# A client from which nothing has come for so long gets a ping; it is gone if nothing comes for half as long again.
HEARTBEAT_S = 20.0
_CLOSE_S = 2
_CLOSE_CODES: dict[type[RequestError], WSCloseCode] = {
    TooLargeError: WSCloseCode.MESSAGE_TOO_BIG,
    RetryLaterError: WSCloseCode.TRY_AGAIN_LATER,
}
# The reason of a close may have this many bytes (RFC 6455).
_MOST_REASON_BYTES = 123
_GONE = "the client has gone"


async def stream(request: web.Request) -> web.StreamResponse:
    """Serve one stream until its client, a drain or an error ends it; refusals before the upgrade are problems."""
    service, streams = request.app[SERVICE], request.app[STREAMS]
    check_origin(request, service.settings.cors_origins)
    if hdrs.UPGRADE not in request.headers:
        raise InvalidError("this is a WebSocket: the request must ask for an upgrade", field="Upgrade")
    key = _offered_key(request)
    if key is not None:
        request.app[GUARD].check(request, key)
    service.check_accepting()
    most_bytes = _most_frame_bytes(service)
    streams.check()
    socket = web.WebSocketResponse(
        protocols=(PROTOCOL,),
        timeout=_CLOSE_S,
        autoping=False,  # aiohttp's own heartbeat also counts the time in which the service does not read
        compress=False,
        max_msg_size=most_bytes + FRAME_HEADER.size,
    )
    await socket.prepare(request)
    code, reason = await _Connection(request, socket).serve(authorized=key is not None)
    service.metrics.stream_ended(code)
    await socket.close(code=code, message=reason.encode("ascii", "replace")[:_MOST_REASON_BYTES])
    return socket


def _most_frame_bytes(service: Service) -> int:
    """The longest frame that any model takes; raises NotReadyError without one."""
    service.loaded()
    frames = min(model.deployed().model.manifest.frames for model in service.models.ready())
    return most_frame_bytes(service.settings.max_clip_bytes, frames)


class _Connection:
    """The messages of one client, in both directions."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        self._request, self._socket = request, socket
        self._service = request.app[SERVICE]
        self._incoming = self._messages()

    async def serve(self, *, authorized: bool) -> tuple[int, str]:
        """Code and reason of the close."""
        try:
            hello = await self._hello()
            if not authorized:
                self._request.app[GUARD].check(self._request, f"Bearer {hello.key}" if hello.key else None)
            served = self._service.models.asked(hello.model)
            self._request[LOG_FIELDS]["model"] = served.name
            manifest, heads = self._service.loaded(served).manifest, self._heads(served, hello)
            top_k = _top_k(hello, manifest, heads)
            with self._request.app[STREAMS].opened(served, options_of(hello, manifest, heads), self._tell) as opened:
                wanted = Wanted(top_k, hello.embedding)
                self._answers = StreamAnswers(opened, wanted, self._service.settings.max_clip_bytes)
                return await self._run(opened)
        except RequestError as error:
            with contextlib.suppress(ConnectionError):
                await self._send(problem_message(error))
            return _close_code(error), error.message
        except ConnectionError:
            return WSCloseCode.ABNORMAL_CLOSURE, _GONE

    def _heads(self, served: ServedModel, hello: messages.Hello) -> Mapping[str, Head]:
        return self._service.heads_for(served.features_identity, hello.head)

    async def _hello(self) -> messages.Hello:
        limit_s = self._service.settings.header_timeout_s
        try:
            message = await asyncio.wait_for(anext(self._incoming, None), limit_s)
        except TimeoutError:
            raise SlowBodyError(f"the hello was not there after {limit_s:g} s") from None
        if message is None or message.type is not WSMsgType.TEXT:
            raise InvalidError("the first message must be a hello, a JSON text")
        return messages.parse_hello(message.data)

    async def _run(self, opened: OpenStream) -> tuple[int, str]:
        """Read frames and answer windows beside each other, until one of the two ends or the service drains."""
        session = opened.session
        await self._send(self._answers.ready(session.serving))
        reading = asyncio.create_task(self._read(opened), name="read stream")
        answering = asyncio.create_task(session.answer_windows(), name="answer stream")
        draining = asyncio.create_task(self._service.draining.wait(), name="drain stream")
        tasks = (reading, answering, draining)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            code, reason = reading.result() if reading.done() else self._stopping()
            if not reading.done():
                reading.cancel()
                await session.stop()
            if not self._socket.closed:
                await answering
                await self._send(self._answers.ended(reason))
            return code, reason
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self._request[LOG_FIELDS] |= log_fields(opened)

    def _stopping(self) -> tuple[int, str]:
        if self._service.state is State.UNHEALTHY:
            return WSCloseCode.TRY_AGAIN_LATER, "the engine is lost"
        return WSCloseCode.GOING_AWAY, "the service stops"

    async def _read(self, opened: OpenStream) -> tuple[int, str]:
        """Give the frames to the session until the client ends the stream; returns the code and the reason."""
        session, max_clip_bytes = opened.session, self._service.settings.max_clip_bytes
        async for message in self._incoming:
            if message.type is WSMsgType.ERROR:  # aiohttp has closed the connection, for example of a message too long
                break
            if message.type is WSMsgType.TEXT:
                messages.parse_end(message.data)
                await session.finish()
                return WSCloseCode.OK, "the client ended the stream"
            try:
                frame = parse_frame(message.data, most_frame_bytes(max_clip_bytes, session.model.manifest.frames))
                await session.push(frame)
            except (InvalidError, UnreadableError, TooLargeError, RetryLaterError) as error:
                await session.refuse(error, time_of(message.data))
        await session.stop()
        return self._socket.close_code or WSCloseCode.ABNORMAL_CLOSURE, _GONE

    async def _messages(self) -> AsyncIterator[WSMessage]:
        """What the client sends until it closes the connection; the time between two reads is not the client's.

        Raises:
            SlowBodyError: it answers no ping.
        """
        pinged = False
        while True:
            try:
                message = await self._socket.receive(HEARTBEAT_S / 2 if pinged else HEARTBEAT_S)
            except TimeoutError:
                if pinged:
                    raise SlowBodyError(
                        f"nothing came for {1.5 * HEARTBEAT_S:g} s, not even the pong for a ping"
                    ) from None
                await self._socket.ping()
                pinged = True
                continue
            pinged = False
            if message.type is WSMsgType.PING:
                await self._socket.pong(message.data)
            elif message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED):
                return
            elif message.type is not WSMsgType.PONG:
                yield message

    async def _tell(self, event: Event) -> None:
        """Send what the session has to say; called by its reader and by its answers."""
        await self._send(self._answers.message(event))

    async def _send(self, answer: messages.Answer) -> None:
        await self._socket.send_str(msgspec.json.encode(answer).decode())


def _close_code(error: RequestError) -> int:
    return next((code for kind, code in _CLOSE_CODES.items() if isinstance(error, kind)), WSCloseCode.POLICY_VIOLATION)


def _offered_key(request: web.Request) -> str | None:
    """The value of ``Authorization``, or one made from the subprotocol that holds a key; None without both."""
    if (header := request.headers.get(hdrs.AUTHORIZATION)) is not None:
        return header
    offered = request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "").split(",")
    keys = [name.strip().removeprefix(KEY_PROTOCOL) for name in offered if name.strip().startswith(KEY_PROTOCOL)]
    return f"Bearer {keys[0]}" if keys else None


async def streams(request: web.Request) -> web.Response:
    """The open streams, the oldest first."""
    answer = messages.OpenStreams([summary_of(one) for one in request.app[STREAMS]])
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")


def _top_k(hello: messages.Hello, manifest: Manifest, heads: Mapping[str, Head]) -> int:
    """Raises InvalidError for a head that is not there, and for more predictions than there are labels."""
    if hello.head is None and hello.embedding is not None and not manifest.labels:
        return checked_top_k(hello.top_k, DEFAULT_TOP_K)
    return checked_top_k(hello.top_k, offered_by(manifest, heads).labels_of(hello.head))
