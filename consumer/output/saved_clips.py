"""Saves classified clips as MP4 files with label and confidence drawn into the frames."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from consumer.client.encodings import Picture
from consumer.errors import OutputError
from consumer.output.classified_clip import ClassifiedClip
from consumer.output.retention import Retention
from consumer.sources.clip import Clip

LINES_IN_HEIGHT = 16
SMALLEST_TEXT_PX = 9
MOST_LINES = 3

# Smaller pictures have too little room for text and are enlarged by a whole factor.
SMALLEST_EDGE_PX = 240
BAND = (0, 0, 0)
TEXT = (255, 255, 255)


class SavedClips:
    """Saves clips in ``directory``, which is created if it is missing."""

    def __init__(self, directory: Path, retention: Retention) -> None:
        """Raises OutputError if the directory cannot be created or written to."""
        prepare_directory(directory, "--save-clips")
        self._directory = directory
        self._retention = retention

    def save(self, clip: Clip, result: ClassifiedClip, live: bool) -> Path:
        """Save the clip at its sampling rate, completely or not at all; returns the path. Raises OutputError."""
        path = self._directory / file_name(result.source, result.start_s, result.clip_id, live, ".mp4")
        best = result.predictions[0]
        fps = len(clip.pictures) / (clip.end_s - clip.start_s)
        try:
            with written_aside(path) as aside:
                _write(aside, clip.pictures, fps, f"{best.label}  {best.confidence:.0%}")
            self._retention.apply(self._directory)
        except OSError as error:
            raise unwritable(path, error, "--save-clips") from error
        return path


def prepare_directory(directory: Path, flag: str) -> None:
    """Create the directory that ``flag`` names; raises OutputError if it cannot be created or written to."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(directory, error, flag) from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise unwritable(directory, PermissionError(13, "Permission denied"), flag)


def file_name(source: str, start_s: float, name: str, live: bool, suffix: str) -> str:
    """The name of the file for ``name``, the id of a clip or an action that starts at ``start_s`` in ``source``."""
    source = re.sub(r"[^A-Za-z0-9.]+", "-", source).strip("-.")[-60:]
    start = f"{max(start_s, 0):010.3f}s"
    if live:
        start = datetime.fromtimestamp(start_s, UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3] + "Z"
    return f"{source}_{start}_{re.sub(r'[^A-Za-z0-9-]', '-', name)[:36]}{suffix}"


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes ``path`` at the end; after an exception, neither of both files exists."""
    aside = path.with_name(f".{path.name}.part")
    try:
        yield aside
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _write(path: Path, pictures: tuple[Picture, ...], fps: float, text: str) -> None:
    factor = math.ceil(SMALLEST_EDGE_PX / min(pictures[0].shape[:2]))
    height, width = (edge * factor // 2 * 2 for edge in pictures[0].shape[:2])
    band = _band(text, width, height)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # One thread, so that encoding leaves the other cores to the decoders.
        stream.thread_count = 1
        for picture in pictures:
            large = picture.repeat(factor, axis=0).repeat(factor, axis=1)[:height, :width]
            large[height - len(band) :] = band
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(large), "rgb24")))
        container.mux(stream.encode())


def _band(text: str, width: int, height: int) -> Picture:
    """The band with the text for the lower edge of each picture: uint8 ``[at most height, width, 3]``."""
    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    for size_px in range(max(SMALLEST_TEXT_PX, height // LINES_IN_HEIGHT), SMALLEST_TEXT_PX - 1, -1):
        font = ImageFont.load_default(size_px)
        lines = _wrapped(text, width, font)
        if len(lines) <= MOST_LINES and all(font.getlength(line) <= width for line in lines):
            break
    shown = "\n".join(lines[:MOST_LINES])
    left, top, right, bottom = draw.multiline_textbbox((0, 0), shown, font=font, align="center")
    margin = size_px // 3
    band = Image.new("RGB", (width, min(height, round(bottom - top) + 2 * margin)), BAND)
    place = ((width - (right - left)) / 2 - left, margin - top)
    ImageDraw.Draw(band).multiline_text(place, shown, font=font, fill=TEXT, align="center")
    return np.asarray(band)


def _wrapped(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def unwritable(path: Path, error: Exception, flag: str) -> OutputError:
    """The error that ``path`` cannot be written, because of ``error``."""
    reason = (getattr(error, "strerror", None) or str(error)).lower()
    return OutputError(f"cannot write {path}: {reason}", f"give {flag} a directory that can be written to")
