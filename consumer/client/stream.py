"""A stream: a connection on which each frame is sent once, and every window of frames is answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable
from http import HTTPStatus
from typing import Self

import aiohttp
from aiohttp import WSCloseCode, WSMessage, WSMsgType

from consumer.client.encodings import Encoding, PixelFormat
from consumer.client.stream_messages import (
    END,
    Frame,
    StreamAnswer,
    StreamEnded,
    StreamOptions,
    StreamProblem,
    StreamReady,
    frame_message,
)
from consumer.client.wire import decoded
from consumer.errors import ServiceAnswerError, ServiceError, ServiceRefusedError, StreamClosedError
from consumer.shown_text import shown

Timed = tuple[float, Frame]
Frames = AsyncIterable[Timed] | Iterable[Timed]
"""Frames with their times in seconds, which rise."""

_CLOSED = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)


class Stream:
    """An open stream, made by ``AsyncClient.open_stream``. One task sends and one receives, at the same time.

    ``ready`` is the latest description of what to send. ``_problem`` is the error that came as the last answer: if the
    service closes the stream now, this is why.
    """

    ready: StreamReady

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        url: str,
        pixel_format: PixelFormat,
        encoding: Encoding,
        jpeg_quality: int,
    ) -> None:
        self._socket = socket
        self._url = url
        self._how = (encoding, pixel_format, jpeg_quality)
        self._problem: StreamProblem | None = None
        self._ended = False

    async def begin(self, options: StreamOptions, timeout_s: float) -> None:
        """Send the hello and wait for its answer. Raises ServiceError."""
        await self._write(self._socket.send_str(options.hello()))
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self.receive()
                if isinstance(answer, StreamProblem):
                    # The service closes a stream that it does not accept.
                    await self.receive()
        except TimeoutError as error:
            raise StreamClosedError(self._url, WSCloseCode.ABNORMAL_CLOSURE, f"no answer in {timeout_s:g} s") from error
        if not isinstance(answer, StreamReady):
            raise ServiceAnswerError("a stream does not begin with ready")

    async def send(self, time_s: float, frame: Frame) -> None:
        """Send a frame; waits while the service reads no further. Raises ClipError, ServiceError."""
        if self._how[0] == "jpeg" and not isinstance(frame, bytes):
            message = await asyncio.to_thread(frame_message, time_s, frame, *self._how)
        else:
            message = frame_message(time_s, frame, *self._how)
        await self._write(self._socket.send_bytes(message))

    async def end(self) -> None:
        """Tell that no more frames come; the windows that were begun are still answered. Raises StreamClosedError."""
        await self._write(self._socket.send_str(END))

    async def close(self) -> None:
        """Close the connection; a task that waits for answers gets a StreamClosedError."""
        await self._socket.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamAnswer:
        if self._ended and (message := await self._socket.receive()).type in _CLOSED:
            if self._socket.close_code == WSCloseCode.OK:
                raise StopAsyncIteration
            raise self._why_closed(message)
        return await self.receive()

    async def receive(self) -> StreamAnswer:
        """The next answer. Raises ServiceError at the end of the connection, or if the answer is not understood."""
        message = await self._socket.receive()
        if message.type in _CLOSED:
            raise self._why_closed(message)
        if message.type is not WSMsgType.TEXT:
            raise ServiceAnswerError(f"a message of type {message.type.name}")
        # mypy does not accept a union as the type to decode.
        answer: StreamAnswer = decoded(message.data.encode(), StreamAnswer)  # type: ignore[arg-type]
        self._problem = answer if isinstance(answer, StreamProblem) else None
        if isinstance(answer, StreamReady):
            self.ready = answer
        self._ended = isinstance(answer, StreamEnded)
        return answer

    async def _write(self, writing: Awaitable[None]) -> None:
        try:
            await writing
        except (ConnectionError, aiohttp.ClientError) as error:
            code = self._socket.close_code or WSCloseCode.ABNORMAL_CLOSURE
            raise StreamClosedError(self._url, code, "") from error

    def _why_closed(self, message: WSMessage) -> ServiceError:
        code = self._socket.close_code or WSCloseCode.ABNORMAL_CLOSURE
        why = shown(message.extra) if isinstance(message.extra, str) else ""
        if self._problem is not None:
            return refusal(self._problem)
        if code == WSCloseCode.MESSAGE_TOO_BIG:
            return ServiceRefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "a frame is too large", why)
        return StreamClosedError(self._url, code, why)


def refusal(problem: StreamProblem) -> ServiceRefusedError:
    """The error for ``problem``, with its texts escaped."""
    field = None if problem.field is None else shown(problem.field)
    return ServiceRefusedError(problem.status, shown(problem.title), shown(problem.detail), field)


async def answers_of(stream: Stream, frames: Frames) -> AsyncIterator[StreamAnswer]:
    """Send all ``frames`` and end the stream; meanwhile yield its answers. Raises what ``frames`` raise, too."""
    failures: list[Exception] = []
    sending = asyncio.create_task(_send_all(stream, frames, failures), name="send frames")
    try:
        yield stream.ready
        async for answer in stream:
            yield answer
    except ServiceError:
        if failures:
            raise failures[0] from None
        raise
    finally:
        sending.cancel()
        await asyncio.wait({sending})


async def _send_all(stream: Stream, frames: Frames, failures: list[Exception]) -> None:
    """Send and end; what the frames raise is put into ``failures``, and closes the stream."""
    try:
        async for time_s, frame in _each(frames):
            await stream.send(time_s, frame)
        await stream.end()
    except StreamClosedError:
        return  # the task that reads the answers knows why
    except Exception as error:
        failures.append(error)
        await stream.close()


async def _each(frames: Frames) -> AsyncIterator[Timed]:
    if isinstance(frames, AsyncIterable):
        async for timed in frames:
            yield timed
        return
    iterator = iter(frames)
    while (timed_or_none := await asyncio.to_thread(next, iterator, None)) is not None:
        yield timed_or_none
