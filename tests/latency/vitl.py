"""A V-JEPA 2 ViT-L without its weights: the architecture of facebook/vjepa2-vitl-fpc16-256-ssv2, exported once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.latency.cache import cache
from tests.live_server import ROOT

_LABELS = 174


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


def vitl_bundle() -> Path:
    """Its bundle for this CPU; exporting it takes minutes the first time, and again when the export has changed."""
    path = cache("vitl-openvino")
    command = (sys.executable, "-m", "export", str(vitl_checkpoint()), "--random-weights", "--no-verify")
    subprocess.run([*command, "--target", "openvino", "--output", str(path)], cwd=ROOT, check=True)
    return path
