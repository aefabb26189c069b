"""``python -m tests.latency.stand_in``: the whole server on a stand-in engine, ``STAND_IN`` names its pace.

Its flags are the server's own. Servers with the same ``STAND_IN_DEVICE`` share a device.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from engines.clip import Clip
from engines.engine import DeviceShare, Engine, Inference
from engines.manifest import Manifest, Precision
from engines.options import EngineOptions
from engines.storage.bundle import open_bundle
from server.__main__ import run
from server.config.settings import Settings
from server.lifecycle import serve
from tests.latency.stand_in_device import FRAMES, LABELS, MAX_BATCH, PACES, Frames, StandInDevice


class StandInEngine:
    """Frames go straight from the decoder to the device, which takes its time and not the CPU's."""

    device_name = "stand-in"
    precision: Precision = "fp32"
    lanes = 1
    compiles_each_batch = False
    share = DeviceShare("stand-in", 0, lambda: None)

    def __init__(self, manifest: Manifest, device: StandInDevice) -> None:
        self.manifest = msgspec.structs.replace(manifest, labels=LABELS, frames=FRAMES, max_batch=MAX_BATCH)
        self._device = device

    def allocate(self, height: int, width: int) -> Frames:
        return np.empty((FRAMES, height, width, 3), np.uint8)

    def infer(self, clips: Sequence[Clip]) -> Inference:
        started_s = time.perf_counter()
        bgr = [clip.frames if clip.pixel_format == "BGR" else clip.frames[..., ::-1] for clip in clips]
        probabilities = self._device.classify(bgr)
        return Inference(
            probabilities=probabilities, preprocess_ms=0.0, network_ms=(time.perf_counter() - started_s) * 1e3
        )

    def close(self) -> None:
        pass


def load_stand_in(path: Path, options: EngineOptions) -> Engine:
    pace, device = os.environ["STAND_IN"], os.environ.get("STAND_IN_DEVICE", "0")
    return StandInEngine(open_bundle(path).manifest, StandInDevice(PACES[pace], f"vjepa2-serve-{pace}-{device}"))


async def serve_stand_in(settings: Settings) -> None:
    await serve(settings, load_stand_in)


if __name__ == "__main__":
    run(serve_stand_in)
