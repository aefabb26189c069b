"""The service's side of a stream as a test has it: windows of packed frames, answered by a function."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from aiohttp import WSMsgType, web
from numpy.typing import NDArray

_HEADER = struct.Struct("<IdII")
# Shorter, a reset of the connection could overtake the close.
_CLOSE_S = 10
Window = tuple[int, float, NDArray[np.uint8]]


class StreamPeer:
    """Answers each window with ``classify``; its JSON becomes a prediction, or an error if it is no 200. A
    window for which it says "later" comes after those that wait.

    With the policy latest, a window that waits is replaced by the next one. ``frames`` counts what was sent;
    ``hello`` is the first message.
    """

    def __init__(
        self,
        classify: Callable[[int, NDArray[np.uint8]], Awaitable[web.StreamResponse]],
        window_frames: Callable[[], int],
        model: Callable[[], str],
    ) -> None:
        self.frames = 0
        self._classify, self._window_frames, self._model = classify, window_frames, model
        self._due: asyncio.Queue[Window | None] = asyncio.Queue()
        self._pending: list[tuple[float, NDArray[np.uint8]]] = []
        self._windows = 0

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        self.socket = web.WebSocketResponse(timeout=_CLOSE_S, max_msg_size=0)
        await self.socket.prepare(request)
        self.hello = await self.socket.receive_json()
        self._ready_frames = self._window_frames()
        await self._tell_ready()
        answering = asyncio.create_task(self._answer())
        try:
            async for message in self.socket:
                if message.type is WSMsgType.TEXT:
                    await self._due.put(None)
                    await answering
                    break
                await self._take(message.data)
        finally:
            answering.cancel()
        await self.socket.close()
        return self.socket

    async def _tell_ready(self) -> None:
        defaults = {"fps": 3.0, "stride": self._ready_frames}
        ready = {"type": "ready", "session": "s", "model": self._model(), "frames": self._ready_frames}
        await self.socket.send_json(ready | {"short_edge": 256, "max_frame_bytes": 2**24} | {
            name: self.hello.get(name, default) for name, default in defaults.items()
        })  # fmt: skip

    async def _take(self, message: bytes) -> None:
        _, time_s, width, height = _HEADER.unpack_from(message)
        self.frames += 1
        if self._pending and not 0 <= time_s - self._pending[-1][0] <= 2 / self.hello["fps"]:
            self._pending.clear()
        pixels = np.frombuffer(message, np.uint8, offset=_HEADER.size).reshape(height, width, 3)
        self._pending.append((time_s, pixels))
        if len(self._pending) < self._ready_frames:
            return
        window = self._windows, self._pending[0][0], np.stack([each for _, each in self._pending])
        self._windows += 1
        del self._pending[: self.hello["stride"]]
        if self.hello.get("policy") != "wait" and not self._due.empty():
            passed = self._due.get_nowait()
            if passed is not None:
                await self._tell(passed, "skipped", reason="overload")
        await self._due.put(window)

    async def _answer(self) -> None:
        while (due := await self._due.get()) is not None:
            if self._window_frames() != self._ready_frames:
                self._ready_frames = self._window_frames()
                self._pending.clear()
                await self._tell_ready()
                await self._tell(due, "skipped", reason="model")
                continue
            answer = await self._classify(due[0], due[2])
            assert isinstance(answer, web.Response)
            body = json.loads(answer.text or "")
            if answer.status != 200:
                problem = {"problem": "about:blank", "detail": ""} | body | {"status": answer.status}
                await self._tell(due, "error", **problem)
            elif "later" in body:
                await self._due.put(due)
            elif "skipped" in body:
                await self._tell(due, "skipped", reason=body["skipped"])
            else:
                predicted = {"predictions": body["predictions"], "timings_ms": body["timings_ms"], "age_ms": 1.0}
                await self._tell(due, "prediction", **predicted)
        ended = {"reason": "the client ended the stream", "frames": self.frames, "frames_used": self.frames}
        await self.socket.send_json(
            {"type": "ended", "frames_refused": 0, "windows": self._windows, "predictions": 0, "skipped": {}, "gaps": 0}
            | ended
        )

    async def _tell(self, due: Window, kind: str, **members: Any) -> None:
        span = {"window": due[0], "start_s": due[1], "end_s": due[1] + len(due[2]) / self.hello["fps"]}
        await self.socket.send_json({"type": kind} | span | members)
