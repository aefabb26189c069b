"""Images in a directory, which are read as the frames of a video."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageOps

from sampling.timeline import Timed
from video.errors import NoVideoError, VideoUnreadableError
from video.names import natural_key

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def image_paths(directory: Path, name: str) -> list[Path]:
    """The images in ``directory`` in the order of their names; numbers are sorted by value (2 before 10).

    ``name`` stands for the directory in messages. Raises VideoUnreadableError or NoVideoError.
    """
    try:
        # Only files: reading a pipe of that name would wait for ever.
        found = [path for path in directory.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise VideoUnreadableError(
            f"cannot read {name}: {reason}", "give a directory that this user may read"
        ) from error
    if not found:
        raise NoVideoError(f"no images in {name}", f"accepted: files named {', '.join(sorted(IMAGE_SUFFIXES))}")
    return sorted(found, key=lambda path: natural_key(path.name))


def read_image(path: Path) -> av.VideoFrame | None:
    """The image in ``path``, upright; None with a warning if it cannot be read."""
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


class ImageSequence:
    """The images in a directory at ``fps`` frames per second, as a recording."""

    def __init__(self, directory: Path, name: str, fps: float) -> None:
        """Raises VideoUnreadableError or NoVideoError."""
        self._paths = image_paths(directory, name)
        self._fps = fps

    @property
    def frames_per_s(self) -> float:
        """The rate of the images."""
        return self._fps

    @property
    def stated_length_s(self) -> float:
        """The length in seconds."""
        return len(self._paths) / self._fps

    def length_s(self, limit_s: float) -> float:
        """The length in seconds, but at most ``limit_s``."""
        return min(self.stated_length_s, limit_s)

    def count_frames(self) -> int:
        """The number of images."""
        return len(self._paths)

    def frames(self) -> Iterator[Timed[av.VideoFrame]]:
        """Read the images in order; an unreadable image is skipped with a warning and leaves a gap."""
        for index, path in enumerate(self._paths):
            if (frame := read_image(path)) is not None:
                yield Timed(index / self._fps, 1 / self._fps, frame)
