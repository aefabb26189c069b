"""Every symmetry changes the label in the same way as the picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from export.demo import labels
from export.demo.labels import LABELS
from export.demo.training import augmentation
from export.demo.training.augmentation import MIRRORED, REVERSED, SYMMETRIES, TRANSPOSED, UPSIDE_DOWN, Symmetry

# The effect of each symmetry on a motion vector in the frame, x to the right and y down.
VECTORS = {
    MIRRORED: lambda x, y: (-x, y),
    UPSIDE_DOWN: lambda x, y: (x, -y),
    REVERSED: lambda x, y: (-x, -y),
    TRANSPOSED: lambda x, y: (y, x),
}
OBJECT = {
    labels.PUSH_RIGHT: (1, 0),
    labels.PUSH_LEFT: (-1, 0),
    labels.MOVE_DOWN: (0, 1),
    labels.MOVE_UP: (0, -1),
}
SCENE = {
    labels.TURN_LEFT: (1, 0),
    labels.TURN_RIGHT: (-1, 0),
    labels.TURN_UP: (0, 1),
    labels.TURN_DOWN: (0, -1),
}


def _ramp() -> npt.NDArray[np.uint8]:
    """Frames [4, 5, 5, 3] of distinct values."""
    return np.arange(4 * 5 * 5 * 3, dtype=np.uint16).reshape(4, 5, 5, 3).astype(np.uint8)


@pytest.mark.parametrize("symmetry", SYMMETRIES)
@pytest.mark.parametrize("motions", [OBJECT, SCENE])
def test_symmetry_changes_label_direction_like_the_picture(
    symmetry: Symmetry, motions: dict[str, tuple[int, int]]
) -> None:
    for label, (x, y) in motions.items():
        assert motions[symmetry.label(label)] == VECTORS[symmetry](x, y)


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_only_reversal_exchanges_approach_and_moving_away(symmetry: Symmetry) -> None:
    expected = labels.MOVE_AWAY if symmetry is REVERSED else labels.APPROACH
    assert symmetry.label(labels.APPROACH) == expected
    assert symmetry.label(labels.HOLD) == labels.HOLD


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_symmetry_applied_twice_is_the_identity(symmetry: Symmetry) -> None:
    np.testing.assert_array_equal(symmetry.view(symmetry.view(_ramp())), _ramp())
    assert [symmetry.label(symmetry.label(label)) for label in LABELS] == list(LABELS)


def test_symmetries_act_on_the_axes_they_name() -> None:
    frames = _ramp()
    np.testing.assert_array_equal(MIRRORED.view(frames)[1, 2, 0], frames[1, 2, 4])
    np.testing.assert_array_equal(UPSIDE_DOWN.view(frames)[1, 0, 2], frames[1, 4, 2])
    np.testing.assert_array_equal(REVERSED.view(frames)[0], frames[3])
    np.testing.assert_array_equal(TRANSPOSED.view(frames)[1, 2, 3], frames[1, 3, 2])


def test_augmentation_permutes_pixels_and_returns_a_known_label() -> None:
    rng, frames = np.random.default_rng(0), _ramp()
    for label in LABELS:
        augmented, changed = augmentation.augment(rng, frames, label)
        assert changed in LABELS
        np.testing.assert_array_equal(np.sort(augmented, axis=None), np.sort(frames, axis=None))


def test_relighting_stays_in_range() -> None:
    batch = torch.linspace(0.0, 1.0, 2 * 4 * 3 * 6 * 6).reshape(2, 4, 3, 6, 6)
    relit = augmentation.relight(np.random.default_rng(0), batch.clone())
    assert relit.dtype == torch.float32
    assert float(relit.min()) >= 0.0
    assert float(relit.max()) <= 1.0
    assert not torch.equal(relit, batch)


def test_reframing_changes_all_frames_alike_in_the_first_half_of_the_batch() -> None:
    still = torch.rand(4, 1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).expand(4, 5, 3, 16, 16)
    reframed = augmentation.reframe(np.random.default_rng(0), still.clone())
    torch.testing.assert_close(reframed, reframed[:, :1].expand_as(reframed))
    assert not torch.equal(reframed[:2], still[:2])
    assert torch.equal(reframed[2:], still[2:])
