"""A V-JEPA 2 ViT-L without its weights: the architecture of facebook/vjepa2-vitl-fpc16-256-ssv2, exported once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal

import av

from export.demo.rendering.clips import render_clip
from tests.latency.cache import cache
from tests.live_server import ROOT

_LABELS = 174
_FPS = 3
_VIDEO_FRAMES = 5 * 16
_VIDEO_SIZE = (240, 320)


def vitl_checkpoint() -> Path:
    """A checkpoint directory with a config and no weights."""
    from transformers import VJEPA2Config

    path = cache("vitl")
    config = VJEPA2Config(
        architectures=["VJEPA2ForVideoClassification"],
        frames_per_clip=16,
        crop_size=256,
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        num_pooler_layers=3,
        mlp_ratio=4.0,
        num_labels=_LABELS,
    )
    config.save_pretrained(path)
    return path


def vitl_bundle(precision: Literal["bf16", "int8"] = "bf16") -> Path:
    """Its bundle for this CPU; exporting it takes minutes the first time, and again when the export has changed.

    int8 is calibrated with five clips only: that makes it no faster or slower.
    """
    path = cache(f"vitl-openvino-{precision}")
    calibration = ("--calibration", str(_video())) if precision == "int8" else ()
    options = ("--random-weights", "--no-verify", "--target", "openvino", "--precision", precision)
    command = (sys.executable, "-m", "export", str(vitl_checkpoint()), *options, *calibration, "--output", str(path))
    subprocess.run(command, cwd=ROOT, check=True)
    return path


def _video() -> Path:
    """A rendered motion of five clips."""
    path = cache("vitl-calibration") / "motion.mp4"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        with av.open(path, "w") as container:
            stream = container.add_stream("mpeg4", rate=_FPS)
            stream.height, stream.width, stream.pix_fmt = *_VIDEO_SIZE, "yuv420p"
            for picture in render_clip(0, frames=_VIDEO_FRAMES, size=_VIDEO_SIZE).frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(stream.encode())
    return path
