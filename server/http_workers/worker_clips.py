"""An HTTP worker's clips in the engine process."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import threading
from collections.abc import Callable

from engines.clip import Clip
from engines.errors import EngineError, RetryLaterError, ServiceError
from server.deployment import Deployment
from server.http_workers.messages import Answer, Done, Failed, Message, Submit
from server.http_workers.segment import Segment


class WorkerClips:
    """Each is given to the batcher of the engine that its request was promised; the worker keeps its place until Done.

    What the engine really looks at is known by the last reference to the frames: a batch goes on when nobody waits for
    it any more.
    """

    def __init__(self, segment: Segment, send: Callable[[Message], None]) -> None:
        self._segment = segment
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._looked_at: set[int] = set()
        self._thread = threading.get_ident()
        self._nobody_looks = asyncio.Event()
        self._nobody_looks.set()

    def submit(self, submit: Submit, deployment: Deployment) -> None:
        """Have it classified, and the worker told."""
        gone = functools.partial(self._gone, submit.clip)
        frames = self._segment.view(submit.offset, math.prod(submit.shape), gone).reshape(submit.shape)
        self._looked_at.add(submit.clip)
        self._nobody_looks.clear()
        clip = Clip(frames, submit.pixel_format)
        self._tasks[submit.clip] = task = self._loop.create_task(self._classify(submit, clip, deployment))
        task.add_done_callback(lambda _: self._tasks.pop(submit.clip))

    def cancel(self, clip: int) -> None:
        """The engine never sees it, if it still waits."""
        if task := self._tasks.get(clip):
            task.cancel()

    def cancel_all(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    async def until_nobody_looks(self) -> None:
        """Until the engine process reads none of them."""
        await self._nobody_looks.wait()

    async def _classify(self, submit: Submit, clip: Clip, deployment: Deployment) -> None:
        answer = deployment.batcher.classify(clip, submit.deadline_s, submit.priority)
        del clip
        try:
            classified = await answer
        except ServiceError as error:
            self._send(_failed(submit.clip, error))
        except Exception as error:  # who waits for it is told whatever happens
            self._send(_failed(submit.clip, EngineError(f"the batcher failed: {error!r}")))
        else:
            timings_ms = (classified.queue_ms, classified.preprocess_ms, classified.network_ms)
            self._send(Answer(submit.clip, classified.probabilities.tobytes(), *timings_ms))

    def _gone(self, clip: int) -> None:
        """In any thread: in the event loop's as a rule, and then the worker is told together with the answer."""
        if threading.get_ident() == self._thread:
            self._done(clip)
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended before the engine
            self._loop.call_soon_threadsafe(self._done, clip)

    def _done(self, clip: int) -> None:
        self._send(Done(clip))
        self._looked_at.discard(clip)
        if not self._looked_at:
            self._nobody_looks.set()


def _failed(clip: int, error: ServiceError) -> Failed:
    retry_after_s = error.retry_after_s if isinstance(error, RetryLaterError) else None
    return Failed(clip, error.message, error.help, retry_after_s)
