"""Reads a directory of images as a video, in the order of their names."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import av

from consumer.errors import SourceStoppedError
from consumer.sources.ffmpeg import translated_video_errors
from consumer.sources.source import Source
from sampling.timeline import Timed
from video.images import ImageSequence


class ImageDirectory(ImageSequence):
    """The images in a directory at ``fps`` frames per second; once ``stopped`` is set, SourceStoppedError is raised."""

    def __init__(self, source: Source, fps: float, stopped: threading.Event) -> None:
        """Raises SourceUnreadableError or NoVideoError."""
        with translated_video_errors():
            super().__init__(Path(source.location), source.name, fps)
        self._source = source
        self._stopped = stopped

    def frames(self) -> Iterator[Timed[av.VideoFrame]]:
        """Read the images in order; an unreadable image is skipped with a warning and leaves a gap."""
        for each in super().frames():
            if self._stopped.is_set():
                raise SourceStoppedError(self._source.name)
            yield each
