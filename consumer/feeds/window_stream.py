"""One connection to the service's stream: sends clips frame by frame, and finds the answer of each clip."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus

from consumer.client.answer import Answer
from consumer.client.encodings import Picture
from consumer.client.stream import Stream, refusal
from consumer.client.stream_messages import (
    StreamAnswer,
    StreamEnded,
    StreamProblem,
    StreamReady,
    WindowPrediction,
    WindowSkipped,
)
from consumer.errors import (
    ClipDroppedError,
    ClipStillError,
    ConsumerError,
    ServiceError,
    ServiceRefusedError,
    ServiceUnreachableError,
    StreamClosedError,
)
from consumer.feeds.frame_run import FrameRun, Placed

_END_S = 1.0


class WindowStream:
    """Sends the clips of one source on ``stream``, which samples ``fps`` frames a second.

    The times of the frames are ticks, so that the service makes exactly the windows that the clips are. ``_waiting``
    has the clips without an answer, by the tick of their first frame, in their order. ``error`` is why the connection
    ended. It is given up when a clip waits and no answer came for ``timeout_s`` seconds.
    """

    def __init__(self, stream: Stream, url: str, fps: float, stride: int, timeout_s: float) -> None:
        self.error: ServiceError | None = None
        self.ended: StreamEnded | None = None
        self._stream, self._url, self._fps, self._timeout_s = stream, url, fps, timeout_s
        self._frames, self._short_edge = stream.ready.frames, stream.ready.short_edge
        self._run = FrameRun(stride)
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._heard_s = asyncio.get_running_loop().time()
        self._reading = asyncio.create_task(self._read(), name="read stream")

    async def begin(self, pictures: Sequence[Picture]) -> asyncio.Future[Answer]:
        """Send the frames of a clip that the service does not have; returns its answer to come. Raises ServiceError.

        The answer raises ClipDroppedError if the service passed over the clip for a newer one, ClipStillError if
        nothing moved in it, or ServiceError.
        """
        if len(pictures) != self._stream.ready.frames:
            detail = f"the model takes {self._stream.ready.frames} frames, not {len(pictures)}"
            raise ServiceRefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "Unprocessable Entity", detail, "frames")
        first, missing = self._run.complete(pictures)
        loop = asyncio.get_running_loop()
        if not self._waiting:
            self._heard_s = loop.time()
        answer = self._waiting[first] = loop.create_future()
        answer.add_done_callback(_retrieved)
        await self._send(missing)
        return answer

    async def send_ahead(self, pictures: Sequence[Picture]) -> None:
        """Send the first frames of a clip that is not complete yet. Raises ServiceError."""
        await self._send(self._run.ahead(pictures))

    async def close(self) -> None:
        """End the stream if nothing waits for an answer, and close it."""
        try:
            if self.error is None and not self._waiting:
                async with asyncio.timeout(_END_S):
                    await self._stream.end()
                    await asyncio.shield(self._reading)
        except (ServiceError, TimeoutError):
            return
        finally:
            self._reading.cancel()
            await asyncio.wait({self._reading})

    async def _send(self, frames: Placed) -> None:
        try:
            for tick, picture in frames:
                await self._stream.send(tick / self._fps, picture)
        except StreamClosedError as error:
            # Who reads the answers learns why the service has closed the stream.
            await asyncio.wait({self._reading}, timeout=_END_S)
            raise self.error or error from None

    async def _read(self) -> None:
        """Read answers until the connection ends; then all clips that wait fail."""
        try:
            while True:
                self._take(await self._receive())
        except ServiceError as error:
            self.error = error
            self._fail(error)
            await self._stream.close()

    async def _receive(self) -> StreamAnswer:
        receiving = asyncio.ensure_future(self._stream.receive())
        loop = asyncio.get_running_loop()
        try:
            while not (await asyncio.wait({receiving}, timeout=self._timeout_s / 2))[0]:
                if self._waiting and loop.time() - self._heard_s >= self._timeout_s:
                    raise ServiceUnreachableError(self._url, f"did not answer on a stream in {self._timeout_s:g} s")
            self._heard_s = loop.time()
            return receiving.result()
        finally:
            receiving.cancel()

    def _take(self, answer: StreamAnswer) -> None:
        match answer:
            case WindowPrediction():
                clip_id = f"{self._stream.ready.session}-{answer.window}"
                model = self._stream.ready.model
                self._settle(answer.start_s, Answer(answer.predictions, clip_id, model, answer.timings_ms, answer.head))
            case WindowSkipped():
                self._settle(answer.start_s, _skipped(answer.reason))
            case StreamProblem():
                self._refused(answer)
            case StreamReady(frames=frames, short_edge=short_edge):
                if (frames, short_edge) != (self._frames, self._short_edge):
                    self._frames, self._short_edge = frames, short_edge
                    self._fail(_skipped("model"))
            case StreamEnded():
                self.ended = answer

    def _settle(self, start_s: float, outcome: Answer | ConsumerError) -> None:
        """Give the clip that begins at ``start_s`` its outcome; nobody may wait for it any more."""
        future = self._waiting.pop(round(start_s * self._fps), None)
        if future is None or future.done():
            return
        if isinstance(outcome, Answer):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)

    def _refused(self, problem: StreamProblem) -> None:
        """Fail the clips that have the frame at fault, or the clip that is the window at fault.

        An error that names neither is that of the window being classified, from a service of an earlier version.
        """
        if problem.start_s is not None:
            hit = [round(problem.start_s * self._fps)]
        elif problem.time_s is None:
            hit = list(self._waiting)[:1]
        else:
            tick = round(problem.time_s * self._fps)
            hit = [first for first in self._waiting if first <= tick < first + self._frames]
            self._run.restart()
        for first in hit:
            self._settle(first / self._fps, refusal(problem))

    def _fail(self, error: ConsumerError) -> None:
        """Fail all clips, none of whose windows the service will answer."""
        self._run.restart()
        for first in list(self._waiting):
            self._settle(first / self._fps, error)


def _retrieved(answer: asyncio.Future[Answer]) -> None:
    # Nobody waits for it if sending its clip failed.
    if not answer.cancelled():
        answer.exception()


def _skipped(reason: str) -> ConsumerError:
    if reason == "overload":
        return ClipDroppedError()
    if reason == "still":
        return ClipStillError()
    # The clip is sent again, to the model that is in service now.
    return ServiceRefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "Service Unavailable", f"a window was skipped: {reason}")
