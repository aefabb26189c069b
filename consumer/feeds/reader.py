"""A thread that reads one source into clips and reconnects to it when the connection breaks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from typing import Literal, Protocol

import av

from consumer.client.encodings import Picture
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
from consumer.sources.clip import Clip, read_clips, read_live_clips
from consumer.sources.deepstream import import_sdk, open_deepstream_video
from consumer.sources.ffmpeg import Link
from consumer.sources.footage import Footage
from consumer.sources.image_directory import ImageDirectory
from consumer.sources.source import Kind, Source
from consumer.sources.video import Live, Recording, open_live_video, open_video
from sampling.timeline import Timed
from video.clipping import Clipping

logger = logging.getLogger(__name__)

Backend = Literal["pyav", "deepstream"]


@dataclass(frozen=True, slots=True)
class Reading:
    """How sources are read; with ``image_fps`` of ``None``, every image of a directory is a sampled frame.

    ``file_threads`` is the number of decoder threads for each file (0: as many as the machine has cores).
    """

    backend: Backend = "pyav"
    link: Link = field(default_factory=Link)
    longest_pause_s: float = 30.0
    image_fps: float | None = None
    file_threads: int = 0


class Counters(Protocol):
    """The counters of the reader, by name of the source; called in the reader's thread."""

    def connected(self, source: str, up: bool) -> None:
        """A live source was connected, or its connection ended."""
        ...

    def partial(self, source: str) -> None:
        """Frames were discarded because they did not fill a clip."""
        ...


class Reader:
    """Reads ``source`` into ``clips``; each connection calls ``clipping()`` for how to cut them.

    The latest video of a live source is kept in ``footage``, and the first pictures of its next clip are told with
    ``on_growing`` as they come.
    """

    def __init__(
        self,
        source: Source,
        reading: Reading,
        clipping: Callable[[], Clipping],
        clips: ClipQueue,
        counters: Counters,
        footage: Footage | None,
        on_growing: Callable[[Sequence[Picture]], None],
    ) -> None:
        self._source = source
        self._reading = reading
        self._clipping = clipping
        self._clips = clips
        self._counters = counters
        self._footage = footage
        self._on_growing = on_growing
        self._stopped = threading.Event()
        # A daemon thread: it may be blocked in FFmpeg, which cannot be interrupted until the peer sends something.
        self._thread = threading.Thread(target=self._run, name=f"reader {source.name}", daemon=True)

    def start(self) -> None:
        """Start reading."""
        self._thread.start()

    def stop(self) -> None:
        """Make the thread end at its next frame."""
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
            self._clips.end(SourceError(f"reading {self._source.name} failed: {error!r}", "report this error"))
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
            raise NoVideoError(f"no frame of {self._source.name} could be decoded", "check that the file is complete")

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
                # Reopening a local port is cheap, and a pause would miss the first frames of a new sender.
                listens = self._source.datagrams and isinstance(error, SourceSilentError)
                pause_s = 0.0 if listens else backoff.pause_s(failures)
                fields = {"source": self._source.name, "reason": error.what, "pause_s": round(pause_s, 2)}
                logger.warning("source lost, connecting again", extra=fields)
                self._stopped.wait(pause_s)

    def _connection(self) -> Generator[Clip]:
        """Yield the clips of one connection; ends when ``clipping()`` changes."""
        clipping = self._clipping()
        try:
            with self._open_live(clipping.live_gap_s) as video:
                frames = self._announced(video.frames())
                for clip in read_live_clips(frames, clipping, self._on_partial, self._on_growing):
                    if self._clipping() != clipping:
                        return
                    yield clip.earlier(video.ahead_s)
        finally:
            self._counters.connected(self._source.name, up=False)

    def _announced(self, frames: Iterator[Timed[av.VideoFrame]]) -> Iterator[Timed[av.VideoFrame]]:
        # Announced at the first frame, not at opening: FFmpeg also opens a port to which nobody sends.
        for first in frames:
            logger.info("source connected", extra={"source": self._source.name})
            self._counters.connected(self._source.name, up=True)
            yield first
            yield from frames

    def _open_live(self, max_gap_s: float) -> AbstractContextManager[Live]:
        if self._reading.backend == "deepstream":
            return open_deepstream_video(self._source, self._reading.link, max_gap_s, self._stopped)
        return open_live_video(self._source, self._reading.link, max_gap_s, self._stopped, self._footage)

    def _on_partial(self) -> None:
        self._counters.partial(self._source.name)


def open_recording(
    source: Source, reading: Reading, fps: float, stopped: threading.Event
) -> AbstractContextManager[Recording]:
    """Open a file or directory; raises SourceError. ``fps`` is the default rate of a directory of images."""
    if source.kind is Kind.IMAGES:
        return nullcontext(ImageDirectory(source, reading.image_fps or fps, stopped))
    return open_video(source, stopped, reading.file_threads)


def check_source(source: Source, reading: Reading) -> None:
    """Raise SourceError for errors that waiting cannot fix: a missing file or a missing backend."""
    if reading.backend == "deepstream":
        import_sdk(source)
    if not source.live:
        with open_recording(source, reading, 1.0, threading.Event()):
            pass
