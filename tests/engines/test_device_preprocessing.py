"""Preprocessing on the device (here mostly the CPU) and on the CPU against the resize of torch, level for level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engines.clip import PixelFormat
from engines.manifest import Preprocessing
from engines.preprocessing.cpu import crop_clip
from engines.preprocessing.device import DevicePreprocessor
from engines.preprocessing.resampling import resized_axes

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
def test_device_crop_is_the_reference_crop(path: Path, device: str) -> None:
    golden = np.load(path)
    preprocessing = Preprocessing(int(golden["resize"]), golden["crop"].shape[1])
    for pixel_format, frames in (("RGB", golden["frames"]), ("BGR", golden["frames"][..., ::-1])):
        difference = np.abs(_levels(frames, preprocessing, pixel_format, device) - golden["crop"])
        assert difference.max() <= 1e-3


def _torch_levels(frames: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """What torchvision, and so the checkpoint's processor, makes of the frames: uint8 [T, crop, crop, 3]."""
    (height, width), short, crop = frames.shape[1:3], preprocessing.resize, preprocessing.crop
    size = (short, int(short * width / height)) if height <= width else (int(short * height / width), short)
    planes = torch.from_numpy(frames).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(planes, size, mode="bilinear", antialias=True).permute(0, 2, 3, 1)
    top, left = (size[0] - crop) // 2, (size[1] - crop) // 2
    return resized[:, top : top + crop, left : left + crop].numpy()


def _assert_both_are_exact(frames: np.ndarray, preprocessing: Preprocessing) -> None:
    expected = _torch_levels(frames, preprocessing)
    np.testing.assert_array_equal(crop_clip(frames, preprocessing), expected)
    assert np.abs(_levels(frames, preprocessing, "RGB", "cpu") - expected).max() < 1e-3


edges = st.integers(1, 300) | st.integers(1, 1200)


@settings(max_examples=50, deadline=None)
@given(height=edges, width=edges, crop=st.sampled_from([16, 64, 96]), seed=st.integers(0), contrast=st.booleans())
def test_both_resizes_equal_torch_for_any_frame_size(
    height: int, width: int, crop: int, seed: int, contrast: bool
) -> None:
    # Torch resizes the whole frame: leave out those that take it gigabytes.
    assume(max(height, width) <= 30 * min(height, width))
    frames = np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), np.uint8)
    _assert_both_are_exact(frames // 128 * 255 if contrast else frames, Preprocessing(crop * 256 // 224, crop))


@pytest.mark.parametrize("crop", [256, 384])
@pytest.mark.parametrize("size", [(1080, 1920), (1920, 1080), (101, 67), (64, 700), (700, 64), (2400, 2340)])
def test_both_resizes_equal_torch_at_the_crops_of_published_checkpoints(size: tuple[int, int], crop: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
    _assert_both_are_exact(frames, Preprocessing(crop * 256 // 224, crop))


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


@given(height=st.integers(1, 500), width=st.integers(1, 500))
def test_weights_sum_to_one_and_are_contiguous(height: int, width: int) -> None:
    for axis in resized_axes(height, width, Preprocessing(36, 32)):
        assert np.abs(axis.weights.sum(axis=1) - 2**axis.fraction_bits).max() <= axis.weights.shape[1]
        assert ((axis.weights >= 0) & (axis.weights < 2**15)).all()
        starts = np.diff((axis.weights > 0).astype(int), axis=1, prepend=0) == 1
        assert (starts.sum(axis=1) <= 1).all()
