"""Does the device answer as the checkpoint does in transformers, and prepare frames as the CPU does?"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace

import numpy as np
import torch

from engines.clip import Clip, FrameKey
from engines.errors import ServiceError
from engines.manifest import Preprocessing, Verification
from engines.options import EngineOptions
from engines.preprocessing.choice import device_preprocessor
from engines.preprocessing.cpu import crop_clip
from engines.runtimes.registry import open_engine
from engines.storage.bundle import Bundle
from engines.storage.reference import Reference
from engines.storage.verification import verify
from export.architectures.registry import find_checkpoint
from export.network.references import ask_checkpoint
from tests.gpu.setting import Setting, say, setting

_SIZES = ((240, 240), (256, 256), (480, 640), (720, 1280), (1080, 1920), (2160, 3840), (64, 200), (301, 133))

# The same pixels in the same batch size; a GPU may choose another kernel for a graph than for the first run.
_SAME_CLIP = 1e-3


def main() -> int:
    chosen = setting()
    say("pixels, frame size", "most off", "equal", "accepted")
    agree = [_pixels(chosen, *size) for size in (_SIZES[:2] if chosen.small else _SIZES)]
    say("probabilities", "most off", "top-1 same", "accepted")
    agree += _probabilities(chosen)
    say("windows of a stream", "most off", "from ring", "accepted")
    return 0 if all(agree + [_windows(name, bundle, chosen.device) for name, bundle in chosen.bundles()]) else 1


def _pixels(chosen: Setting, height: int, width: int) -> bool:
    """Levels of 8 bits after resize and crop, beside those of the CPU."""
    crop = chosen.model["crop_size"]
    plain = Preprocessing(crop * 256 // 224, crop, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    frames = np.random.default_rng(height).integers(0, 256, (2, height, width, 3), np.uint8)
    preprocess = device_preprocessor(plain, torch.device(chosen.device), torch.float32)
    out = torch.empty(2, 3, crop, crop, device=chosen.device)
    preprocess(torch.from_numpy(frames).to(chosen.device), "RGB", out, preprocess.tables(height, width))
    levels = (out.cpu().numpy() * 255).transpose(0, 2, 3, 1)
    off = np.abs(levels - crop_clip(frames, plain))
    say(f"{width} x {height}", f"{off.max():.3f}", f"{(off < 0.5).mean():.2%}", 0)
    return bool(off.max() <= 0.001)


def _probabilities(chosen: Setting) -> list[bool]:
    checkpoint = find_checkpoint(str(chosen.checkpoint))
    reference = ask_checkpoint(checkpoint, checkpoint.load())
    agree = []
    for name, bundle in chosen.bundles():
        try:
            found = _verified(bundle, reference, chosen.device)
        except ServiceError as error:
            say(name, str(error))
            agree.append(False)
            continue
        say(name, f"{found.max_abs_probability_error:.1e}", f"{found.top1_agreement:.0%}", f"{found.tolerance:.0e}")
        agree.append(True)
    return agree


def _windows(name: str, bundle: Bundle, device: str) -> bool:
    """Windows whose frames lie on the device already, beside the same clips without that; and that they are used."""
    frames, crop = bundle.manifest.frames, bundle.manifest.preprocessing.crop
    pixels = np.random.default_rng(1).integers(0, 256, (2 * frames, crop, crop, 3), np.uint8)
    keys = tuple(FrameKey() for _ in pixels)
    try:
        engine = open_engine(bundle, EngineOptions(device=device, ring_bytes=pixels.nbytes))
    except ServiceError as error:
        say(name, str(error))
        return False
    with contextlib.closing(engine):
        off, hidden = 0.0, 0.0
        for first in range(0, frames + 1, 4):
            window = slice(first, first + frames)
            clip = _own(engine.allocate(crop, crop), Clip(pixels[window], "BGR"))
            expected = engine.infer([replace(clip, cropped=True)]).probabilities
            kept = replace(clip, cropped=True, keys=keys[window])
            off = max(off, float(np.abs(engine.infer([kept]).probabilities - expected).max()))
            if engine.share is not None:  # on a GPU, which has all frames now and needs those of the host no more
                kept.frames[:] = 0
            hidden = max(hidden, float(np.abs(engine.infer([kept]).probabilities - expected).max()))
    say(name, f"{off:.1e}", f"{hidden:.1e}", f"{_SAME_CLIP:.0e}")
    return max(off, hidden) <= _SAME_CLIP


def _verified(bundle: Bundle, reference: Reference, device: str) -> Verification:
    engine = open_engine(bundle, EngineOptions(device=device))
    try:
        clips = tuple(_own(engine.allocate(*clip.frames.shape[1:3]), clip) for clip in reference.clips)
        # Every batch and size plainly, captured, and as a graph, on both lanes.
        for _ in range(6):
            found = verify(engine, Reference(clips, reference.probabilities, reference.labels))
        return found
    finally:
        engine.close()


def _own(frames: np.ndarray, clip: Clip) -> Clip:
    frames[:] = clip.frames
    return Clip(frames, clip.pixel_format)


if __name__ == "__main__":
    sys.exit(main())
