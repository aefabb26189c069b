"""Pictures for the documentation: a confusion matrix and a sheet of sample clips."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from engines.manifest import Preprocessing
from engines.preprocessing.cpu import crop_frame
from export.demo.labels import LABELS
from export.demo.rendering.clips import render_clip

_CELL, _MARGIN_LEFT, _MARGIN_TOP = 44, 430, 50
_THUMBNAIL, _SHOWN_FRAMES = 96, 8


def _write(image: npt.NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image):
        raise ValueError(f"cannot write a picture to {path}")


def _text(image: npt.NDArray[np.uint8], text: str, x: int, y: int, level: int = 0) -> None:
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (level, level, level), 1, cv2.LINE_AA)


def draw_confusion(confusion: npt.NDArray[np.int64], path: Path) -> None:
    """Draw the confusion matrix [labels, labels], true label by predicted label, to an image file."""
    side = _CELL * len(LABELS)
    image = np.full((_MARGIN_TOP + side + 10, _MARGIN_LEFT + side + 10, 3), 255, np.uint8)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    _text(image, "true label / predicted label", 8, 38)
    for row, label in enumerate(LABELS):
        _text(image, f"{row + 1:2d} {label}", 8, _MARGIN_TOP + row * _CELL + 27)
        _text(image, str(row + 1), _MARGIN_LEFT + row * _CELL + 14, 38)
        for column in range(len(LABELS)):
            left, top = _MARGIN_LEFT + column * _CELL, _MARGIN_TOP + row * _CELL
            # The square root keeps single mistakes visible next to the diagonal.
            shade = int(255 - 215 * np.sqrt(shares[row, column]))
            cv2.rectangle(image, (left, top), (left + _CELL - 2, top + _CELL - 2), (255, max(shade, 90), shade), -1)
            if confusion[row, column]:
                _text(image, str(confusion[row, column]), left + 9, top + 27, 0 if shade > 120 else 255)
    _write(image, path)


def _strip(seed: int, label: str) -> npt.NDArray[np.uint8]:
    """Return every other frame of a clip side by side, with the crop of the network but a higher resolution."""
    frames = render_clip(seed, label, size=(240, 320)).frames[::2][:_SHOWN_FRAMES]
    crop = Preprocessing(resize=int(_THUMBNAIL * 256 / 224), crop=_THUMBNAIL)
    return np.concatenate([crop_frame(frame, crop) for frame in frames], axis=1)


def draw_sheet(seed: int, path: Path) -> None:
    """Draw a sample clip of every label to an image file, one row per clip, time from left to right."""
    rows = []
    for index, label in enumerate(LABELS):
        title = np.full((22, _THUMBNAIL * _SHOWN_FRAMES, 3), 255, np.uint8)
        _text(title, label, 4, 16)
        rows += [title, _strip(seed + index, label)[..., ::-1]]
    _write(np.concatenate(rows), path)
