"""A labelled video, and its forms for people and programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from archive.segments import Segment
from archive.video import WindowScores

Format = Literal["json", "csv", "vtt"]

_TOP = 5
_MS_PER_H, _MS_PER_MIN, _MS_PER_S = 3_600_000, 60_000, 1_000


@dataclass(frozen=True, slots=True)
class Timeline:
    """The ``segments`` and the ``windows`` of ``video``, labelled by ``model`` with the classes ``labels``."""

    video: str
    model: str
    labels: Sequence[str]
    segments: Sequence[Segment]
    windows: Sequence[WindowScores]


def as_json(timeline: Timeline) -> str:
    """One line: the video, the model, the segments, and the five best classes of each window."""
    return (
        msgspec.json.encode(
            {
                "video": timeline.video,
                "model": timeline.model,
                "segments": [_rounded(segment) for segment in timeline.segments],
                "windows": [_window(window, timeline.labels) for window in timeline.windows],
            }
        ).decode()
        + "\n"
    )


def as_csv(timeline: Timeline, *, header: bool = True) -> str:
    """A header, unless it is not wanted, and a row for each segment."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(("video", "start_s", "end_s", "label", "confidence"))
    for segment in timeline.segments:
        writer.writerow((timeline.video, *_rounded(segment).values()))
    return text.getvalue()


def as_vtt(timeline: Timeline) -> str:
    """WebVTT, which players show as subtitles: a cue for each segment."""
    cues = [
        f"{clock(segment.start_s)} --> {clock(segment.end_s)}\n{_cue(segment.label)} ({segment.confidence:.0%})\n"
        for segment in timeline.segments
    ]
    return "\n".join(["WEBVTT\n", *cues])


FORMATS: dict[Format, Callable[[Timeline], str]] = {"json": as_json, "csv": as_csv, "vtt": as_vtt}


def as_table(timeline: Timeline) -> str:
    """For people: the video in a line, then a line for each segment."""
    rows = [
        f"  {clock(segment.start_s)}  {clock(segment.end_s)}  {segment.confidence:6.1%}  {segment.label}"
        for segment in timeline.segments
    ]
    nothing = f"  no action in {len(timeline.windows)} windows"
    header = f"  {'start':<12}  {'end':<12}  {'conf.':>6}  action"
    lines = [timeline.video, *([header, *rows] if rows else [nothing])]
    return "".join(f"{line if line.isprintable() else repr(line)[1:-1]}\n" for line in lines)


def clock(time_s: float) -> str:
    """Hours, minutes, seconds and milliseconds as ``00:01:02.345``."""
    time_ms = round(time_s * 1e3)
    hours, minutes = time_ms // _MS_PER_H, time_ms // _MS_PER_MIN % 60
    return f"{hours:02}:{minutes:02}:{time_ms // _MS_PER_S % 60:02}.{time_ms % _MS_PER_S:03}"


def _rounded(segment: Segment) -> dict[str, str | float]:
    return {
        "start_s": round(segment.start_s, 3),
        "end_s": round(segment.end_s, 3),
        "label": segment.label,
        "confidence": round(segment.confidence, 6),
    }


def _window(window: WindowScores, labels: Sequence[str]) -> dict[str, object]:
    best = np.argsort(-window.scores, kind="stable")[:_TOP].tolist()
    predictions = [{"label": labels[index], "confidence": round(float(window.scores[index]), 6)} for index in best]
    return {"start_s": round(window.start_s, 3), "end_s": round(window.end_s, 3), "predictions": predictions}


def _cue(label: str) -> str:
    # Text of a cue must not look like its markup, nor end it.
    return " ".join(label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())
