"""Reads a directory of images as a video, in the order of their names."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageOps

from consumer.errors import NoVideoError, SourceStoppedError, SourceUnreadableError
from consumer.sources.source import Source
from sampling.timeline import Timed
from video.names import natural_key

logger = logging.getLogger(__name__)

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


class ImageDirectory:
    """The images in a directory at ``fps`` frames per second; numbers in names are sorted by value (2 before 10)."""

    def __init__(self, source: Source, fps: float, stopped: threading.Event) -> None:
        """Raises SourceUnreadableError or NoVideoError."""
        self._source = source
        self._fps = fps
        self._stopped = stopped
        self._paths = _image_paths(source)

    @property
    def stated_length_s(self) -> float:
        """The length in seconds."""
        return len(self._paths) / self._fps

    def length_s(self, limit_s: float) -> float:
        """The length in seconds, but at most ``limit_s``."""
        return min(len(self._paths) / self._fps, limit_s)

    def frames(self) -> Iterator[Timed[av.VideoFrame]]:
        """Read the images in order; an unreadable image is skipped with a warning and leaves a gap."""
        for index, path in enumerate(self._paths):
            if self._stopped.is_set():
                raise SourceStoppedError(self._source.name)
            if (frame := _read(path)) is not None:
                yield Timed(index / self._fps, 1 / self._fps, frame)


def _image_paths(source: Source) -> list[Path]:
    try:
        # Only files: reading a pipe of that name would wait for ever.
        found = [path for path in Path(source.location).iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()]
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        hint = "give a directory that this user may read"
        raise SourceUnreadableError(f"cannot read {source.name}: {reason}", hint) from error
    if not found:
        raise NoVideoError(f"no images in {source.name}", f"accepted: files named {', '.join(sorted(SUFFIXES))}")
    return sorted(found, key=lambda path: natural_key(path.name))


def _read(path: Path) -> av.VideoFrame | None:
    try:
        with Image.open(path) as image:
            pixels = np.asarray(_upright(image, path).convert("RGB"))
    # Pillow raises exceptions of many kinds for damaged files, for example SyntaxError and struct.error.
    except Exception as error:
        logger.warning("image skipped", extra={"path": str(path), "reason": str(error) or type(error).__name__})
        return None
    return av.VideoFrame.from_ndarray(pixels, "rgb24")


def _upright(image: Image.Image, path: Path) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:
        # The pixels may be sound; if they are not, the conversion raises again.
        fields = {"path": str(path), "reason": str(error) or type(error).__name__}
        logger.warning("EXIF data unreadable, image taken as upright", extra=fields)
        return image
