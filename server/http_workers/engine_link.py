"""An HTTP worker's end of the line to the engine process."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from engines.clip import Clip
from engines.errors import EngineError, NotReadyError, RateLimitedError
from server.clip_queue import Classified
from server.http_workers import messages as told
from server.http_workers.channel import Channel

# What the engine process wants the worker to do, in the order in which it said so; None: it has ended.
Order = told.Begin | told.Deploy | told.Draining | told.Lost | told.Drain | told.Stop | None

_RETRY_ENDED_S = 5


class EngineLink:
    """Clips and questions on their way to the engine process and back, and its orders."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._channel = Channel(told.ToWorker, self._receive, self._end)
        self.send = self._channel.send
        self.send_along = self._channel.send_along
        self.orders: asyncio.Queue[Order] = asyncio.Queue()
        self._numbers = itertools.count(1)
        self._ended = False
        # Of clips and questions, until they are answered or given up.
        self._answers: dict[int, asyncio.Future[Any]] = {}
        # Until the engine process does not look at them any more, so that their places are not given to others.
        self._clips: dict[int, Clip] = {}
        self._handle: dict[type[told.Message], Callable[[Any], None]] = {
            told.Ping: lambda _: self.send(told.Pong()),
            told.Answer: self._answered,
            told.Failed: self._failed,
            told.Done: self._done,
            told.Reply: self._replied,
        }

    async def connect(self, end: socket.socket) -> None:
        """Over ``end``, which then belongs to the link."""
        await self._channel.connect(end)

    async def classify(self, clip: Clip, submit: Callable[[int], told.Submit]) -> Classified:
        """The engine's answer to ``clip``, which ``submit`` makes a message of; cancel it and the engine is told.

        Raises:
            EngineError: the engine failed on the clip.
            NotReadyError: the engine, or its process, is lost.
        """
        number, answer = self._asked()
        try:
            self._clips[number] = clip
            self.send(submit(number))
            return cast(Classified, await answer)
        except asyncio.CancelledError:
            self.send(told.Cancel(number))
            raise
        finally:
            del self._answers[number]
            # An error's traceback holds this frame, which would hold the error, and the clip with it.
            del answer

    async def ask(self, question: Callable[[int], told.Scrape | told.Hit]) -> bytes:
        """The reply to what ``question`` makes of a number; raises RateLimitedError, NotReadyError."""
        number, answer = self._asked()
        try:
            self.send(question(number))
            return bytes(await answer)
        finally:
            del self._answers[number]
            del answer

    def close(self) -> None:
        self._channel.close()

    def _asked(self) -> tuple[int, asyncio.Future[Any]]:
        if self._ended:
            raise _ended_error()
        number = next(self._numbers)
        answer = self._answers[number] = self._loop.create_future()
        return number, answer

    def _receive(self, message: Any) -> None:
        handle = self._handle.get(type(message))
        if handle is None:
            self.orders.put_nowait(message)
        else:
            handle(message)

    def _answered(self, message: told.Answer) -> None:
        if waiting := self._waiting(message.clip):
            probabilities = np.frombuffer(message.probabilities, np.float32)
            timings_ms = (message.queue_ms, message.preprocess_ms, message.network_ms)
            waiting.set_result(Classified(probabilities, *timings_ms))

    def _failed(self, message: told.Failed) -> None:
        if not (waiting := self._waiting(message.clip)):
            return
        if message.retry_after_s is None:
            waiting.set_exception(EngineError(message.message, help=message.help))
        else:
            waiting.set_exception(NotReadyError(message.message, retry_after_s=message.retry_after_s))

    def _replied(self, message: told.Reply) -> None:
        if not (waiting := self._waiting(message.question)):
            return
        if message.refused is None:
            waiting.set_result(message.body)
        else:
            why, retry_after_s = message.refused
            waiting.set_exception(RateLimitedError(why, retry_after_s=retry_after_s))

    def _done(self, message: told.Done) -> None:
        self._clips.pop(message.clip, None)

    def _waiting(self, number: int) -> asyncio.Future[Any] | None:
        answer = self._answers.get(number)
        return None if answer is None or answer.done() else answer

    def _end(self) -> None:
        self._ended = True
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(_ended_error())
        self._clips.clear()
        self.orders.put_nowait(None)


def _ended_error() -> NotReadyError:
    return NotReadyError("the engine process has ended", retry_after_s=_RETRY_ENDED_S)
