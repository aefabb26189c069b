"""Rendered clips are reproducible, have the requested size, and show the motion of their label."""

from __future__ import annotations

import itertools
import subprocess
import sys

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from export.demo import labels
from export.demo.labels import LABELS
from export.demo.rendering.clips import render_clip
from export.demo.rendering.scenery import Scenery

# The direction in which the object or the scene moves: x to the right, y down. When the camera turns left, the scene
# moves to the right.
DIRECTIONS = {
    labels.PUSH_RIGHT: (1, 0),
    labels.PUSH_LEFT: (-1, 0),
    labels.MOVE_UP: (0, -1),
    labels.MOVE_DOWN: (0, 1),
    labels.TURN_LEFT: (1, 0),
    labels.TURN_RIGHT: (-1, 0),
    labels.TURN_UP: (0, 1),
    labels.TURN_DOWN: (0, -1),
}
SEEDS = range(8)


def _flows(label: str, seed: int) -> npt.NDArray[np.float32]:
    """Optical flow between successive frames of a plain clip, float32 [T - 1, H, W, 2] in pixels."""
    frames = render_clip(seed, label, frames=32, size=(96, 96), scenery=Scenery.PLAIN).frames
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    pairs = itertools.pairwise(grey)
    flows = [cv2.calcOpticalFlowFarneback(one, two, None, 0.5, 3, 11, 2, 5, 1.1, 0) for one, two in pairs]  # type: ignore[call-overload]
    return np.stack(flows)


def _moved(label: str, seed: int) -> npt.NDArray[np.float64]:
    """Return the mean flow over the picture, summed over the clip [2]."""
    return np.asarray(_flows(label, seed).mean(axis=(1, 2)).sum(axis=0), np.float64)


def _outward(flows: npt.NDArray[np.float32]) -> float:
    """Return the mean flow away from the centre of the motion, in pixels squared."""
    amount = np.hypot(flows[..., 0], flows[..., 1])
    rows, columns = np.mgrid[0:96, 0:96]
    centre = (amount * columns).sum() / amount.sum(), (amount * rows).sum() / amount.sum()
    return float((flows[..., 0] * (columns - centre[0]) + flows[..., 1] * (rows - centre[1])).mean())


@pytest.mark.parametrize("label", DIRECTIONS)
def test_clip_moves_in_the_direction_of_its_label(label: str) -> None:
    moved = np.stack([_moved(label, seed) for seed in SEEDS])
    along, across = moved @ DIRECTIONS[label], np.abs(moved @ DIRECTIONS[label][::-1])
    assert np.median(along) > 1.0
    # The flow is an estimate and a path may be sloped, so single clips may deviate.
    assert (along > across).mean() >= 0.75, moved


@pytest.mark.parametrize(("label", "sign"), [(labels.APPROACH, 1), (labels.MOVE_AWAY, -1)])
def test_scene_grows_on_approach_and_shrinks_on_moving_away(label: str, sign: int) -> None:
    outward = [_outward(_flows(label, seed)) for seed in SEEDS]
    assert (sign * np.array(outward) > 0).mean() >= 0.75, outward


def test_held_object_stays_in_place() -> None:
    assert np.median([np.hypot(*_moved(labels.HOLD, seed)) for seed in SEEDS]) < 1.0


@pytest.mark.parametrize("label", LABELS)
def test_same_seed_renders_the_same_clip(label: str) -> None:
    first, second = (render_clip(7, label, size=(90, 120)) for _ in range(2))
    assert first.label == second.label == label
    np.testing.assert_array_equal(first.frames, second.frames)


@pytest.mark.parametrize("scenery", Scenery)
@pytest.mark.parametrize("label", LABELS)
def test_every_label_renders_in_every_scenery(label: str, scenery: Scenery) -> None:
    frames = render_clip(11, label, size=(64, 80), scenery=scenery).frames
    assert frames.shape == (16, 64, 80, 3)
    assert frames.std() > 2.0


def _largest_change(scenery: Scenery, seed: int) -> float:
    """The largest mean difference between successive frames of a held object, in levels."""
    frames = render_clip(seed, labels.HOLD, size=(64, 64), scenery=scenery).frames.astype(float)
    return float(np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3)).max())


def test_restless_scenery_has_cuts_and_calm_scenery_has_none() -> None:
    assert sum(_largest_change(Scenery.RESTLESS, seed) > 25 for seed in range(12)) >= 3
    assert all(_largest_change(Scenery.CALM, seed) < 25 for seed in range(12))


def test_different_seeds_render_different_clips_and_labels() -> None:
    clips = [render_clip(seed, size=(64, 64), frames=2) for seed in range(40)]
    assert len({clip.frames.tobytes() for clip in clips}) == 40
    assert len({clip.label for clip in clips}) > 5


@pytest.mark.parametrize(
    ("frames", "size"),
    [(16, (101, 67)), (2, (16, 16)), (1, (40, 30)), (64, (48, 211)), (16, (33, 1000)), (5, (1000, 33))],
)
def test_frames_are_rgb_of_the_requested_size(frames: int, size: tuple[int, int]) -> None:
    clip = render_clip(3, frames=frames, size=size)
    assert clip.frames.shape == (frames, *size, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.label in LABELS


@pytest.mark.parametrize("scenery", Scenery)
def test_single_frames_are_rendered_of_every_label(scenery: Scenery) -> None:
    for seed, label in enumerate(labels.LABELS):
        assert render_clip(seed, label, frames=1, size=(20, 16), scenery=scenery).frames.shape == (1, 20, 16, 3)


def test_random_sizes_span_small_and_large_frames_of_either_orientation() -> None:
    sizes = [render_clip(seed, frames=2).frames.shape[1:3] for seed in range(40)]
    assert min(max(size) for size in sizes) < 130
    assert max(max(size) for size in sizes) > 600
    assert any(height > width for height, width in sizes)
    assert any(height < width for height, width in sizes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label": "Juggling"}, "unknown label 'Juggling'"),
        ({"frames": 0}, "at least 1 frame"),
        ({"size": (15, 100)}, "15x100"),
    ],
)
def test_invalid_clip_parameters_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        render_clip(0, **options)  # type: ignore[arg-type]


def test_rendering_needs_neither_torch_nor_transformers() -> None:
    heavy = "{'torch', 'transformers', 'matplotlib'}"
    program = f"import sys, export.demo.rendering.clips; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
