"""What every runtime owes the server, whichever it is."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from engines.bundle import open_bundle
from engines.clip import Clip
from engines.engine import Engine
from engines.options import EngineOptions
from engines.runtimes import load_engine

SIZES = ((96, 96), (64, 200), (240, 320), (301, 133), (108, 108))


@pytest.fixture(scope="module", params=["odd_bundle", "odd_torch_bundle"])
def bundle(request: pytest.FixtureRequest) -> Path:
    """The same checkpoint for each runtime."""
    return Path(request.getfixturevalue(request.param))


@pytest.fixture(scope="module")
def engine(bundle: Path) -> Iterator[Engine]:
    engine = load_engine(open_bundle(bundle))
    yield engine
    engine.close()


def _clip(engine: Engine, seed: int) -> Clip:
    frames = engine.allocate(*SIZES[seed % len(SIZES)])
    frames[:] = np.random.default_rng(seed).integers(0, 256, frames.shape, np.uint8)
    return Clip(frames, "BGR" if seed % 2 else "RGB")


def _alone(engine: Engine, clip: Clip) -> np.ndarray:
    return engine.infer([clip]).probabilities[0]


def test_every_batch_size_gives_probabilities_in_the_order_of_its_clips(engine: Engine) -> None:
    clips = [_clip(engine, seed) for seed in range(engine.manifest.max_batch)]
    alone = np.stack([_alone(engine, clip) for clip in clips])
    assert np.ptp(alone, axis=0).max() > 0.01, "clips that all look alike cannot show an order"
    for batch in range(1, engine.manifest.max_batch + 1):
        inference = engine.infer(clips[:batch])
        assert inference.probabilities.dtype == np.float32
        assert inference.probabilities.shape == (batch, len(engine.manifest.labels))
        np.testing.assert_allclose(inference.probabilities.sum(1), 1, atol=1e-5)
        np.testing.assert_allclose(inference.probabilities, alone[:batch], atol=1e-5)
        assert inference.preprocess_ms > 0
        assert inference.network_ms > 0


def test_answers_do_not_depend_on_what_ran_before(engine: Engine) -> None:
    clip = _clip(engine, 3)
    first = _alone(engine, clip)
    engine.infer([_clip(engine, seed) for seed in (4, 5, 6)])
    np.testing.assert_array_equal(_alone(engine, clip), first)


def test_an_answer_is_not_overwritten_by_the_next(engine: Engine) -> None:
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


def test_a_closed_engine_can_be_opened_again(bundle: Path, engine: Engine) -> None:
    other = load_engine(open_bundle(bundle), EngineOptions(threads=1))
    clip = _clip(other, 1)
    answer = _alone(other, clip)
    other.close()
    np.testing.assert_allclose(answer, _alone(engine, clip), atol=1e-5)
