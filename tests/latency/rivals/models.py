"""The model behind every rival, by ``MODEL``: ``instant``, ``gpu``, or ``transformers:CHECKPOINT:DTYPE``."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tests.latency.stand_in_device import LABELS, PACES, Frames, Probabilities, StandInDevice

_TOP_K = 5
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Model(Protocol):
    """Blocks while it classifies BGR uint8 clips [T, H, W, 3]: float32 [N, labels]."""

    labels: Sequence[str]

    def classify(self, clips: Sequence[Frames]) -> Probabilities: ...


def load_model() -> Model:
    kind, *arguments = os.environ["MODEL"].split(":")
    if kind == "transformers":
        return TransformersModel(*arguments)
    return StandIn(kind)


def decode_frames(frames: Sequence[str], width: int, height: int) -> Frames:
    """Base64 of packed BGR pixels -> uint8 [T, H, W, 3], as one writes it with the standard library and numpy."""
    decoded = [np.frombuffer(base64.b64decode(frame), np.uint8).reshape(height, width, 3) for frame in frames]
    return np.stack(decoded)


def top_predictions(probabilities: Probabilities, labels: Sequence[str]) -> list[dict[str, object]]:
    """The answer's ``predictions`` for one row of probabilities."""
    order = np.argsort(-probabilities, kind="stable")[:_TOP_K]
    return [{"label": labels[index], "confidence": round(float(probabilities[index]), 6)} for index in order]


class StandIn:
    """The same stand-in device as behind our own server."""

    labels = LABELS

    def __init__(self, pace: str) -> None:
        self._device = StandInDevice(PACES[pace], f"{os.environ['RIVAL']}-{pace}")

    def classify(self, clips: Sequence[Frames]) -> Probabilities:
        return self._device.classify(clips)


class TransformersModel:
    """V-JEPA 2 as its model card uses it; random weights where the checkpoint has none."""

    def __init__(self, checkpoint: str, dtype: str) -> None:
        # torch and transformers are those that our own export uses; everything else is the rival's.
        sys.path.append(os.environ["TRANSFORMERS_SITE"])
        import torch

        self._dtype = getattr(torch, dtype)
        self._model = _load(checkpoint).to(self._dtype).eval()
        names = self._model.config.id2label
        self.labels = [names[index] for index in range(len(names))]

    def classify(self, clips: Sequence[Frames]) -> Probabilities:
        import torch

        with torch.inference_mode():
            pixels = torch.stack([_preprocess(clip, self._model.config.crop_size) for clip in clips])
            logits = self._model(pixels.to(self._dtype)).logits
            return np.asarray(logits.float().softmax(-1))


def _load(checkpoint: str) -> Any:
    import torch
    from transformers import VJEPA2Config, VJEPA2ForVideoClassification

    if any(Path(checkpoint).glob("*.safetensors")):
        return VJEPA2ForVideoClassification.from_pretrained(checkpoint, dtype=torch.float32)
    torch.manual_seed(0)
    return VJEPA2ForVideoClassification._from_config(VJEPA2Config.from_pretrained(checkpoint))


def _preprocess(clip: Frames, crop: int) -> Any:
    """What VJEPA2VideoProcessor does, which needs torchvision: float32 [T, 3, crop, crop]."""
    import torch

    frames = torch.from_numpy(np.ascontiguousarray(clip[..., ::-1])).permute(0, 3, 1, 2).float()
    height, width = frames.shape[2:]
    short = crop * 256 // 224
    scale = short / min(height, width)
    size = (short, int(width * scale)) if height <= width else (int(height * scale), short)
    resized = torch.nn.functional.interpolate(frames, size, mode="bilinear", antialias=True).round().clamp(0, 255)
    top, left = (size[0] - crop) // 2, (size[1] - crop) // 2
    cropped = resized[:, :, top : top + crop, left : left + crop] / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (_MEAN, _STD))
    return (cropped - mean) / std
