"""``python -m tests.latency.streams.server``: the whole server on a stand-in engine. Its flags are the server's own.

``STAND_IN`` is the pace of the engine, or ``prepare``: an engine that preprocesses its clips on the CPU and answers at
once, so that what is left of the CPU time is reading, decoding and preprocessing. ``CROP`` is the side in pixels of the
network's input; without it, that of the demo. ``TURNS=fifo`` serves the streams in the order in which they ask.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from engines.clip import Clip
from engines.engine import Engine, Inference
from engines.manifest import Manifest
from engines.options import EngineOptions
from engines.preprocessing.cpu import CpuPreprocessor
from engines.storage.bundle import open_bundle
from server.__main__ import run
from server.batching.clip_queue import ClipQueue, Job
from server.config.settings import Settings
from server.lifecycle import serve
from tests.latency.stand_in import StandInEngine
from tests.latency.stand_in_device import PACES, StandInDevice

PREPARE = "prepare"


class PreparingEngine(StandInEngine):
    """Writes each clip into the network's input, and answers the same to all."""

    def __init__(self, manifest: Manifest, device: StandInDevice) -> None:
        super().__init__(manifest, device)
        self._prepare = CpuPreprocessor(self.manifest.preprocessing, threads=1)
        side = self.manifest.preprocessing.crop
        self._input = np.empty((self.manifest.frames, 3, side, side), np.float32)

    def infer(self, clips: Sequence[Clip]) -> Inference:
        for clip in clips:
            self._prepare(clip, self._input)
        labels = len(self.manifest.labels)
        even = np.full((len(clips), labels), 1 / labels, np.float32)
        return Inference(probabilities=even, preprocess_ms=0.0, network_ms=0.0)

    def close(self) -> None:
        self._prepare.close()


def load_stand_in(path: Path, options: EngineOptions) -> Engine:
    manifest = _cropping(open_bundle(path).manifest)
    pace = os.environ["STAND_IN"]
    if pace == PREPARE:
        return PreparingEngine(manifest, StandInDevice(PACES["instant"], f"streams-{pace}"))
    return StandInEngine(manifest, StandInDevice(PACES[pace], f"streams-{os.getpid()}"))


def _cropping(manifest: Manifest) -> Manifest:
    side = int(os.environ.get("CROP", manifest.preprocessing.crop))
    resized = dataclasses.replace(manifest.preprocessing, crop=side, resize=side * 256 // 224)
    return msgspec.structs.replace(manifest, preprocessing=resized)


def _oldest(queue: ClipQueue) -> Job:
    return queue._streams.pop(next(iter(queue._streams)))


async def serve_stand_in(settings: Settings) -> None:
    if os.environ.get("TURNS") == "fifo":
        ClipQueue._next_of_streams = _oldest  # type: ignore[method-assign]
    await serve(settings, load_stand_in)


if __name__ == "__main__":
    run(serve_stand_in)
