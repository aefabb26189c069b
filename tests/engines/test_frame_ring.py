"""Frames of streams on the device: copied there once, gathered in every window, and gone with their keys."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engines.clip import Clip, FrameKey
from engines.device.frame_ring import FrameRing, LaneFrames
from engines.engine import Engine
from engines.errors import EngineError
from engines.options import MIB, EngineOptions
from engines.runtimes.registry import load_engine
from tests.fakes.plan_bundle import write_plan_bundle

CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")])
FRAMES, CROP = 4, 32
FRAME_BYTES = 3 * CROP**2


class Stream:
    """Frames with their keys, of which windows are made as the server makes them."""

    def __init__(self, seed: int, count: int = 12) -> None:
        self.pixels = np.random.default_rng(seed).integers(0, 256, (count, CROP, CROP, 3), np.uint8)
        self.keys = tuple(FrameKey() for _ in range(count))

    def window(self, first: int) -> Clip:
        part = slice(first, first + FRAMES)
        return Clip(self.pixels[part].copy(), "BGR", cropped=True, keys=self.keys[part])


@pytest.fixture
def bundle(tmp_path: Path, tensorrt: Any) -> Any:
    return write_plan_bundle(tmp_path / "plan", "tensorrt")


@contextlib.contextmanager
def _engine(bundle: Any, slots: int, lanes: int = 1) -> Iterator[Engine]:
    options = EngineOptions(
        max_clip_bytes=MIB, page_locked_bytes=4 * MIB, ring_bytes=slots * FRAME_BYTES, lanes=lanes, graphs="none"
    )
    with contextlib.closing(load_engine(bundle, options)) as engine:
        yield engine


def _plain(clip: Clip) -> Clip:
    return replace(clip, keys=())


def _answer(engine: Engine, *clips: Clip) -> np.ndarray:
    return engine.infer(clips).probabilities


def _is_on_device(engine: Engine, clip: Clip) -> bool:
    """Whether the engine answers for ``clip`` without its frames on the host."""
    without = replace(clip, frames=np.zeros_like(clip.frames))
    return bool(np.array_equal(_answer(engine, without), _answer(engine, _plain(clip))))


def test_frames_that_windows_share_are_copied_once(bundle: Any) -> None:
    with _engine(bundle, slots=12) as engine:
        stream = Stream(1)
        for first in range(0, 9, 2):
            clip, seen = stream.window(first), 2 if first else 0
            expected = _answer(engine, _plain(clip))
            clip.frames[:seen] = 0  # the engine has these frames from the window before
            np.testing.assert_array_equal(_answer(engine, clip), expected)
            assert _is_on_device(engine, stream.window(first))


def test_windows_of_several_streams_in_a_batch_are_their_own(bundle: Any) -> None:
    with _engine(bundle, slots=24) as engine:
        streams = [Stream(seed) for seed in (1, 2, 3)]
        for first in (0, 1, 3, 8):
            clips = [stream.window(first) for stream in streams]
            clips.insert(1, _plain(Stream(4).window(0)))
            np.testing.assert_array_equal(_answer(engine, *clips), _answer(engine, *map(_plain, clips)))


@pytest.mark.parametrize("slots", [0, 1, 3, 5])
def test_frames_without_room_are_copied_with_each_window(bundle: Any, slots: int) -> None:
    with _engine(bundle, slots=slots) as engine:
        stream = Stream(1)
        for first in range(9):
            clip = stream.window(first)
            np.testing.assert_array_equal(_answer(engine, clip), _answer(engine, _plain(clip)))
        assert not _is_on_device(engine, stream.window(8))


def test_room_of_streams_that_have_ended_is_used_again(bundle: Any) -> None:
    with _engine(bundle, slots=12) as engine:
        for seed in range(8):
            stream = Stream(seed)
            for first in range(9):
                _answer(engine, stream.window(first))
            assert _is_on_device(engine, stream.window(8))
            del stream
            gc.collect()


def test_frames_of_a_batch_that_failed_are_copied_again(bundle: Any, tensorrt: Any, monkeypatch: Any) -> None:
    with _engine(bundle, slots=12) as engine:
        stream = Stream(1)
        with monkeypatch.context() as patch:
            patch.setattr(tensorrt.ExecutionContext, "execute_async_v3", lambda context, stream: False)
            for first in range(9):
                with pytest.raises(EngineError):
                    _answer(engine, stream.window(first))
        # The device may still fill the room of these batches, until one after them has ended.
        _answer(engine, _plain(stream.window(0)))
        for first in range(9):
            clip = stream.window(first)
            np.testing.assert_array_equal(_answer(engine, clip), _answer(engine, _plain(clip)))
            assert _is_on_device(engine, clip)


def test_lanes_share_the_ring(bundle: Any) -> None:
    with _engine(bundle, slots=30, lanes=2) as engine:
        streams = [Stream(seed) for seed in range(4)]
        clips = [stream.window(first) for first in range(9) for stream in streams] * 3
        expected = [_answer(engine, _plain(clip)) for clip in clips]
        with ThreadPoolExecutor(engine.lanes) as threads:
            found = list(threads.map(lambda clip: _answer(engine, clip), clips))
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_gathered_clips_are_the_frames_that_were_sent(device: str) -> None:
    ring = FrameRing(10 * FRAME_BYTES + 1, CROP, torch.device(device))
    lanes = [LaneFrames(ring, 3, FRAMES, pinned=device == "cuda") for _ in range(2)]
    streams, random = [Stream(seed) for seed in range(3)], np.random.default_rng(0)
    for turn in range(60):
        clips = [streams[random.integers(3)].window(random.integers(9)) for _ in range(random.integers(1, 4))]
        out = torch.zeros((len(clips), FRAMES, CROP, CROP, 3), dtype=torch.uint8, device=device)
        for clip, place in zip(clips, out, strict=True):
            lanes[turn % 2].copy(clip, place)
        found = out.cpu().numpy()  # waits for the device
        if turn % 7:
            lanes[turn % 2].finished()
        else:
            lanes[turn % 2].failed()
        np.testing.assert_array_equal(found, np.stack([clip.frames for clip in clips]))
        streams[turn % 3] = Stream(turn) if turn % 5 == 0 else streams[turn % 3]
