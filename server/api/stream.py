"""``GET /api/v1/stream``: a WebSocket on which each frame is sent once and every window is answered."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit

import msgspec
from aiohttp import WSCloseCode, WSMsgType, hdrs, web

from engines.engine import Model
from server.api import stream_messages as messages
from server.api.answers import TimingsMs, top_predictions
from server.clips.request_fields import checked_top_k
from server.config.settings import Settings
from server.errors import (
    ForbiddenError,
    InvalidError,
    RequestError,
    RetryLaterError,
    SlowBodyError,
    TooLargeError,
    UnreadableError,
)
from server.http.auth import GUARD
from server.http.context import LOG_FIELDS, SERVICE
from server.http.problem import problem_of
from server.serving.service import State
from server.streams.frames import FRAME_HEADER, parse_frame, time_of
from server.streams.session import (
    Answered,
    Broken,
    Event,
    ModelInService,
    Passed,
    Refused,
    StreamOptions,
)
from server.streams.streams import OpenStream, Streams

STREAMS: web.AppKey[Streams] = web.AppKey("streams", Streams)
PROTOCOL = "vjepa2.stream.v1"
# A browser can set no headers, so that its key comes as the name of a subprotocol that the service does not choose.
KEY_PROTOCOL = "bearer."
# A ping goes out at this interval; a client whose pong does not come within half of it is gone.
_HEARTBEAT_S = 20
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
    _check_origin(request, service.settings)
    if hdrs.UPGRADE not in request.headers:
        raise InvalidError("this is a WebSocket: the request must ask for an upgrade", field="Upgrade")
    key = _offered_key(request)
    if key is not None:
        request.app[GUARD].check(request, key)
    with service.accepted():
        streams.check()
    socket = web.WebSocketResponse(
        protocols=(PROTOCOL,),
        timeout=_CLOSE_S,
        heartbeat=_HEARTBEAT_S,
        compress=False,
        max_msg_size=_most_frame_bytes(service.settings, service.loaded().manifest.frames) + FRAME_HEADER.size,
    )
    await socket.prepare(request)
    code, reason = await _Connection(request, socket).serve(authorized=key is not None)
    await socket.close(code=code, message=reason.encode("ascii", "replace")[:_MOST_REASON_BYTES])
    return socket


class _Connection:
    """The messages of one client, in both directions."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        self._request, self._socket = request, socket
        self._service = request.app[SERVICE]
        self._session = ""

    async def serve(self, *, authorized: bool) -> tuple[int, str]:
        """Code and reason of the close."""
        try:
            hello = await self._hello()
            if not authorized:
                self._request.app[GUARD].check(self._request, f"Bearer {hello.key}" if hello.key else None)
            self._top_k = checked_top_k(hello.top_k, len(self._service.loaded().manifest.labels))
            self._options = _options(hello, self._service.loaded().manifest.frames)
            with self._request.app[STREAMS].opened(self._options, self._tell) as opened:
                self._session = opened.id
                return await self._run(opened)
        except RequestError as error:
            with contextlib.suppress(ConnectionError):
                await self._send(_problem(error))
            return _close_code(error), error.message
        except ConnectionError:
            return WSCloseCode.ABNORMAL_CLOSURE, _GONE

    async def _hello(self) -> messages.Hello:
        limit_s = self._service.settings.header_timeout_s
        try:
            message = await asyncio.wait_for(self._socket.receive(), limit_s)
        except TimeoutError:
            raise SlowBodyError(f"the hello was not there after {limit_s:g} s") from None
        if message.type is not WSMsgType.TEXT:
            raise InvalidError("the first message must be a hello, a JSON text")
        return messages.parse_hello(message.data)

    async def _run(self, opened: OpenStream) -> tuple[int, str]:
        """Read frames and answer windows beside each other, until one of the two ends or the service drains."""
        session = opened.session
        await self._send(self._ready(session.model))
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
                await self._send(self._ended(opened, reason))
            return code, reason
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self._log(opened)

    def _stopping(self) -> tuple[int, str]:
        if self._service.state is State.UNHEALTHY:
            return WSCloseCode.TRY_AGAIN_LATER, "the engine is lost"
        return WSCloseCode.GOING_AWAY, "the service stops"

    async def _read(self, opened: OpenStream) -> tuple[int, str]:
        """Give the frames to the session until the client ends the stream; returns the code and the reason."""
        session, limit = opened.session, self._service.settings
        async for message in self._socket:
            if message.type is WSMsgType.ERROR:  # aiohttp has closed the connection, for example of a message too long
                break
            if message.type is WSMsgType.TEXT:
                messages.parse_end(message.data)
                await session.finish()
                return WSCloseCode.OK, "the client ended the stream"
            try:
                frame = parse_frame(message.data, limit.max_clip_bytes // session.model.manifest.frames)
                await session.push(frame)
            except (InvalidError, UnreadableError, TooLargeError, RetryLaterError) as error:
                await session.refuse(error, time_of(message.data))
        await session.stop()
        return self._socket.close_code or WSCloseCode.ABNORMAL_CLOSURE, _GONE

    async def _tell(self, event: Event) -> None:
        """Send what the session has to say; called by its reader and by its answers."""
        await self._send(self._message(event))

    def _message(self, event: Event) -> messages.Answer:
        match event:
            case Answered():
                return self._prediction(event)
            case Passed(span, reason):
                return messages.Skipped(window=span.window, start_s=span.start_s, end_s=span.end_s, reason=reason)
            case Broken(before_s, after_s, reason):
                return messages.Gap(before_s=before_s, after_s=after_s, reason=reason)
            case Refused(error, time_s):
                return _problem(error, time_s)
            case ModelInService(model):
                return self._ready(model)

    def _prediction(self, event: Answered) -> messages.WindowPrediction:
        labels = event.model.manifest.labels
        return messages.WindowPrediction(
            window=event.span.window,
            start_s=event.span.start_s,
            end_s=event.span.end_s,
            predictions=top_predictions(event.probabilities, labels, min(self._top_k, len(labels))),
            timings_ms=TimingsMs.of(event.times),
            age_ms=round(event.age_ms, 3),
        )

    def _ready(self, model: Model) -> messages.Ready:
        options, manifest = self._options, model.manifest
        return messages.Ready(
            session=self._session,
            name=options.name,
            model=manifest.source.model,
            labels=len(manifest.labels),
            frames=manifest.frames,
            fps=options.fps,
            stride=options.stride,
            top_k=self._top_k,
            policy=options.policy,
            max_gap_s=options.max_gap_s,
            short_edge=manifest.preprocessing.resize,
            crop=manifest.preprocessing.crop,
            max_frame_bytes=_most_frame_bytes(self._service.settings, manifest.frames),
        )

    def _ended(self, opened: OpenStream, reason: str) -> messages.Ended:
        counted = opened.session.sums
        return messages.Ended(
            reason=reason,
            frames=counted.frames,
            frames_used=counted.frames_used,
            frames_refused=counted.frames_refused,
            windows=counted.windows,
            predictions=counted.predictions,
            skipped=dict(counted.skipped),
            gaps=counted.gaps,
        )

    def _log(self, opened: OpenStream) -> None:
        ended = msgspec.structs.asdict(self._ended(opened, ""))
        del ended["reason"]
        self._request[LOG_FIELDS] |= {"stream": opened.session.options.name, "session": opened.id} | ended

    async def _send(self, answer: messages.Answer) -> None:
        await self._socket.send_str(msgspec.json.encode(answer).decode())


def _options(hello: messages.Hello, frames: int) -> StreamOptions:
    """What ``hello`` asks for, with the defaults for a model that takes so many frames."""
    return StreamOptions(
        name=hello.name or "stream",
        fps=hello.fps,
        stride=hello.stride or frames,
        max_gap_s=hello.max_gap_s or max(1.5 / hello.fps, 0.5),
        policy=hello.policy,
        pixel_format=hello.format,
        weight=hello.weight,
    )


def _most_frame_bytes(settings: Settings, frames: int) -> int:
    """The longest message for a frame without its header, and its most pixels in bytes."""
    return settings.max_clip_bytes // frames


def _problem(error: Exception, time_s: float | None = None) -> messages.StreamProblem:
    problem = problem_of(error)
    return messages.StreamProblem(
        problem=problem.type,
        title=problem.title,
        status=problem.status,
        detail=problem.detail,
        request_id=problem.request_id,
        field=problem.field,
        time_s=time_s,
    )


def _close_code(error: RequestError) -> int:
    return next((code for kind, code in _CLOSE_CODES.items() if isinstance(error, kind)), WSCloseCode.POLICY_VIOLATION)


def _check_origin(request: web.Request, settings: Settings) -> None:
    """Raises ForbiddenError for a page of another origin; programs other than browsers send no ``Origin``."""
    origin = request.headers.get(hdrs.ORIGIN)
    allowed = settings.cors_origins
    if origin is None or "*" in allowed or origin in allowed or urlsplit(origin).netloc == request.host:
        return
    raise ForbiddenError("pages of this origin may not open streams (--cors-origins)", field="Origin")


def _offered_key(request: web.Request) -> str | None:
    """The value of ``Authorization``, or one made from the subprotocol that holds a key; None without both."""
    if (header := request.headers.get(hdrs.AUTHORIZATION)) is not None:
        return header
    offered = request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "").split(",")
    keys = [name.strip().removeprefix(KEY_PROTOCOL) for name in offered if name.strip().startswith(KEY_PROTOCOL)]
    return f"Bearer {keys[0]}" if keys else None


async def streams(request: web.Request) -> web.Response:
    """The open streams, the oldest first."""
    answer = messages.OpenStreams([_summary(one) for one in request.app[STREAMS]])
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")


def _summary(opened: OpenStream) -> messages.StreamSummary:
    session, latest = opened.session, opened.session.latest
    counted = session.sums
    labels = latest.model.manifest.labels if latest else ()
    return messages.StreamSummary(
        session=opened.id,
        name=session.options.name,
        since_s=opened.since_s,
        fps=session.options.fps,
        frames=counted.frames,
        windows=counted.windows,
        predictions=counted.predictions,
        skipped=dict(counted.skipped),
        gaps=counted.gaps,
        prediction=top_predictions(latest.probabilities, labels, 1)[0] if latest else None,
        age_ms=round(latest.age_ms, 3) if latest else None,
        total_ms=round(latest.times.total_ms, 3) if latest else None,
    )
