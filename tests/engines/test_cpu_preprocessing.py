"""Preprocessing against what transformers' own video processor made of the same frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.clip import Clip
from engines.manifest import Preprocessing
from engines.preprocessing.cpu import CpuPreprocessor, crop_clip, crop_frame
from engines.preprocessing.resize import MIDDLE, cropped_levels

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
golden_files = sorted(GOLDEN.glob("preprocess_*.npz"))


@pytest.mark.skipif(not golden_files, reason="no reference data beside this checkout")
@pytest.mark.parametrize("path", golden_files, ids=lambda path: path.stem)
def test_crop_is_the_reference_crop(path: Path) -> None:
    golden = np.load(path)
    preprocessing = Preprocessing(int(golden["resize"]), golden["crop"].shape[1])
    np.testing.assert_array_equal(crop_clip(golden["frames"], preprocessing), golden["crop"])


@pytest.mark.skipif(not golden_files, reason="no reference data beside this checkout")
@pytest.mark.parametrize("pixel_format", ["RGB", "BGR"])
def test_network_input_is_normalised_like_the_reference(pixel_format: str) -> None:
    golden = np.load(GOLDEN / "preprocess_240x240_crop256.npz")
    mean, std = golden["mean_rgb"], golden["std_rgb"]
    preprocess = CpuPreprocessor(Preprocessing(int(golden["resize"]), 256, tuple(mean), tuple(std)), threads=2)
    frames = golden["frames"] if pixel_format == "RGB" else golden["frames"][..., ::-1]
    pixels = np.empty((len(frames), 3, 256, 256), np.float32)
    preprocess(Clip(np.ascontiguousarray(frames), pixel_format), pixels)
    preprocess.close()
    expected = ((golden["crop"] / 255 - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(pixels, expected, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 400), width=st.integers(1, 400), crop=st.sampled_from([32, 64, 96]))
def test_crop_of_uniform_frames_keeps_their_colour(height: int, width: int, crop: int) -> None:
    frames = np.full((2, height, width, 3), (10, 120, 250), np.uint8)
    cropped = crop_clip(frames, Preprocessing(crop * 256 // 224, crop))
    assert cropped.shape == (2, crop, crop, 3)
    assert (cropped == (10, 120, 250)).all()


@pytest.mark.parametrize("size", [(2200, 900), (900, 2200), (3000, 2500)])
def test_noise_that_shrinks_far_keeps_its_mean(size: tuple[int, int]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
    cropped = crop_clip(frames, Preprocessing(18, 16))[0].astype(float)
    assert np.abs(cropped.mean((0, 1)) - 127.5).max() < 1
    assert cropped.std() < 5


def test_extreme_aspect_ratio_is_cropped_at_the_centre() -> None:
    frames = np.zeros((1, 2, 16384, 3), np.uint8)
    frames[:, :, 8192:] = 255
    cropped = crop_clip(frames, Preprocessing(292, 256))[0]
    assert (cropped[:, :50] == 0).all()
    assert (cropped[:, -50:] == 255).all()


@given(long_px=st.integers(64, 400), resize=st.integers(32, 80), upright=st.booleans(), seed=st.integers(0, 100))
def test_a_frame_of_the_right_size_is_only_cropped(long_px: int, resize: int, upright: bool, seed: int) -> None:
    """As it would be if it were resized to the size that it has."""
    preprocessing = Preprocessing(resize, crop=resize - seed % 16)
    shape = (max(long_px, resize), resize, 3) if upright else (resize, max(long_px, resize), 3)
    frame = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    resized = (cropped_levels(frame, preprocessing) + MIDDLE).astype(np.uint8).transpose(1, 2, 0)
    np.testing.assert_array_equal(crop_frame(frame, preprocessing), resized)
