"""What every runtime owes the server, whichever it is."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from engines.clip import Clip
from engines.device.cuda_driver import cuda_devices
from engines.engine import Engine
from engines.errors import ClipTooLargeError, EngineError
from engines.options import MIB, EngineOptions
from engines.runtimes.registry import load_engine
from engines.storage.bundle import open_bundle

SIZES = ((96, 96), (64, 200), (240, 320), (301, 133), (108, 108))
# Bundle and how it is opened; the torch one runs on a GPU where there is one.
ENGINES = {
    "openvino": ("odd_bundle", EngineOptions()),
    "torch": ("odd_torch_bundle", EngineOptions()),
    "torch, 1 lane": ("odd_torch_bundle", EngineOptions(lanes=1, page_locked_bytes=8 * MIB)),
    "torch, 3 lanes": ("odd_torch_bundle", EngineOptions(lanes=3, graphs="network")),
    "torch, side by side": ("odd_torch_bundle", EngineOptions(lanes=2, graphs="none", side_by_side=True)),
    "tensorrt-rtx": pytest.param(("odd_rtx_bundle", EngineOptions()), marks=pytest.mark.gpu),
}


@dataclass(frozen=True)
class Served:
    """The same checkpoint for each runtime."""

    path: Path
    options: EngineOptions

    def open(self) -> Engine:
        return load_engine(open_bundle(self.path), self.options)


@pytest.fixture(scope="module", params=ENGINES.values(), ids=list(ENGINES))
def served(request: pytest.FixtureRequest) -> Served:
    name, options = request.param
    if name == "odd_rtx_bundle" and not cuda_devices():
        pytest.skip("no GPU")
    return Served(Path(request.getfixturevalue(name)), options)


@pytest.fixture(scope="module")
def engine(served: Served) -> Iterator[Engine]:
    engine = served.open()
    yield engine
    engine.close()


def _clip(engine: Engine, seed: int) -> Clip:
    frames = engine.allocate(*SIZES[seed % len(SIZES)])
    frames[:] = np.random.default_rng(seed).integers(0, 256, frames.shape, np.uint8)
    return Clip(frames, "BGR" if seed % 2 else "RGB")


def _alone(engine: Engine, clip: Clip) -> np.ndarray:
    return engine.infer([clip]).probabilities[0]


def test_every_batch_size_returns_probabilities_in_clip_order(engine: Engine) -> None:
    clips = [_clip(engine, seed) for seed in range(engine.manifest.max_batch)]
    alone = np.stack([_alone(engine, clip) for clip in clips])
    assert np.ptp(alone, axis=0).max() > 0.01, "clips that all look alike cannot show an order"
    features = np.concatenate([engine.infer([clip]).features for clip in clips])
    assert engine.manifest.features
    assert features.shape == (len(clips), engine.manifest.features.size)
    for batch in range(1, engine.manifest.max_batch + 1):
        inference = engine.infer(clips[:batch])
        assert inference.probabilities.dtype == np.float32
        assert inference.probabilities.shape == (batch, len(engine.manifest.labels))
        np.testing.assert_allclose(inference.probabilities.sum(1), 1, atol=1e-5)
        np.testing.assert_allclose(inference.probabilities, alone[:batch], atol=1e-5)
        assert inference.features is not None
        assert inference.features.dtype == np.float32
        np.testing.assert_allclose(inference.features, features[:batch], atol=1e-4)
        assert inference.preprocess_ms > 0
        assert inference.network_ms > 0


def test_answers_do_not_depend_on_earlier_batches(engine: Engine) -> None:
    clip = _clip(engine, 3)
    first = _alone(engine, clip)
    engine.infer([_clip(engine, seed) for seed in (4, 5, 6)])
    np.testing.assert_array_equal(_alone(engine, clip), first)


def test_next_batch_does_not_overwrite_an_answer(engine: Engine) -> None:
    first = engine.infer([_clip(engine, 1)]).probabilities
    kept = first.copy()
    engine.infer([_clip(engine, 2)])
    np.testing.assert_array_equal(first, kept)


def test_channel_order_is_honoured(engine: Engine) -> None:
    clip = _clip(engine, 1)
    swapped = Clip(np.ascontiguousarray(clip.frames[..., ::-1]), "RGB")
    np.testing.assert_allclose(_alone(engine, swapped), _alone(engine, clip), atol=1e-6)


def test_clips_can_be_allocated_while_the_engine_runs(engine: Engine) -> None:
    clip = _clip(engine, 1)
    expected = _alone(engine, clip)
    with ThreadPoolExecutor(4) as threads:
        others = [threads.submit(_clip, engine, seed) for seed in range(20)]
        for _ in range(20):
            np.testing.assert_array_equal(_alone(engine, clip), expected)
        assert all(other.result().frames.any() for other in others)


def test_concurrent_batches_return_their_own_answers(engine: Engine) -> None:
    clips = [_clip(engine, seed) for seed in range(4 * engine.manifest.max_batch)]
    alone = np.stack([_alone(engine, clip) for clip in clips])
    rng = np.random.default_rng(0)
    batches = [rng.permutation(len(clips))[: rng.integers(1, engine.manifest.max_batch + 1)] for _ in range(20)]
    with ThreadPoolExecutor(engine.lanes) as threads:
        answers = threads.map(lambda batch: engine.infer([clips[index] for index in batch]).probabilities, batches)
        for batch, answer in zip(batches, answers, strict=True):
            np.testing.assert_allclose(answer, alone[batch], atol=1e-5)


def test_clip_memory_is_not_reused_while_the_engine_reads_it(engine: Engine) -> None:
    clip = _clip(engine, 3)
    expected = _alone(engine, clip)
    shape = clip.frames.shape[1:3]
    with ThreadPoolExecutor(2) as threads:
        for _ in range(20):
            clip = _clip(engine, 3)
            answer = threads.submit(lambda clip: engine.infer([clip]).probabilities[0], clip)
            # From here on only the engine knows it, and somebody else asks for as much.
            del clip
            other = engine.allocate(*shape)
            other[:] = 255
            np.testing.assert_array_equal(answer.result(), expected)


def test_same_clips_get_bit_identical_answers(engine: Engine) -> None:
    clips = [_clip(engine, seed) for seed in range(engine.manifest.max_batch)]
    # On a GPU the first runs are plain and captured, and the graph may round otherwise.
    for _ in range(3 * engine.lanes):
        engine.infer(clips)
    first = engine.infer(clips).probabilities
    for _ in range(5):
        np.testing.assert_array_equal(engine.infer(clips).probabilities, first)


def test_a_closed_engine_can_be_opened_again(served: Served, engine: Engine) -> None:
    other = load_engine(open_bundle(served.path), replace(served.options, threads=1))
    clip = _clip(other, 1)
    answer = _alone(other, clip)
    other.close()
    np.testing.assert_allclose(answer, _alone(engine, clip), atol=1e-5)
    again = served.open()
    np.testing.assert_allclose(_alone(again, clip), answer, atol=1e-5)
    again.close()


def test_too_large_clip_is_refused(odd_torch_bundle: Path) -> None:
    options = EngineOptions(max_clip_bytes=4 * MIB, page_locked_bytes=2 * MIB)
    engine = load_engine(open_bundle(odd_torch_bundle), options)
    with pytest.raises(ClipTooLargeError, match=rf"12 frames of 240 x 320 has {12 * 240 * 320 * 3} bytes.*{2 * MIB}"):
        engine.allocate(240, 320)
    # As many as one likes of those that fit, though the memory has room for only some.
    clips = [_clip(engine, 0) for _ in range(20)]
    np.testing.assert_array_equal(_alone(engine, clips[-1]), _alone(engine, clips[0]))
    with pytest.raises(EngineError, match="room is"):
        engine.infer([Clip(np.zeros((12, 400, 400, 3), np.uint8), "RGB")])
    engine.close()


@pytest.mark.parametrize("name", ["odd_bundle", "odd_torch_bundle"])
def test_4k_frames_are_accepted(request: pytest.FixtureRequest, name: str) -> None:
    engine = load_engine(open_bundle(request.getfixturevalue(name)))
    tiles = np.random.default_rng(0).integers(0, 256, (12, 27, 48, 3), np.uint8)
    small, large = Clip(engine.allocate(270, 480), "RGB"), Clip(engine.allocate(2160, 3840), "RGB")
    small.frames[:] = tiles.repeat(10, 1).repeat(10, 2)
    large.frames[:] = tiles.repeat(80, 1).repeat(80, 2)
    answers = engine.infer([small, large]).probabilities
    np.testing.assert_allclose(answers[0], answers[1], atol=0.05)
    engine.close()
