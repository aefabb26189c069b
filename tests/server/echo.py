"""Engines without a network, for tests of the batching."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from engines.clip import Clip
from engines.engine import DeviceShare, Engine, Inference
from engines.errors import EngineError, EngineLostError
from engines.manifest import Precision
from engines.storage.bundle import DEMO, open_bundle
from server.batching.batcher import Batcher
from server.limits.throughput import Throughput
from server.telemetry.metrics import Metrics

FAR_S = 1e9


class Echo:
    """An engine whose answer for a clip is the clip's first value; it raises on 255."""

    def __init__(self, max_batch: int, lanes: int = 1) -> None:
        self.manifest = msgspec.structs.replace(open_bundle(DEMO).manifest, max_batch=max_batch)
        self.device_name = "echo"
        self.precision: Precision = "fp32"
        self.lanes = lanes
        self.share: DeviceShare | None = None
        self.seen: list[list[int]] = []

    def allocate(self, height: int, width: int) -> Any:
        return np.zeros((1, height, width, 3), np.uint8)

    def infer(self, clips: Sequence[Clip]) -> Inference:
        numbers = [int(clip.frames.flat[0]) for clip in clips]
        self.seen.append(numbers)
        if 255 in numbers:
            raise EngineError("255")
        probabilities = np.zeros((len(clips), 256), np.float32)
        probabilities[np.arange(len(clips)), numbers] = 1
        return Inference(probabilities=probabilities, preprocess_ms=0, network_ms=0)

    def close(self) -> None:
        pass


class Gated(Echo):
    """Keeps each batch until its gate is opened, and reports that its network took ``network_ms``."""

    def __init__(self, max_batch: int, lanes: int, network_ms: float = 0) -> None:
        super().__init__(max_batch, lanes)
        self.network_ms = network_ms
        self._gates: dict[int, threading.Event] = {}
        self._lock = threading.Lock()

    def infer(self, clips: Sequence[Clip]) -> Inference:
        inference = super().infer(clips)
        self._gate(int(clips[0].frames.flat[0])).wait()
        return Inference(probabilities=inference.probabilities, preprocess_ms=0, network_ms=self.network_ms)

    def open(self, number: int) -> None:
        """Let the batch end whose first clip is ``number``."""
        self._gate(number).set()

    def _gate(self, number: int) -> threading.Event:
        with self._lock:
            return self._gates.setdefault(number, threading.Event())


def no_loss(error: EngineLostError) -> None:
    pytest.fail(f"engine lost: {error}")


@contextlib.asynccontextmanager
async def batching(*engines: Engine, wait_s: float = 0) -> AsyncIterator[Batcher]:
    """A batcher for ``engines``; the test fails if one of them gets lost."""
    batcher = Batcher(engines, 60, Throughput(), Metrics(["healthy"]).of_model("a"), wait_s)
    batcher.start(no_loss)
    yield batcher
    assert await batcher.stop(60) == list(engines)


def small_clip(number: int, height: int = 2, width: int = 2) -> Clip:
    return Clip(np.full((1, height, width, 3), number, np.uint8), "RGB")
