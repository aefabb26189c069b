"""The evidence: a classified clip as an MP4 file with what was seen written into its frames."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from consumer.answer import ClassifiedClip
from consumer.clip import Clip
from consumer.errors import OutputError
from consumer.picture import Picture

LINES_IN_HEIGHT = 14
SMALLEST_TEXT_PX = 9
BAND = (0, 0, 0)
TEXT = (255, 255, 255)


class Evidence:
    """Saves clips in ``directory``, which is made where it is missing."""

    def __init__(self, directory: Path) -> None:
        """Raises OutputError when nothing can be written there."""
        self._directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(directory, error) from error
        if not os.access(directory, os.W_OK | os.X_OK):
            raise _unwritable(directory, PermissionError(13, "Permission denied"))

    def save(self, clip: Clip, result: ClassifiedClip, live: bool) -> Path:
        """Write the clip, at the rate at which it was sampled, whole or not at all; raises OutputError."""
        path = self._directory / _file_name(result, live)
        best = result.predictions[0]
        fps = len(clip.pictures) / (clip.end_s - clip.start_s)
        try:
            with _written_aside(path) as aside:
                _write(aside, clip.pictures, fps, f"{best.label}  {best.confidence:.0%}")
        except OSError as error:
            raise _unwritable(path, error) from error
        return path


def _file_name(result: ClassifiedClip, live: bool) -> str:
    source = re.sub(r"[^A-Za-z0-9.]+", "-", result.source).strip("-.")[-60:]
    start = f"{result.start_s:010.3f}s"
    if live:
        start = datetime.fromtimestamp(result.start_s, UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3] + "Z"
    return f"{source}_{start}_{re.sub(r'[^A-Za-z0-9-]', '-', result.clip_id)[:36]}.mp4"


@contextmanager
def _written_aside(path: Path) -> Iterator[Path]:
    aside = path.with_name(f".{path.name}.part")
    try:
        yield aside
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _write(path: Path, pictures: tuple[Picture, ...], fps: float, text: str) -> None:
    height, width = (edge // 2 * 2 for edge in pictures[0].shape[:2])
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # What encodes here must not take the cores from what decodes.
        stream.thread_count = 1
        for picture in pictures:
            labelled = _labelled(picture[:height, :width], text)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(labelled, "rgb24")))
        container.mux(stream.encode())


def _labelled(picture: Picture, text: str) -> Picture:
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    font = _fitting_font(text, image.width, max(SMALLEST_TEXT_PX, image.height // LINES_IN_HEIGHT))
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    margin = (bottom - top) // 3
    band_top = image.height - (bottom - top) - 2 * margin
    draw.rectangle((0, band_top, image.width, image.height), fill=BAND)
    draw.text(((image.width - (right - left)) // 2 - left, band_top + margin - top), text, font=font, fill=TEXT)
    return np.asarray(image)


@lru_cache(maxsize=256)
def _fitting_font(text: str, width_px: int, size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    font = ImageFont.load_default(size_px)
    if size_px > SMALLEST_TEXT_PX and font.getlength(text) > width_px:
        return _fitting_font(text, width_px, size_px - 1)
    return font


def _unwritable(path: Path, error: OSError) -> OutputError:
    reason = (error.strerror or str(error)).lower()
    return OutputError(f"cannot write {path}: {reason}", "give --save-clips a directory that can be written to")
