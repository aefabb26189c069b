"""``python -m tests.faulty_server``: the whole server, on engines that fail when they are told to.

The engines are the bundle's own, one for each of ``--device`` (which need not exist), of as many lanes as ``--lanes``.
What goes wrong is decided by a clip's first pixel (``Fault``) and by the words on standard input: ``hold`` keeps every
batch inside its engine until ``release``, ``withhold`` gives no decode its memory until ``grant``, ``break`` makes
every batch fail, ``lose cuda:1`` takes that device away, ``drift cuda:1`` makes it answer each label with the
probability of another one.
``HEARTBEAT_S`` in the environment is the heartbeat of streams.
They log ``in engine`` with the second pixels of the clips, which tests use as their numbers, and the number of frames
of streams that are new to them.
"""

from __future__ import annotations

import enum
import logging
import os
import sys
import threading
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.clip import Clip, FrameKey
from engines.engine import DeviceShare, Engine, Inference
from engines.errors import EngineError, EngineLostError
from engines.manifest import Manifest, Precision
from engines.options import EngineOptions
from server.__main__ import run
from server.api import stream
from server.config.settings import Settings
from server.lifecycle import serve
from server.serving.deployment import load_bundle

_log = logging.getLogger("tests.faulty_server")


class Fault(enum.IntEnum):
    """The first pixel's first value, whose other two are ``MARK``."""

    RAISE = 1
    LOSE = 2
    HANG = 3
    NAN = 4


MARK = (251, 241)


def marked(frames: npt.NDArray[np.uint8], number: int = 0, fault: Fault | None = None) -> npt.NDArray[np.uint8]:
    """A copy of uint8 frames [T, H, W, 3] that carries ``number`` (below 65536), and ``fault`` if any."""
    copy = frames.copy()
    copy[0, 0, 0] = (fault or 0, *MARK)
    copy[0, 0, 1] = (number // 256, number % 256, 0)
    return copy


class Orders:
    """What all engines were told on standard input."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.granted = threading.Event()
        self.granted.set()
        self.broken = False
        self.lost: set[str] = set()
        self.drifted: set[str] = set()
        threading.Thread(target=self._obey, daemon=True).start()

    def _obey(self) -> None:
        for line in sys.stdin:
            word, *devices = line.split()
            if word == "hold":
                self.free.clear()
            elif word == "release":
                self.free.set()
            elif word == "withhold":
                self.granted.clear()
            elif word == "grant":
                self.granted.set()
            elif word == "break":
                self.broken = True
            elif word == "lose":
                self.lost.update(devices)
            elif word == "drift":
                self.drifted.update(devices)
            _log.info("told", extra={"word": line.strip()})


class FaultyEngine:
    """An engine around ``engine``, which does the classifying, one batch after the other."""

    def __init__(self, engine: Engine, options: EngineOptions, orders: Orders) -> None:
        self._engine = engine
        self._device = options.device or "device"
        self._lanes = options.lanes or 1
        self._orders = orders
        self._seen: weakref.WeakSet[FrameKey] = weakref.WeakSet()
        self._alone = threading.Lock()

    @property
    def manifest(self) -> Manifest:
        return self._engine.manifest

    @property
    def device_name(self) -> str:
        return self._device

    @property
    def precision(self) -> Precision:
        return self._engine.precision

    @property
    def lanes(self) -> int:
        return self._lanes

    @property
    def compiles_each_batch(self) -> bool:
        return self._engine.compiles_each_batch

    @property
    def share(self) -> DeviceShare | None:
        return self._engine.share

    def allocate(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        self._orders.granted.wait()
        return self._engine.allocate(height, width)

    def infer(self, clips: Sequence[Clip]) -> Inference:
        marked_clips = [clip for clip in clips if tuple(clip.frames[0, 0, 0, 1:]) == MARK]
        numbers = [int(clip.frames[0, 0, 1, 0]) * 256 + int(clip.frames[0, 0, 1, 1]) for clip in marked_clips]
        keys = {key for clip in clips for key in clip.keys} - set(self._seen)
        self._seen.update(keys)
        told = {"numbers": numbers, "clips": len(clips), "device": self._device, "new_frames": len(keys)}
        _log.info("in engine", extra=told)
        self._orders.free.wait()
        if self._device in self._orders.lost:
            raise EngineLostError(f"{self._device} has fallen off the bus")
        if self._orders.broken:
            raise EngineError("broken")
        return self._fail({int(clip.frames[0, 0, 0, 0]) for clip in marked_clips}, clips)

    def close(self) -> None:
        self._engine.close()

    def _fail(self, faults: set[int], clips: Sequence[Clip]) -> Inference:
        if Fault.RAISE in faults:
            raise EngineError("a clip that this engine cannot take")
        if Fault.LOSE in faults:
            raise EngineLostError("an illegal memory access was encountered")
        if Fault.HANG in faults:
            threading.Event().wait()
        with self._alone:
            inference = self._engine.infer(clips)
        if self._device in self._orders.drifted:
            inference.probabilities[:] = np.roll(inference.probabilities, 1, axis=1)
        if Fault.NAN in faults:
            inference.probabilities[:] = np.nan
        return inference


async def serve_faulty(settings: Settings) -> None:
    orders = Orders()
    stream.HEARTBEAT_S = float(os.environ.get("HEARTBEAT_S", stream.HEARTBEAT_S))

    def load(path: Path, options: EngineOptions) -> Engine:
        return FaultyEngine(load_bundle(path, replace(options, device=None)), options, orders)

    await serve(settings, load)


if __name__ == "__main__":
    run(serve_faulty)
