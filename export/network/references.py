"""Reference clips for verifying an export, and the answers of the published model to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from engines.clip import Clip
from engines.errors import CheckpointError, ExportError
from engines.manifest import Preprocessing
from engines.preprocessing.cpu import CpuPreprocessor
from engines.storage.feature_errors import feature_distances
from engines.storage.log_odds import Doubles, distances
from engines.storage.reference import Floats, Reference
from export.architectures.base import Checkpoint
from export.demo.rendering.clips import render_clip

# How many candidates become reference clips: two that differ most, and at least one of each kind.
CLIPS = 6
_WIDE, _TALL = (120, 160), (180, 101)
_NOISE_SIZE = (101, 67)
_MOSAIC = (15, 20)
_MOSAIC_TILE = 24
_TINTS = ((255, 255, 255), (255, 77, 26), (26, 77, 255))
_PLAIN_SIZE = (96, 128)
_PLAIN = ((255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0))
_SEED = 20_000_000
# Equal on most CPUs. Where torchvision resizes in floating point (no AVX2, not ARM), a level is rounded otherwise.
_MOST_LEVELS = 1.01


def candidate_clips(frames: int) -> tuple[tuple[Clip, ...], ...]:
    """Clips of ``frames`` frames by kind: wide and tall rendered motions, fine noise, mosaics, and plain colours.

    The kinds differ in size and channel order. Warm and cold colours show whether red and blue are exchanged. Reference
    clips are stored in the bundle, so all of them are small or compress well.
    """
    noise = np.random.default_rng(_SEED)
    fine = noise.integers(0, 256, (frames, *_NOISE_SIZE, 3), np.uint8)
    return (
        tuple(Clip(_motion(_SEED + index, frames, _WIDE), "RGB") for index in (0, 2)),
        tuple(Clip(np.ascontiguousarray(_motion(_SEED + index, frames, _TALL)[..., ::-1]), "BGR") for index in (1, 3)),
        (Clip(fine, "BGR"),),
        tuple(Clip(_mosaic(noise, frames, tint), "RGB") for tint in _TINTS),
        tuple(Clip(np.full((frames, *_PLAIN_SIZE, 3), colour, np.uint8), "RGB") for colour in _PLAIN),
    )


def ask_checkpoint(checkpoint: Checkpoint, model: Any) -> Reference:
    """The candidates whose answers differ most, and the answers in FP32 of ``model``, loaded from ``checkpoint``.

    Raises:
        CheckpointError: an answer of the model is not a number.
        ExportError: the engines prepare a clip otherwise than the checkpoint's own processor.
    """
    kinds = candidate_clips(checkpoint.clip_shape[0])
    clips = [clip for kind in kinds for clip in kind]
    kind_of = [index for index, kind in enumerate(kinds) for _ in kind]
    with torch.inference_mode():
        pixels = (_prepared(clip, checkpoint) for clip in clips)
        found = [checkpoint.answers(model, one) for one in pixels]
    answers: Floats = np.stack([probabilities[0].numpy() for probabilities, _ in found])
    features: Floats = np.stack([described[0].numpy() for _, described in found])
    if not (np.isfinite(answers).all() and np.isfinite(features).all()):
        raise CheckpointError(
            f"{checkpoint.model} itself answers with NaN in FP32, so no engine can be compared with it",
            help="the checkpoint is broken, or config.json does not belong to its weights",
        )
    chosen = most_different(distances(answers) if checkpoint.labels else feature_distances(features), kind_of)
    kept = tuple(clips[index] for index in chosen)
    return Reference(kept, answers[chosen], checkpoint.labels, features[chosen])


def _prepared(clip: Clip, checkpoint: Checkpoint) -> torch.Tensor:
    """The model's input from the checkpoint's own processor, compared with that of the engines."""
    step = 1 if clip.pixel_format == "RGB" else -1
    frames = np.ascontiguousarray(clip.frames[..., ::step].transpose(0, 3, 1, 2))
    pixels = checkpoint.processor.prepare(torch.from_numpy(frames))
    level = 1 / (255 * torch.tensor(checkpoint.preprocessing.std).view(3, 1, 1))
    levels = float(((pixels - normalised(clip, checkpoint.preprocessing)) / level).abs().max())
    if not levels <= _MOST_LEVELS:
        theirs = checkpoint.processor.described
        raise ExportError(
            f"the service's pixels are up to {levels:.3g} levels of 8 bits from those of {theirs}",
            help=f"accepted: {_MOST_LEVELS:.0f} level; report this with the checkpoint's preprocessor file",
        )
    return pixels


def most_different(apart: Doubles, kind_of: list[int]) -> list[int]:
    """The indices of ``CLIPS`` candidates, at least one of each kind; ``apart``: [candidates, candidates].

    The first two are furthest apart, and each of the others is the one that is furthest from those before it.
    """
    chosen = sorted(int(index) for index in np.unravel_index(apart.argmax(), apart.shape))
    if chosen[0] == chosen[1]:  # All answers are the same.
        chosen = [0]
    while len(chosen) < CLIPS:
        missing = set(kind_of) - {kind_of[index] for index in chosen}
        left = [index for index, kind in enumerate(kind_of) if index not in chosen and (not missing or kind in missing)]
        chosen.append(max(left, key=lambda index: float(apart[index, chosen].min())))
    return chosen


def normalised(clip: Clip, preprocessing: Preprocessing) -> torch.Tensor:
    """Preprocess ``clip`` into the input of the network, float32 [1, T, 3, crop, crop]."""
    preprocess = CpuPreprocessor(preprocessing, threads=1)
    try:
        return torch.from_numpy(preprocess.batch([clip]))
    finally:
        preprocess.close()


def _motion(seed: int, frames: int, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A rendered motion, RGB uint8 [T, H, W, 3]; its first frame where there is only one."""
    return np.ascontiguousarray(render_clip(seed, frames=max(2, frames), size=size).frames[:frames])


def _mosaic(noise: np.random.Generator, frames: int, tint: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Coarse noise in large frames, whose channels reach the levels of ``tint``: RGB uint8 [T, H, W, 3]."""
    tiles = noise.integers(0, tint, (frames, *_MOSAIC, 3), np.uint8, endpoint=True)
    return tiles.repeat(_MOSAIC_TILE, axis=1).repeat(_MOSAIC_TILE, axis=2)
