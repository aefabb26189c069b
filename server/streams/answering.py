"""Answers the windows of one stream, one at a time."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.clip import Clip
from engines.engine import Model
from engines.errors import EngineError
from engines.linear_heads.head import HeadAnswer
from engines.linear_heads.manifest import ALL
from server.batching.clip_queue import Classified, StreamShare
from server.errors import UnreadableError
from server.serving.deployment import Deployment
from server.streams.decoder import Decoder
from server.streams.events import Answered, Passed, Refused, Serving, SkipReason, Tell
from server.streams.frames import ReadyFrame
from server.streams.options import StreamOptions
from server.streams.still_gate import StillGate
from server.streams.sums import Account
from server.streams.window_slot import DueWindow, WindowSlot


@dataclass(frozen=True, slots=True)
class Shown:
    """What a window has shown: ``crops``, uint8 BGR [S, S, 3], of frames whose short edge was ``resize`` pixels."""

    crops: list[npt.NDArray[np.uint8]]
    resize: int


class Answering:
    """Decodes the frames of a window, has an engine classify it, and tells the client.

    Invariants: belongs to the event loop; at most one window is being classified. ``latest`` is the last answer, and
    ``shown`` is what it is for, if it ``keeps`` that.
    """

    def __init__(
        self,
        options: StreamOptions,
        slot: WindowSlot,
        decoder: Decoder,
        account: Account,
        tell: Tell,
        *,
        keeps: bool = False,
    ) -> None:
        self.latest: Answered | None = None
        self.shown: Shown | None = None
        self._keeps = keeps
        self.gate = StillGate(options.still) if options.still is not None else None
        self._head = options.head
        self._replaces = options.policy == "latest"
        self._share = StreamShare(options.weight)
        self._slot, self._decoder, self._account, self._tell = slot, decoder, account, tell

    async def answer(self, due: DueWindow, deployment: Deployment, serving: Serving) -> None:
        """Answer ``due``, or a newer window that took its place, by ``serving``, which is that of ``deployment``.

        Raises NotReadyError if the engine is lost.
        """
        clip = await self._clip(due, deployment.model)
        if clip is None:
            return
        work = deployment.batcher.classify(clip, math.inf, share=self._share)
        call = asyncio.create_task(work, name="window")
        del clip, work  # the queue may exchange the clip, and would keep this one in memory
        try:
            if self._replaces:
                due = await self._newest(due, call, deployment)
            answer = await call
        except EngineError as error:
            self._account.failed()
            await self._tell(Refused(error, span=due.span))
        else:
            await self._answered(due, serving, answer)
        finally:
            call.cancel()

    async def skip(self, due: DueWindow, reason: SkipReason) -> None:
        self._account.skipped(reason)
        await self._tell(Passed(due.span, reason))

    async def _newest(self, due: DueWindow, call: asyncio.Task[Classified], deployment: Deployment) -> DueWindow:
        """Let newer windows take the place of ``due`` while it waits for an engine; return the one that is taken."""
        while not call.done():
            filled = asyncio.create_task(self._slot.filled(), name="newer")
            await asyncio.wait([call, filled], return_when=asyncio.FIRST_COMPLETED)
            filled.cancel()
            newer = None if call.done() else self._slot.take_now()
            clip = None if newer is None else await self._clip(newer, deployment.model)
            if newer is None or clip is None:
                continue
            if deployment.batcher.replace(self._share, clip):
                await self.skip(due, "overload")
                due = newer
                continue
            # An engine has taken ``due``.
            if not self._slot.put_back(newer):
                await self.skip(newer, "overload")
            await asyncio.wait([call])
        return due

    async def _clip(self, due: DueWindow, model: Model) -> Clip | None:
        """The crops of the window; None if it is skipped, because a frame is damaged or because nothing moves."""
        try:
            frames = await self._decoder.frames(due)
        except UnreadableError:
            await self.skip(due, "frame")
            return None
        if self._is_still(due, frames):
            await self.skip(due, "still")
            return None
        pixels = model.allocate(*2 * (model.manifest.preprocessing.crop,))
        np.stack([frame.crop for frame in frames], out=pixels)
        return Clip(pixels, "BGR", cropped=True, keys=tuple(frame.key for frame in frames))

    def _is_still(self, due: DueWindow, frames: list[ReadyFrame]) -> bool:
        """Whether the gate passes over the window."""
        if self.gate is not None and due.verdict is None:
            due.verdict = self.gate.verdict([frame.cells for frame in frames if frame.cells is not None])
        return due.verdict == "still"

    async def _answered(self, due: DueWindow, serving: Serving, found: Classified) -> None:
        now_s, times = asyncio.get_running_loop().time(), found.times
        times.decode_ms, times.total_ms = (due.decoded_s - due.due_s) * 1e3, (now_s - due.due_s) * 1e3
        age_ms = (now_s - max(frame.arrived_s for frame in due.frames)) * 1e3
        checked = due.verdict == "checked"
        answer, heads = self._answers(serving, found)
        if self.gate is not None and checked:
            self._account.still_checked(missed=self.gate.check([answer, *heads.values()]))
        self._account.answered(times, answer.top_label if answer.labels else None, age_ms)
        self.latest = Answered(due.span, serving, answer, times, age_ms, heads, found.features, still=checked)
        if self._keeps:
            crops = [frame.crop for frame in await self._decoder.frames(due)]
            self.shown = Shown(crops, due.takes.preprocessing.resize)
        await self._tell(self.latest)

    def _answers(self, serving: Serving, found: Classified) -> tuple[HeadAnswer, dict[str, HeadAnswer]]:
        """The answer that the stream asked for, and those of all heads if it asked for all."""
        own = HeadAnswer(serving.model.manifest.labels, found.probabilities)
        if found.features is None or self._head is None:
            return own, {}
        if self._head != ALL:
            return serving.heads[self._head].answer(found.features), {}
        return own, {name: head.answer(found.features) for name, head in serving.heads.items()}
