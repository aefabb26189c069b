"""Reference clips for verifying an export, and the answers of the published model to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from engines.clip import Clip
from engines.errors import CheckpointError, ExportError
from engines.manifest import Preprocessing
from engines.preprocessing.cpu import CpuPreprocessor
from engines.storage.reference import Reference
from export.architectures.base import Checkpoint
from export.demo.rendering.clips import render_clip

_MOTION_SIZES = ((120, 160), (180, 101))
_NOISE_SIZE = (101, 67)
_MOSAIC = (15, 20)
_MOSAIC_TILE = 24
_SEED = 20_000_000
# Equal on most CPUs. Where torchvision resizes in floating point (no AVX2, not ARM), a level is rounded otherwise.
_MOST_LEVELS = 1.01


def reference_clips(frames: int) -> tuple[Clip, ...]:
    """Clips of ``frames`` frames in several sizes: rendered motions, fine noise, and coarse noise in large frames.

    They are stored in the bundle, so they are small or compress well.
    """
    noise = np.random.default_rng(_SEED)
    rendered = [render_clip(_SEED + index, frames=frames, size=size).frames for index, size in enumerate(_MOTION_SIZES)]
    fine = noise.integers(0, 256, (frames, *_NOISE_SIZE, 3), np.uint8)
    tiles = noise.integers(0, 256, (frames, *_MOSAIC, 3), np.uint8)
    mosaic = tiles.repeat(_MOSAIC_TILE, axis=1).repeat(_MOSAIC_TILE, axis=2)
    return (
        Clip(np.ascontiguousarray(rendered[0]), "RGB"),
        Clip(np.ascontiguousarray(rendered[1][..., ::-1]), "BGR"),
        Clip(fine, "BGR"),
        Clip(mosaic, "RGB"),
    )


def ask_checkpoint(checkpoint: Checkpoint, model: Any) -> Reference:
    """The reference clips and the probabilities in FP32 of ``model``, which was loaded from ``checkpoint``.

    Raises:
        CheckpointError: the model answers with NaN.
        ExportError: the engines prepare a clip otherwise than the checkpoint's own processor.
    """
    clips = reference_clips(checkpoint.clip_shape[0])
    with torch.inference_mode():
        pixels = (_prepared(clip, checkpoint) for clip in clips)
        answers = np.stack([checkpoint.probabilities(model, one)[0].numpy() for one in pixels])
    if not np.isfinite(answers).all():
        raise CheckpointError(
            f"{checkpoint.model} itself answers with NaN in FP32, so no engine can be compared with it",
            help="the checkpoint is broken, or config.json does not belong to its weights",
        )
    return Reference(clips, answers)


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


def normalised(clip: Clip, preprocessing: Preprocessing) -> torch.Tensor:
    """Preprocess ``clip`` into the input of the network, float32 [1, T, 3, crop, crop]."""
    preprocess = CpuPreprocessor(preprocessing, threads=1)
    try:
        return torch.from_numpy(preprocess.batch([clip]))
    finally:
        preprocess.close()
