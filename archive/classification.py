"""Classifies the windows of many videos: decoded in processes beside the engine, in batches as full as can be."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

import numpy as np
import numpy.typing as npt

from archive.busy import BusyTime
from archive.decoding.job import Sampling
from archive.decoding.limits import Limits
from archive.decoding.pool import Decoded, DecoderPool
from archive.decoding.process import DecodedWindow
from archive.video import Ended, Scored, Video, WindowScores, local_video
from engines.clip import Clip
from engines.engine import Engine

# Decoded windows that wait, in batches of each lane: one is being filled while one is ready.
_BATCHES_AHEAD = 2
_FEWEST_AHEAD = 8

Floats = npt.NDArray[np.float32]
Scores = list[tuple[Floats, Floats | None]]
"""Of each window of a batch the probabilities and the features."""


def classify_video(
    path: str,
    engine: Engine,
    sampling: Sampling,
    limits: Limits = Limits(),  # noqa: B008, it is frozen
) -> Iterator[WindowScores]:
    """Yield the windows of one video file as they are classified.

    Raises:
        VideoError: the video cannot be read, or not to its end.
        ArchiveError: its decoder ended, or was ended, by itself.
        EngineError: the engine failed.
    """
    events = classify([local_video(path)], engine, sampling, decoders=1, limits=limits)
    with closing(events):
        for event in events:
            if isinstance(event, Scored):
                yield event.window
            elif event.error is not None:
                raise event.error


def classify(
    videos: Iterable[Video],
    engine: Engine,
    sampling: Sampling,
    *,
    decoders: int,
    limits: Limits = Limits(),  # noqa: B008, it is frozen
    busy: BusyTime | None = None,
    features: bool = False,
) -> Generator[Scored | Ended]:
    """Yield what happens to ``videos``, while ``decoders`` processes decode one each, within ``limits``.

    The engine is given what is decoded, at most ``max_batch`` windows at a time, also of several videos: so it never
    waits while there are windows, and its batches are full while the decoders are ahead. ``busy`` counts its time.
    With ``features``, the windows have them, if the network does.

    Raises:
        EngineError: the engine failed.
    """
    busy = busy or BusyTime()
    most, lanes = engine.manifest.max_batch, engine.lanes
    ahead = max(_FEWEST_AHEAD, _BATCHES_AHEAD * lanes * most)
    pool = DecoderPool(videos, engine, sampling, decoders=decoders, ahead=ahead, limits=limits)
    with closing(pool), ThreadPoolExecutor(lanes, thread_name_prefix="engine") as threads:
        pool.start()
        batches: deque[tuple[list[Decoded], Future[Scores] | None]] = deque()

        def fill(*, wait: bool) -> None:
            # While every lane works, only a full batch is worth taking; one more than run is ready for the next.
            while len(batches) <= lanes:
                working = sum(future is not None and not future.done() for _, future in batches)
                items = pool.decoded.take(most, least=most if working >= lanes else 1, wait=wait and not batches)
                if not items:
                    return
                clips = [_clip(item[1]) for item in items if not isinstance(item, Ended)]
                batches.append((items, threads.submit(_infer, engine, clips, busy, features) if clips else None))

        fill(wait=True)
        while batches:
            items, scores = batches.popleft()
            rows = [] if scores is None else scores.result()
            # Before the caller of this iterator takes its time.
            fill(wait=False)
            yield from _events(items, rows)
            fill(wait=True)


def _clip(window: DecodedWindow) -> Clip:
    return Clip(window.frames, "RGB", cropped=True)


def _infer(engine: Engine, clips: list[Clip], busy: BusyTime, features: bool) -> Scores:
    with busy.working():
        inference = engine.infer(clips)
    if not features or inference.features is None:
        return [(row, None) for row in inference.probabilities]
    return list(zip(inference.probabilities, inference.features, strict=True))


def _events(items: list[Decoded], scores: Scores) -> Iterator[Scored | Ended]:
    rows = iter(scores)
    for item in items:
        if isinstance(item, Ended):
            yield item
        else:
            video, window = item
            row, features = next(rows)
            scored = WindowScores(window.start_s, window.end_s, row, window.changes, window.of_s, features)
            yield Scored(video, scored)
