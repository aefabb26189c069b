"""``python -m tests.faulty_server``: the whole server, on an engine that fails when it is told to.

The engine is the bundle's own; what goes wrong is decided by a clip's first pixel (``Fault``) and by the words on
standard input: ``hold`` keeps every batch inside the engine until ``release``, ``break`` makes every batch fail.
It logs ``in engine`` with the second pixels of the clips, which tests use as their numbers.
"""

from __future__ import annotations

import enum
import logging
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.clip import Clip
from engines.engine import Engine, Inference
from engines.errors import EngineError, EngineLostError
from engines.manifest import Manifest, Precision
from engines.options import EngineOptions
from server.__main__ import run
from server.deployment import load_bundle
from server.lifecycle import serve
from server.settings import Settings

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


class FaultyEngine:
    """An engine around ``engine``, which does the classifying."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._free = threading.Event()
        self._free.set()
        self._broken = False
        threading.Thread(target=self._obey, daemon=True).start()

    @property
    def manifest(self) -> Manifest:
        return self._engine.manifest

    @property
    def device_name(self) -> str:
        return self._engine.device_name

    @property
    def precision(self) -> Precision:
        return self._engine.precision

    def allocate(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        return self._engine.allocate(height, width)

    def infer(self, clips: Sequence[Clip]) -> Inference:
        marked_clips = [clip for clip in clips if tuple(clip.frames[0, 0, 0, 1:]) == MARK]
        numbers = [int(clip.frames[0, 0, 1, 0]) * 256 + int(clip.frames[0, 0, 1, 1]) for clip in marked_clips]
        _log.info("in engine", extra={"numbers": numbers, "clips": len(clips)})
        self._free.wait()
        if self._broken:
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
        inference = self._engine.infer(clips)
        if Fault.NAN in faults:
            inference.probabilities[:] = np.nan
        return inference

    def _obey(self) -> None:
        for word in sys.stdin:
            if word.strip() == "hold":
                self._free.clear()
            elif word.strip() == "release":
                self._free.set()
            elif word.strip() == "break":
                self._broken = True
            _log.info("told", extra={"word": word.strip()})


def load_faulty(path: Path, options: EngineOptions) -> Engine:
    return FaultyEngine(load_bundle(path, options))


async def serve_faulty(settings: Settings) -> None:
    await serve(settings, load_faulty)


if __name__ == "__main__":
    run(serve_faulty)
