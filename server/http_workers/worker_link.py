"""The engine process's end of the line to one HTTP worker."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

from engines.errors import ConfigurationError, NotReadyError, RateLimitedError, ServiceError
from server.deployment import Deployment
from server.http_workers import messages as told
from server.http_workers.channel import Channel
from server.http_workers.segment import Segment
from server.http_workers.worker_clips import WorkerClips
from server.metrics import FAILED, Metrics
from server.rate_limit import RateLimit


class WorkerLink:
    """What a worker asks for and counts; the engines that it uses, which are kept for as long as it does."""

    def __init__(self, segment: Segment, metrics: Metrics, limit: RateLimit | None) -> None:
        self._metrics = metrics
        self._limit = limit
        self._channel = Channel(told.ToEngine, self._receive, self._end)
        self.send = self._channel.send
        self.clips = WorkerClips(segment, self.send)
        self.serving: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.drained = asyncio.Event()
        self.ended = asyncio.Event()
        self.requests = self.handed = 0
        self._taken = self._clients = 0
        self._generation = 0
        self._uses: dict[int, tuple[Deployment, contextlib.ExitStack]] = {}
        self._told: asyncio.Future[None] | None = None
        self._alive = asyncio.Event()
        self._announced: dict[int, asyncio.Future[None]] = {}
        self._handle: dict[type[told.Message], Callable[[Any], None]] = {
            told.Serving: lambda _: self.serving.set_result(None),
            told.Unusable: lambda message: self._refuse(ConfigurationError(message.message, help=message.help)),
            told.Using: lambda message: self._announced.pop(message.generation).set_result(None),
            told.Retired: lambda message: self._release(message.generation),
            told.Pong: lambda _: self._alive.set(),
            told.Told: lambda _: self._state_told(),
            told.Drained: lambda _: self.drained.set(),
            told.Submit: lambda message: self.clips.submit(message, self._uses[message.generation][0]),
            told.Cancel: lambda message: self.clips.cancel(message.clip),
            told.Received: lambda _: self._received(),
            told.Ended: lambda message: self._request_ended(message.outcome),
            told.Answered: lambda message: metrics.answered(message.phases, message.label),
            told.Closed: lambda message: metrics.closed(message.reason),
            told.Connected: self._connected,
            told.Scrape: lambda message: self.send(told.Reply(message.question, metrics.text())),
            told.Hit: self._hit,
        }

    @property
    def clients(self) -> int:
        """Connections that the worker has, or is about to take."""
        return self.handed - self._taken + self._clients

    async def connect(self, end: socket.socket) -> None:
        """Over ``end``, which then belongs to the link."""
        await self._channel.connect(end)

    async def announce(self, deployment: Deployment) -> None:
        """Have the worker serve with ``deployment``; returns when it does, or has ended."""
        if self.ended.is_set():
            return
        self._generation += 1
        stack = contextlib.ExitStack()
        stack.enter_context(deployment.used())
        self._uses[self._generation] = deployment, stack
        using = self._announced[self._generation] = asyncio.get_running_loop().create_future()
        engine = deployment.engine
        self.send(told.Deploy(self._generation, engine.manifest, engine.device_name, engine.precision))
        await using

    async def tell(self, state: told.Draining | told.Lost) -> None:
        """Returns when its clients hear of it, or it has ended."""
        if self.ended.is_set():
            return
        self._state_told()
        self._told = asyncio.get_running_loop().create_future()
        self.send(state)
        await self._told

    async def hangs(self, timeout_s: float) -> bool:
        """Whether the worker, unless it has ended, gives no sign of life for ``timeout_s``."""
        self._alive.clear()
        self.send(told.Ping())
        # In two parts: a clock that jumps, as when a machine was paused, takes only one of them.
        for _ in range(2):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s / 2):
                    await self._alive.wait()
        return not self._alive.is_set()

    def _receive(self, message: told.Message) -> None:
        self._handle[type(message)](message)

    def _end(self) -> None:
        self.ended.set()
        self.drained.set()
        self._alive.set()
        self._refuse(NotReadyError("the worker ended before it served", retry_after_s=1))
        self.clips.cancel_all()
        self._state_told()
        for using in self._announced.values():
            using.set_result(None)
        self._announced.clear()
        for generation in list(self._uses):
            self._release(generation)
        # Requests that were received there are counted to their end, too.
        for _ in range(self.requests):
            self._metrics.ended(FAILED)

    def _state_told(self) -> None:
        if self._told is not None and not self._told.done():
            self._told.set_result(None)

    def _refuse(self, error: ServiceError) -> None:
        if not self.serving.done():
            self.serving.set_exception(error)

    def _release(self, generation: int) -> None:
        self._uses.pop(generation)[1].close()

    def _received(self) -> None:
        self.requests += 1
        self._metrics.received()

    def _request_ended(self, outcome: str) -> None:
        self.requests -= 1
        self._metrics.ended(outcome)

    def _connected(self, message: told.Connected) -> None:
        self._taken, self._clients = message.taken, message.clients

    def _hit(self, message: told.Hit) -> None:
        refused = None
        try:
            if self._limit is not None:
                self._limit.check(message.client)
        except RateLimitedError as error:
            refused = (error.message, error.retry_after_s)
        self.send(told.Reply(message.question, refused=refused))
