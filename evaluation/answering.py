"""Asks an engine about the clips of labelled videos."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from archive.classification import classify
from archive.decoding.job import Sampling
from archive.errors import ArchiveError
from archive.video import Scored, Video, WindowScores
from engines.cores import usable_cores
from engines.engine import Engine
from evaluation.answer_cache import AnswerCache, Answers
from evaluation.labelled import LabelledVideo
from video.errors import VideoError


@dataclass(frozen=True, slots=True)
class Answered:
    """``answers`` for the clips of ``video``, or the ``error`` because of which there are none.

    ``kept``: they are from an earlier run.
    """

    video: LabelledVideo
    answers: Answers | None
    error: VideoError | ArchiveError | None = None
    kept: bool = False


def answered(
    videos: Sequence[LabelledVideo],
    engine: Engine,
    sampling: Sampling,
    cache: AnswerCache,
    features: bool = False,
    decoders: int = 0,
) -> Generator[Answered]:
    """Yield the answers for each of ``videos`` in any order: first those in ``cache``, then those of ``engine``.

    A video of one clip's length or less is one clip, sampled evenly from start to end. A longer one has several, which
    overlap by half. ``decoders`` processes (0: as many as there are cores) decode beside the engine.

    Raises:
        EngineError: the engine failed.
    """
    keys = [cache.key(video.path) for video in videos]
    todo: list[tuple[LabelledVideo, str | None]] = []
    for video, key in zip(videos, keys, strict=True):
        if key is not None and (kept := cache.get(key)) is not None:
            yield Answered(video, kept, kept=True)
        else:
            todo.append((video, key))
    if todo:
        yield from _computed(todo, engine, sampling, cache, features, decoders or usable_cores())


def _computed(
    todo: Sequence[tuple[LabelledVideo, str | None]],
    engine: Engine,
    sampling: Sampling,
    cache: AnswerCache,
    features: bool,
    decoders: int,
) -> Iterator[Answered]:
    by_key = {str(number): each for number, each in enumerate(todo)}
    videos = [_decodable(video, number) for number, (video, _) in by_key.items()]
    windows: dict[str, list[WindowScores]] = {}
    events = classify(videos, engine, sampling, decoders=min(decoders, len(videos)), features=features)
    with closing(events):
        for event in events:
            number = event.video.key
            if isinstance(event, Scored):
                windows.setdefault(number, []).append(event.window)
                continue
            video, key = by_key[number]
            answers = _stacked(windows.pop(number, []))
            if event.error is not None or answers is None:
                yield Answered(video, None, event.error)
                continue
            if key is not None:
                cache.put(key, answers)
            yield Answered(video, answers)


def _decodable(video: LabelledVideo, key: str) -> Video:
    return Video(str(video.path), lambda: str(video.path), key=key)


def _stacked(windows: Sequence[WindowScores]) -> Answers | None:
    if not windows:
        return None
    none = np.zeros(0, np.float32)
    return Answers(
        np.array([window.start_s for window in windows]),
        np.array([window.end_s for window in windows]),
        np.stack([window.scores for window in windows]),
        np.stack([none if window.features is None else window.features for window in windows]),
    )
