"""Random changes to training clips after which the exact label is still known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from export.demo import labels

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Symmetry:
    """A view of frames uint8 [T, H, W, 3] and the pairs of labels that it exchanges; other labels stay the same."""

    view: Callable[[Frames], Frames]
    exchanged: tuple[tuple[str, str], ...]

    def label(self, label: str) -> str:
        """Return the label of the changed clip if the original clip has ``label``."""
        there = dict(self.exchanged)
        back = {second: first for first, second in self.exchanged}
        return there.get(label, back.get(label, label))


_PUSHES = (labels.PUSH_RIGHT, labels.PUSH_LEFT)
_MOVES = (labels.MOVE_UP, labels.MOVE_DOWN)
_TURNS_ASIDE = (labels.TURN_LEFT, labels.TURN_RIGHT)
_TURNS_ALONG = (labels.TURN_UP, labels.TURN_DOWN)
_DISTANCES = (labels.APPROACH, labels.MOVE_AWAY)

MIRRORED = Symmetry(lambda frames: frames[:, :, ::-1], (_PUSHES, _TURNS_ASIDE))
UPSIDE_DOWN = Symmetry(lambda frames: frames[:, ::-1], (_MOVES, _TURNS_ALONG))
REVERSED = Symmetry(lambda frames: frames[::-1], (_PUSHES, _MOVES, _TURNS_ASIDE, _TURNS_ALONG, _DISTANCES))
TRANSPOSED = Symmetry(
    lambda frames: frames.swapaxes(1, 2),
    (
        (labels.PUSH_RIGHT, labels.MOVE_DOWN),
        (labels.PUSH_LEFT, labels.MOVE_UP),
        (labels.TURN_LEFT, labels.TURN_UP),
        (labels.TURN_RIGHT, labels.TURN_DOWN),
    ),
)
SYMMETRIES = (MIRRORED, UPSIDE_DOWN, REVERSED, TRANSPOSED)


def augment(rng: np.random.Generator, frames: Frames, label: str) -> tuple[Frames, str]:
    """Apply each symmetry to square ``frames`` with probability 0.5 and permute the colour channels."""
    for symmetry in SYMMETRIES:
        if rng.random() < 0.5:
            frames, label = symmetry.view(frames), symmetry.label(label)
    return frames[..., rng.permutation(3)], label


def relight(rng: np.random.Generator, batch: torch.Tensor) -> torch.Tensor:
    """Change contrast, brightness and tint of each clip [N, T, 3, H, W] in place; values stay in [0, 1]."""
    count = len(batch)
    gain = rng.uniform(0.7, 1.3, (count, 1, 1, 1, 1)) * rng.uniform(0.9, 1.1, (count, 1, 3, 1, 1))
    level = rng.normal(0.45, 0.08, (count, 1, 1, 1, 1)) - 0.45 * gain
    return batch.mul_(torch.from_numpy(gain).float()).add_(torch.from_numpy(level).float()).clamp_(0.0, 1.0)


def reframe(rng: np.random.Generator, batch: torch.Tensor) -> torch.Tensor:
    """Zoom, shift and tilt the first half of the clips [N, T, 3, H, W] a little, in place."""
    count, frames = len(batch) // 2, batch.shape[1]
    angle, scale = rng.normal(0.0, 0.06, count), rng.uniform(0.8, 1.05, count)
    aside = rng.uniform(-0.12, 0.12, (count, 2))
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    lens = np.stack([np.stack([cosine, -sine, aside[:, 0]], 1), np.stack([sine, cosine, aside[:, 1]], 1)], 1)
    shape = [count, 1, batch.shape[3], batch.shape[4]]
    grid = torch.nn.functional.affine_grid(torch.from_numpy(lens).float(), shape, align_corners=False)
    stacked = batch[:count].flatten(1, 2)
    seen = torch.nn.functional.grid_sample(stacked, grid, padding_mode="border", align_corners=False)
    batch[:count] = seen.view(count, frames, 3, *seen.shape[2:])
    return batch
