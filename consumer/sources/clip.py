"""Reads clips from a video: the frames that the model classifies together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import av

from consumer.client.encodings import Picture
from consumer.errors import SourceError, SourceStoppedError
from consumer.sources.source import Source
from consumer.sources.video import Recording
from sampling.timeline import Timed
from sampling.windows import Sample, Windows, sample
from video.clipping import Clipping, pictures

Frames = Iterator[Timed[av.VideoFrame]]


@dataclass(frozen=True, slots=True)
class Clip:
    """Pictures of one size for the time from ``start_s`` to ``end_s``: of a recording, or Unix time if live.

    ``of_s`` is the length of the recording in seconds, if it is known.
    """

    pictures: tuple[Picture, ...]
    start_s: float
    end_s: float
    of_s: float | None = None

    def earlier(self, seconds: float) -> Clip:
        """The same clip with its times moved back by ``seconds``."""
        return replace(self, start_s=self.start_s - seconds, end_s=self.end_s - seconds)


def read_clips(source: Source, video: Recording, clipping: Clipping, on_partial: Callable[[], None]) -> Iterator[Clip]:
    """Read the clips of a recording lazily.

    A video shorter than one clip is sampled faster, evenly from start to end. The last clip ends with the video and
    overlaps the one before it as far as needed. Frames before a gap that do not fill a clip are discarded with a call
    of ``on_partial``.
    """
    clipping = clipping.fitting(source.name, video)
    windows = Windows[Picture](clipping.shape, on_partial, fills_up=True)
    for clip in _clips(video.frames(), clipping, clipping.recording_gap_s, windows):
        yield replace(clip, of_s=video.stated_length_s)


def read_live_clips(
    frames: Frames,
    clipping: Clipping,
    on_partial: Callable[[], None],
    on_growing: Callable[[Sequence[Picture]], None],
) -> Iterator[Clip]:
    """Read clips from the frames of one connection to a live source; ``frame.starts`` marks the gaps.

    ``on_growing`` is called after each sampled frame with the pictures so far of the next clip.
    """
    windows = Windows[Picture](clipping.shape, on_partial, fills_up=False)
    yield from _clips(frames, clipping, math.inf, windows, on_growing)


def _clips(
    frames: Frames,
    clipping: Clipping,
    max_gap_s: float,
    windows: Windows[Picture],
    on_growing: Callable[[Sequence[Picture]], None] | None = None,
) -> Iterator[Clip]:
    sampled = pictures(sample(frames, clipping.shape.fps, max_gap_s), clipping.short_edge_px)
    try:
        for window in windows.of(sampled if on_growing is None else _told(sampled, windows, on_growing)):
            yield Clip(window.frames, window.start_s, window.end_s)
    except SourceStoppedError:
        raise
    except SourceError:
        windows.discard()
        raise


def _told(
    samples: Iterable[Sample[Picture]], windows: Windows[Picture], on_growing: Callable[[Sequence[Picture]], None]
) -> Iterator[Sample[Picture]]:
    for each in samples:
        yield each
        # The sample is among the windows now, because the next one is asked for.
        on_growing(windows.pending)
