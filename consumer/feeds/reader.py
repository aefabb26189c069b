"""The reader: a thread that turns one source into clips, and connects to it again whenever it breaks off."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from typing import Literal, Protocol

import av

from consumer.errors import (
    BackendMissingError,
    ConsumerError,
    NoVideoError,
    SourceError,
    SourceSilentError,
    SourceStoppedError,
)
from consumer.feeds.clip_queue import ClipQueue
from consumer.retry import Backoff
from consumer.sources.clip import Clip, Clipping, read_clips, read_live_clips
from consumer.sources.deepstream import import_sdk, open_deepstream_video
from consumer.sources.ffmpeg import Link
from consumer.sources.image_directory import ImageDirectory
from consumer.sources.source import Kind, Source
from consumer.sources.video import Live, Recording, open_live_video, open_video
from sampling.timeline import Timed

logger = logging.getLogger(__name__)

Backend = Literal["pyav", "deepstream"]


@dataclass(frozen=True, slots=True)
class Reading:
    """How sources are read; ``image_fps`` of ``None`` takes every image of a directory as a sampled frame."""

    backend: Backend = "pyav"
    link: Link = field(default_factory=Link)
    longest_pause_s: float = 30.0
    image_fps: float | None = None


class Tally(Protocol):
    """What the reader counts, by the name of the source; called in the reader's thread."""

    def connected(self, source: str, up: bool) -> None:
        """A live source is there, or is not."""
        ...

    def partial(self, source: str) -> None:
        """Frames were discarded that made no whole clip."""
        ...


class Reader:
    """Reads ``source`` into ``clips``, cut as ``clipping()`` says when a connection is made."""

    def __init__(
        self,
        source: Source,
        reading: Reading,
        clipping: Callable[[], Clipping],
        clips: ClipQueue,
        tally: Tally,
    ) -> None:
        self._source = source
        self._reading = reading
        self._clipping = clipping
        self._clips = clips
        self._tally = tally
        self._stopped = threading.Event()
        # A daemon: it may be inside FFmpeg, which notices nothing until the peer says something.
        self._thread = threading.Thread(target=self._run, name=f"reader {source.name}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Have the thread end at its next frame."""
        self._stopped.set()
        self._clips.end()

    def _run(self) -> None:
        try:
            self._read_live() if self._source.live else self._read_recording()
        except SourceStoppedError:
            self._clips.end()
        except ConsumerError as error:
            self._clips.end(error)
        except Exception as error:
            logger.exception("reader failed", extra={"source": self._source.name})
            self._clips.end(SourceError(f"reading {self._source.name} failed: {error!r}", "report this"))
        else:
            self._clips.end()

    def _read_recording(self) -> None:
        found = False
        with open_recording(self._source, self._reading, self._clipping().shape.fps, self._stopped) as video:
            for clip in read_clips(self._source, video, self._clipping(), self._on_partial):
                found = True
                if not self._clips.put(clip):
                    return
        if not found:
            raise NoVideoError(f"no frame of {self._source.name} could be decoded", "check that the file is whole")

    def _read_live(self) -> None:
        failures, backoff = 0, Backoff(longest_s=self._reading.longest_pause_s)
        while not self._stopped.is_set():
            try:
                with closing(self._connection()) as clips:
                    for clip in clips:
                        failures = 0
                        if not self._clips.put(clip):
                            return
            except (SourceStoppedError, BackendMissingError):
                raise
            except SourceError as error:
                failures += 1
                # Listening again at a port of this machine costs nothing; a pause would miss the first words.
                listens = self._source.datagrams and isinstance(error, SourceSilentError)
                pause_s = 0.0 if listens else backoff.pause_s(failures)
                fields = {"source": self._source.name, "reason": error.what, "pause_s": round(pause_s, 2)}
                logger.warning("source lost, connecting again", extra=fields)
                self._stopped.wait(pause_s)

    def _connection(self) -> Generator[Clip]:
        """The clips of one connection; ends when they have to be cut in another way."""
        clipping = self._clipping()
        try:
            with self._open_live(clipping.live_gap_s) as video:
                for clip in read_live_clips(self._announced(video.frames()), clipping, self._on_partial):
                    if self._clipping() != clipping:
                        return
                    yield clip.earlier(video.ahead_s)
        finally:
            self._tally.connected(self._source.name, up=False)

    def _announced(self, frames: Iterator[Timed[av.VideoFrame]]) -> Iterator[Timed[av.VideoFrame]]:
        # Not when it is opened: of a port that nobody sends to, FFmpeg says that it is open.
        for first in frames:
            logger.info("source connected", extra={"source": self._source.name})
            self._tally.connected(self._source.name, up=True)
            yield first
            yield from frames

    def _open_live(self, max_gap_s: float) -> AbstractContextManager[Live]:
        opener = open_deepstream_video if self._reading.backend == "deepstream" else open_live_video
        return opener(self._source, self._reading.link, max_gap_s, self._stopped)

    def _on_partial(self) -> None:
        self._tally.partial(self._source.name)


def open_recording(
    source: Source, reading: Reading, fps: float, stopped: threading.Event
) -> AbstractContextManager[Recording]:
    """Open a file or directory; raises SourceError. ``fps`` is for images that say nothing else."""
    if source.kind is Kind.IMAGES:
        return nullcontext(ImageDirectory(source, reading.image_fps or fps, stopped))
    return open_video(source, stopped)


def check_source(source: Source, reading: Reading) -> None:
    """Raise SourceError for what cannot be mended by waiting: a missing file, a backend that is not there."""
    if reading.backend == "deepstream":
        import_sdk(source)
    if not source.live:
        with open_recording(source, reading, 1.0, threading.Event()):
            pass
