"""One stream: frames become windows, and windows become answers, in their order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from engines.engine import Model
from engines.linear_heads.manifest import ALL
from sampling.windows import Window
from server.clips.lease import Lease
from server.clips.upload import Memory
from server.errors import InvalidError, NotReadyError, RequestError
from server.serving.classify import check_features, offered_by
from server.serving.deployment import Deployment
from server.serving.models.served_model import ServedModel
from server.serving.service import Service
from server.streams.answering import Answering, Shown
from server.streams.decoder import Decoder
from server.streams.events import Answered, NowServing, Refused, Serving, Span, Tell
from server.streams.frames import FrameMessage, StreamFrame
from server.streams.model_input import ModelInput
from server.streams.options import StreamOptions
from server.streams.pictures import Pictures
from server.streams.still_gate import StillEstimate
from server.streams.sums import Account, Sums
from server.streams.window_maker import WindowMaker
from server.streams.window_slot import DueWindow, WindowSlot

# When a stream may come again whose head or model is gone.
_RETRY_S = 60


class Session:
    """Classifies the windows of one stream; the caller gives frames to ``push`` and runs ``answer_windows`` beside.

    Invariants: all attributes belong to the event loop. At most one window is being classified, by ``answer_windows``,
    and at most one more is in ``_slot``. Frames are counted in the order of their arrival, whenever they are
    decoded. ``_maker`` makes windows that the model in ``serving`` takes; those in the slot may be of a maker before
    it.
    """

    def __init__(
        self,
        service: Service,
        served: ServedModel,
        options: StreamOptions,
        lease: Lease,
        tell: Tell,
        pictures: Pictures,
    ) -> None:
        """``served`` answers; ``lease`` holds what the stream holds; ``pictures`` gets some of its frames.

        Raises:
            InvalidError: the model cannot answer as ``options`` ask.
            NotReadyError: the model is not in service.
            OverloadedError: there is no memory for the ring.
        """
        self.options, self.pictures = options, pictures
        self._service, self._served, self._tell = service, served, tell
        self._memory: Memory = lease.take(service.admission.request_memory())
        self._account = Account(served.metrics.streams)
        self._slot = WindowSlot()
        self._decoder = Decoder(service.decode_threads, options, lease, self._account, tell, pictures)
        keeps = service.settings.teaching is not None
        self._answering = Answering(options, self._slot, self._decoder, self._account, tell, keeps=keeps)
        with service.accepted(served) as deployment:
            self.serving = self._serving(deployment)
        self._maker = WindowMaker(options, ModelInput.of(self.model.manifest))
        self._windows = 3 if keeps else 2
        self._memory.add(self._ring_bytes(self._maker.takes))

    @property
    def served(self) -> ServedModel:
        """The model that was asked for."""
        return self._served

    @property
    def model(self) -> Model:
        return self.serving.model

    @property
    def sums(self) -> Sums:
        return self._account.sums

    @property
    def fps_in(self) -> float:
        """Frames a second that came lately."""
        return self._account.fps_in(asyncio.get_running_loop().time())

    @property
    def latest(self) -> Answered | None:
        """The last answer."""
        return self._answering.latest

    @property
    def shown(self) -> Shown | None:
        """What the window of the latest answer has shown; None without one, and unless heads can be taught."""
        return self._answering.shown

    @property
    def still(self) -> StillEstimate | None:
        """What the gate for still windows has missed; None without a gate."""
        return self._answering.gate.estimate if self._answering.gate is not None else None

    async def push(self, message: FrameMessage) -> None:
        """The next frame; with the policy ``wait``, returns when there is room for its windows."""
        arrived_s = asyncio.get_running_loop().time()
        frame = StreamFrame(message, self._memory, arrived_s, self._account.frame_unused)
        self._account.frame_came(arrived_s)
        maker = self._maker
        timed, broken = maker.place(frame, message.size)
        if broken is not None:
            self._account.gap(broken.reason)
            await self._tell(broken)
        await self._sampled(maker, maker.push(timed))

    async def refuse(self, error: RequestError, time_s: float | None) -> None:
        """The frame of ``time_s`` could not be read; the stream continues as if it had not been sent."""
        self._account.frame_came(asyncio.get_running_loop().time())
        self._account.frame_refused()
        await self._tell(Refused(error, time_s))

    async def finish(self) -> None:
        """No more frames come: the last ones complete their windows, and ``answer_windows`` returns after those."""
        await self._sampled(self._maker, self._maker.end())
        await self.stop()

    async def stop(self) -> None:
        """Let ``answer_windows`` return after the windows that are complete."""
        await self._slot.end()

    def close(self) -> None:
        """Decode no more frames, because nobody waits for their windows."""
        self._decoder.close()

    async def answer_windows(self) -> None:
        """Classify the windows as they become due, until ``stop``.

        Raises:
            NotReadyError: the engine is lost, or the model or the head is gone that answers as the stream asked.
            OverloadedError: there is no memory for the crops of a new model.
        """
        while (due := await self._slot.take()) is not None:
            with self._service.accepted(self._served, begun=True) as deployment:
                await self._follow(deployment)
                if due.takes == self._maker.takes:
                    await self._answering.answer(due, deployment, self.serving)
                else:
                    await self._answering.skip(due, "model")

    async def _sampled(
        self, maker: WindowMaker, samples: Iterator[tuple[StreamFrame, Window[StreamFrame] | None]]
    ) -> None:
        for frame, window in samples:
            self._decoder.begin(frame, maker.takes.preprocessing)
            if window is not None:
                await self._due(window, maker.takes)

    async def _due(self, window: Window[StreamFrame], takes: ModelInput) -> None:
        span = Span(self.sums.windows, window.start_s, window.end_s)
        self.sums.windows += 1
        due = DueWindow(span, window.frames, takes, asyncio.get_running_loop().time())
        if self.options.policy == "wait":
            await self._slot.put(due)
        elif (passed := await self._slot.replace(due)) is not None:
            await self._answering.skip(passed, "overload")

    def _serving(self, deployment: Deployment) -> Serving:
        """What answers from now on; raises InvalidError if ``deployment`` cannot answer as the options ask."""
        asked, model, identity = self.options, deployment.model, deployment.features_identity
        fitting = self._service.heads_for(identity, asked.head)
        if asked.embeds:
            check_features(model.manifest)
        if asked.head is not None or not asked.embeds:
            offered_by(model.manifest, fitting).labels_of(asked.head)
        if asked.head is None or asked.head == ALL:
            return Serving(model, identity, fitting, fitting if asked.head else {})
        return Serving(model, identity, fitting, {asked.head: fitting[asked.head]})

    async def _follow(self, deployment: Deployment) -> None:
        """Answer with ``deployment`` and its heads from now on, and tell the client if they are others."""
        before = self.serving
        try:
            self.serving = self._serving(deployment)
        except InvalidError as error:
            raise NotReadyError(f"the service has changed: {error.message}", retry_after_s=_RETRY_S) from None
        if not self.serving.answers_like(before):
            self._make_windows_for(self.model)
            await self._tell(NowServing(self.serving))

    def _make_windows_for(self, model: Model) -> None:
        before, now = self._maker.takes, ModelInput.of(model.manifest)
        if now != before:
            self._maker = WindowMaker(self.options, now)
            self._memory.add(max(0, self._ring_bytes(now) - self._ring_bytes(before)))

    def _ring_bytes(self, takes: ModelInput) -> int:
        """The crops of the windows that are under way, those of the next one, and of the last where that is kept."""
        return self._windows * takes.window_bytes
