"""One stream: frames become windows, and windows become answers, in their order."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from engines.clip import Clip, PixelFormat
from engines.engine import Model
from engines.errors import EngineError
from sampling.stream_times import StreamTimes
from sampling.timeline import Timed
from sampling.windows import Sampler, Shape, Window, Windows
from server.batching.clip_queue import Classified, StreamShare
from server.clips.lease import Lease
from server.clips.upload import Memory
from server.errors import RequestError, UnreadableError
from server.serving.deployment import Deployment
from server.serving.service import Service
from server.streams.events import Answered, Broken, ModelInService, Passed, Refused, SkipReason, Span, Tell
from server.streams.frames import FrameMessage, StreamFrame
from server.streams.window_slot import DueWindow, WindowSlot

Policy = Literal["latest", "wait"]

# So many frames of a stream are decoded ahead of their windows. With more, the stream is late, and the others wait for
# their windows, which may be skipped.
_DECODED_AHEAD = 2
# A change of the ratio of the sides by less than this is a rounding of the sender's scaler.
_SAME_ASPECT = 0.01


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What a client asked for; ``max_gap_s`` as in ``Sampler``, ``stride`` in sampled frames."""

    name: str
    fps: float
    stride: int
    max_gap_s: float
    policy: Policy
    pixel_format: PixelFormat
    weight: float


@dataclass(slots=True)
class Sums:
    """What became of the frames and windows of a stream."""

    frames: int = 0
    frames_used: int = 0
    frames_refused: int = 0
    windows: int = 0
    predictions: int = 0
    gaps: int = 0
    skipped: dict[str, int] = field(default_factory=dict)


class Session:
    """Classifies the windows of one stream; the caller gives frames to ``push`` and runs ``answer_windows`` beside.

    Invariants: all attributes belong to the event loop. At most one window is being classified, by ``answer_windows``,
    and at most one more is in ``_slot``. Frames are counted in the order of their arrival, whenever they are
    decoded. ``_model`` is the model for whose crop size and number of frames windows are made.
    """

    def __init__(self, service: Service, options: StreamOptions, lease: Lease, tell: Tell) -> None:
        """``lease`` holds what the stream holds.

        Raises:
            NotReadyError: no model is in service.
            OverloadedError: there is no memory for the ring.
        """
        self.options = options
        self.sums = Sums()
        self.latest: Answered | None = None
        self._service, self._lease, self._tell = service, lease, tell
        self._memory: Memory = lease.take(service.admission.request_memory())
        self._share = StreamShare(options.weight)
        self._slot = WindowSlot()
        self._decoding: set[asyncio.Task[npt.NDArray[np.uint8]]] = set()
        self._use(service.loaded())
        self._memory.add(self._ring_bytes())

    @property
    def model(self) -> Model:
        return self._model

    async def push(self, message: FrameMessage) -> None:
        """The next frame; with the policy ``wait``, returns when there is room for its windows."""
        frame = StreamFrame(message, self._memory, asyncio.get_running_loop().time())
        self.sums.frames += 1
        timed = await self._placed(frame, message.size)
        for sample in self._sampler.push(timed):
            if len(self._decoding) < _DECODED_AHEAD:
                self._decode(sample.frame)
            await self._sampled(self._windows.push(sample))

    async def refuse(self, error: RequestError, time_s: float | None) -> None:
        """The frame of ``time_s`` could not be read; the stream continues as if it had not been sent."""
        self.sums.frames += 1
        self.sums.frames_refused += 1
        await self._tell(Refused(error, time_s))

    async def finish(self) -> None:
        """No more frames come: the last ones complete their windows, and ``answer_windows`` returns after those."""
        for sample in self._sampler.end():
            await self._sampled(self._windows.push(sample))
        await self.stop()

    async def stop(self) -> None:
        """Let ``answer_windows`` return after the windows that are complete."""
        await self._slot.end()

    def close(self) -> None:
        """Decode no more frames, because nobody waits for their windows."""
        for task in tuple(self._decoding):
            task.cancel()

    async def answer_windows(self) -> None:
        """Classify the windows as they become due, until ``stop``.

        Raises:
            NotReadyError: the engine is lost.
            OverloadedError: there is no memory for the crops of a new model.
        """
        while (due := await self._slot.take()) is not None:
            with self._service.accepted(begun=True) as deployment:
                if await self._is_current(deployment.model):
                    await self._answer(due, deployment)
                else:
                    await self._pass(due, "model")

    def _use(self, model: Model) -> None:
        """Make windows for ``model`` from now on."""
        manifest, options = model.manifest, self.options
        self._model = model
        self._times = StreamTimes(1 / options.fps, options.max_gap_s)
        self._sampler = Sampler[StreamFrame](options.fps, math.inf)
        self._windows = Windows[StreamFrame](
            Shape(manifest.frames, options.fps, options.stride), lambda: None, fills_up=False
        )
        self._last: Timed[StreamFrame] | None = None
        self._aspect = 0.0

    def _ring_bytes(self) -> int:
        """The crops of the windows that are under way, and those of the next one."""
        manifest = self._model.manifest
        return 2 * manifest.frames * 3 * manifest.preprocessing.crop**2

    async def _placed(self, frame: StreamFrame, size: tuple[int, int]) -> Timed[StreamFrame]:
        """Give ``frame`` its place in time, and tell the client when it does not continue the frame before."""
        placed = self._times.place(frame.time_s)
        aspect = size[1] / size[0]
        resized = abs(aspect - self._aspect) > _SAME_ASPECT * aspect
        timed = Timed(placed.time_s, placed.duration_s, frame, placed.starts or resized)
        last, self._last, self._aspect = self._last, timed, aspect
        if last is not None and timed.starts:
            self.sums.gaps += 1
            await self._tell(Broken(last.time_s, timed.time_s, "time" if placed.starts else "size"))
        return timed

    async def _sampled(self, window: Window[StreamFrame] | None) -> None:
        if window is None:
            return
        span = Span(self.sums.windows, window.start_s, window.end_s)
        self.sums.windows += 1
        due = DueWindow(span, window.frames, asyncio.get_running_loop().time())
        if self.options.policy == "wait":
            await self._slot.put(due)
        elif (passed := await self._slot.replace(due)) is not None:
            await self._pass(passed, "overload")

    async def _is_current(self, model: Model) -> bool:
        """Whether windows are made for ``model``; if not, they are from now on, and the client is told."""
        before, now = self._model.manifest, model.manifest
        fits = (before.frames, before.preprocessing) == (now.frames, now.preprocessing)
        if model is self._model:
            return True
        if fits:
            self._model = model
        else:
            before_bytes = self._ring_bytes()
            self._use(model)
            self._memory.add(max(0, self._ring_bytes() - before_bytes))
        await self._tell(ModelInService(model))
        return fits

    def _decode(self, frame: StreamFrame) -> asyncio.Task[npt.NDArray[np.uint8]]:
        task = frame.task
        if task is None:
            threads, preprocessing = self._service.decode_threads, self._model.manifest.preprocessing
            task = frame.start(self.options.pixel_format, preprocessing, threads, self._lease)
            self._decoding.add(task)
            task.add_done_callback(self._decoded)
        return task

    def _decoded(self, task: asyncio.Task[npt.NDArray[np.uint8]]) -> None:
        self._decoding.discard(task)
        self.sums.frames_used += 1

    async def _answer(self, due: DueWindow, deployment: Deployment) -> None:
        try:
            clip = await self._clip(due, deployment.model)
            work = deployment.batcher.classify(clip, math.inf, share=self._share)
            call = asyncio.create_task(work, name="window")
            del clip, work  # the queue may exchange the clip, and would keep this one in memory
            try:
                if self.options.policy == "latest":
                    due = await self._newest(due, call, deployment)
                answer = await call
            finally:
                call.cancel()
        except UnreadableError:
            await self._pass(due, "frame")
        except EngineError as error:
            await self._tell(Refused(error, None))
        else:
            await self._answered(due, deployment.model, answer)

    async def _newest(self, due: DueWindow, call: asyncio.Task[Classified], deployment: Deployment) -> DueWindow:
        """Let newer windows take the place of ``due`` while it waits for an engine; return the one that is taken."""
        while not call.done():
            filled = asyncio.create_task(self._slot.filled(), name="newer")
            await asyncio.wait([call, filled], return_when=asyncio.FIRST_COMPLETED)
            filled.cancel()
            newer = None if call.done() else self._slot.take_now()
            if newer is None:
                continue
            try:
                clip = await self._clip(newer, deployment.model)
            except UnreadableError:
                await self._pass(newer, "frame")
                continue
            if deployment.batcher.replace(self._share, clip):
                await self._pass(due, "overload")
                due = newer
                continue
            # An engine has taken ``due``.
            if not self._slot.put_back(newer):
                await self._pass(newer, "overload")
            await asyncio.wait([call])
        return due

    async def _answered(self, due: DueWindow, model: Model, answer: Classified) -> None:
        now_s, times = asyncio.get_running_loop().time(), answer.times
        times.decode_ms, times.total_ms = (due.decoded_s - due.due_s) * 1e3, (now_s - due.due_s) * 1e3
        age_ms = (now_s - max(frame.arrived_s for frame in due.frames)) * 1e3
        self.sums.predictions += 1
        self.latest = Answered(due.span, answer.probabilities, model, times, age_ms)
        await self._tell(self.latest)

    async def _clip(self, due: DueWindow, model: Model) -> Clip:
        """Gather the crops of the window; raises UnreadableError if one of its frames cannot be decoded."""
        tasks = {frame: self._decode(frame) for frame in due.frames}
        await asyncio.wait(tasks.values())
        for frame, task in tasks.items():
            if (error := task.exception()) is not None:
                await self._report(frame, error)
                raise error
        pixels = model.allocate(*2 * (model.manifest.preprocessing.crop,))
        np.stack([tasks[frame].result() for frame in due.frames], out=pixels)
        due.decoded_s = asyncio.get_running_loop().time()
        return Clip(pixels, "BGR", cropped=True)

    async def _report(self, frame: StreamFrame, error: BaseException) -> None:
        """Tell the client once that ``frame`` is at fault."""
        if isinstance(error, UnreadableError) and not frame.reported:
            frame.reported = True
            self.sums.frames_refused += 1
            await self._tell(Refused(error, frame.time_s))

    async def _pass(self, due: DueWindow, reason: SkipReason) -> None:
        self.sums.skipped[reason] = self.sums.skipped.get(reason, 0) + 1
        await self._tell(Passed(due.span, reason))
