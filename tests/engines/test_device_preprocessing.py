"""Preprocessing on the device against the exact one; here the device is the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engines.clip import PixelFormat
from engines.manifest import Preprocessing
from engines.preprocessing.cpu import MOST_RESIZED_ASPECT, crop_clip
from engines.preprocessing.device import DevicePreprocessor
from engines.preprocessing.resampling import resample_weights

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
golden_files = sorted(GOLDEN.glob("preprocess_*.npz"))
CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")])


def _levels(frames: np.ndarray, preprocessing: Preprocessing, pixel_format: PixelFormat, device: str) -> np.ndarray:
    """The network's input without its normalisation, in 8-bit levels [T, crop, crop, 3]."""
    plain = Preprocessing(preprocessing.resize, preprocessing.crop, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    out = torch.empty(len(frames), 3, preprocessing.crop, preprocessing.crop, device=device)
    preprocess = DevicePreprocessor(plain, torch.device(device))
    tables = preprocess.tables(*frames.shape[1:3])
    preprocess(torch.from_numpy(np.ascontiguousarray(frames)).to(device), pixel_format, out, tables)
    return (out.cpu().numpy() * 255).transpose(0, 2, 3, 1)


@pytest.mark.skipif(not golden_files, reason="no reference data beside this checkout")
@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("path", golden_files, ids=lambda path: path.stem)
def test_device_crop_is_within_one_level_of_the_reference(path: Path, device: str) -> None:
    golden = np.load(path)
    preprocessing = Preprocessing(int(golden["resize"]), golden["crop"].shape[1])
    for pixel_format, frames in (("RGB", golden["frames"]), ("BGR", golden["frames"][..., ::-1])):
        difference = np.abs(_levels(frames, preprocessing, pixel_format, device) - golden["crop"])
        assert difference.max() <= 1 + 1e-3
        assert (difference < 0.5).mean() >= 0.998


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 400), width=st.integers(1, 400), crop=st.sampled_from([32, 64, 96]), seed=st.integers(0))
def test_device_resize_equals_pillow_for_any_frame_size(height: int, width: int, crop: int, seed: int) -> None:
    frames = np.random.default_rng(seed).integers(0, 256, (2, height, width, 3), np.uint8)
    preprocessing = Preprocessing(crop * 256 // 224, crop)
    # Beyond that aspect ratio the other one is not exact.
    assume(max(height, width) <= MOST_RESIZED_ASPECT * min(height, width))
    difference = np.abs(_levels(frames, preprocessing, "RGB", "cpu") - crop_clip(frames, preprocessing))
    # Pillow takes the rows of some tall pictures first, and rounds in between in that order.
    assert difference.max() <= (1e-3 if width >= height else 2 + 1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_input_is_normalised(dtype: torch.dtype) -> None:
    frames = torch.full((2, 40, 60, 3), 0, dtype=torch.uint8)
    frames[..., 0], frames[..., 1], frames[..., 2] = 10, 120, 250
    preprocessing = Preprocessing(36, 32)
    out = torch.empty(2, 3, 32, 32, dtype=dtype)
    preprocess = DevicePreprocessor(preprocessing, torch.device("cpu"))
    preprocess(frames, "BGR", out, preprocess.tables(40, 60))
    levels = torch.tensor([250.0, 120.0, 10.0]) / 255
    expected = (levels - torch.tensor(preprocessing.mean)) / torch.tensor(preprocessing.std)
    torch.testing.assert_close(out.float(), expected.view(1, 3, 1, 1).expand(2, 3, 32, 32), atol=2e-3, rtol=0)


@given(source=st.integers(1, 500), target=st.integers(1, 500))
def test_resample_weights_sum_to_one_and_are_contiguous(source: int, target: int) -> None:
    weights = resample_weights(source, target, 0, target)
    assert np.abs(weights.sum(axis=1) - 2**22).max() <= source
    assert (weights >= 0).all()
    used = np.diff((weights > 0).astype(int), axis=1, prepend=0)
    assert ((used == 1).sum(axis=1) <= 1).all()
