"""Does the bundle answer as the checkpoint does? The same clips through both, compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from transformers import VJEPA2ForVideoClassification

from engines.clip import Clip
from engines.engine import Engine
from engines.errors import VerificationError
from engines.manifest import Precision, Verification
from engines.preprocessing import CpuPreprocessor, Preprocessing
from export.demo.clips import render_clip

# How far a probability may be from the checkpoint's in FP32.
TOLERANCES: dict[Precision, float] = {"fp32": 2e-3, "bf16": 2e-2, "fp16": 5e-3}

_MOTION_SIZES = ((240, 240), (240, 320), (360, 640), (480, 270))
_NOISE_SIZES = ((240, 240), (101, 67))
_SEED = 20_000_000

Floats = npt.NDArray[np.float32]


def reference_clips(frames: int) -> list[Clip]:
    """Clips of ``frames`` frames of several sizes: rendered motions, which trained networks know, and plain noise."""
    noise = np.random.default_rng(_SEED)
    motions = [
        Clip(np.ascontiguousarray(render_clip(_SEED + index, frames=frames, size=size).frames), "RGB")
        for index, size in enumerate(_MOTION_SIZES)
    ]
    return motions + [Clip(noise.integers(0, 256, (frames, *size, 3), np.uint8), "BGR") for size in _NOISE_SIZES]


def reference_probabilities(
    model: VJEPA2ForVideoClassification, preprocessing: Preprocessing, clips: Sequence[Clip]
) -> Floats:
    """What the checkpoint itself answers in FP32: float32 [clips, labels]."""
    preprocess = CpuPreprocessor(preprocessing, threads=1)
    rows = []
    for clip in clips:
        pixels = np.empty((len(clip.frames), 3, preprocessing.crop, preprocessing.crop), np.float32)
        preprocess(clip, pixels)
        with torch.inference_mode():
            logits = model(torch.from_numpy(pixels)[None]).logits
        rows.append(logits.softmax(-1)[0].numpy())
    preprocess.close()
    return np.stack(rows)


def verify(engine: Engine, clips: Sequence[Clip], reference: Floats) -> Verification:
    """Compare the engine's answers to ``clips`` with ``reference``, float32 [clips, labels].

    Raises:
        VerificationError: a probability is further off than the precision's tolerance.
    """
    answers = np.concatenate([engine.infer([clip]).probabilities for clip in clips])
    found = compare(answers, reference, engine.precision)
    if not found.max_abs_probability_error <= found.tolerance:
        raise VerificationError(
            f"the bundle's probabilities are up to {found.max_abs_probability_error:.1e} from the checkpoint's;"
            f" accepted in {found.precision}: {found.tolerance:.0e}",
            help="export with --precision fp32",
        )
    return found


def compare(answers: Floats, reference: Floats, precision: Precision) -> Verification:
    """Largest difference and share of clips whose best label, and whose set of five best, are the same."""
    ranks, reference_ranks = np.argsort(-answers), np.argsort(-reference)
    same_five = [set(a) == set(b) for a, b in zip(ranks[:, :5], reference_ranks[:, :5], strict=True)]
    return Verification(
        clips=len(answers),
        precision=precision,
        max_abs_probability_error=float(np.abs(answers - reference).max()),
        tolerance=TOLERANCES[precision],
        top1_agreement=float((ranks[:, 0] == reference_ranks[:, 0]).mean()),
        top5_agreement=float(np.mean(same_five)),
    )
