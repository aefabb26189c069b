from __future__ import annotations

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.consumer.videos import numbered_frame
from video.picture import PictureMaker


def test_pictures_are_contiguous_rgb() -> None:
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 250
    picture = PictureMaker(0).make(av.VideoFrame.from_ndarray(red, "rgb24").reformat(format="yuv444p"))
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    assert picture.reshape(-1, 3).mean(axis=0) == pytest.approx([250, 0, 0], abs=4)


@pytest.mark.parametrize(
    ("size", "short_edge_px", "expected"),
    [
        ((1920, 1080), 292, (519, 292)),
        ((1080, 1920), 292, (292, 519)),
        ((240, 240), 292, (240, 240)),
        ((1920, 1080), 0, (1920, 1080)),
        ((292, 292), 292, (292, 292)),
    ],
)
def test_pictures_are_shrunk_but_never_enlarged(
    size: tuple[int, int], short_edge_px: int, expected: tuple[int, int]
) -> None:
    height, width, _ = PictureMaker(short_edge_px).make(numbered_frame(5, size)).shape
    assert (width, height) == expected


@given(width=st.integers(16, 400), height=st.integers(16, 400), short_edge_px=st.integers(32, 300))
def test_the_short_edge_is_exact_and_the_shape_kept(width: int, height: int, short_edge_px: int) -> None:
    frame = av.VideoFrame(width, height, "yuv420p")
    made_height, made_width, _ = PictureMaker(short_edge_px).make(frame).shape
    assert min(made_width, made_height) == min(width, height, short_edge_px)
    assert abs(made_width * height - made_height * width) <= max(width, height)


def test_shrinking_is_close_to_pillow() -> None:
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 256, (270, 480, 3), dtype=np.uint8))
    original = noise.resize((1920, 1080), Image.Resampling.BICUBIC)
    frame = av.VideoFrame.from_ndarray(np.asarray(original), "rgb24").reformat(format="yuv420p")
    expected = Image.fromarray(frame.to_ndarray(format="rgb24")).resize((519, 292), Image.Resampling.BILINEAR)
    difference = np.abs(PictureMaker(292).make(frame).astype(int) - np.asarray(expected))
    assert difference.mean() < 2


def test_later_frames_are_scaled_to_the_first_size() -> None:
    maker = PictureMaker(48)
    assert maker.make(numbered_frame(1, (128, 96))).shape == (48, 64, 3)
    assert maker.make(numbered_frame(1, (320, 160))).shape == (48, 64, 3)


def test_frame_sampled_twice_is_converted_once() -> None:
    maker, frame = PictureMaker(48), numbered_frame(1)
    assert maker.make(frame) is maker.make(frame)
    assert maker.make(frame) is not maker.make(numbered_frame(1))
