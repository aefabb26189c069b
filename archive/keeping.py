"""Keeps the results of labelled videos: in files, or on standard output."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Protocol

from archive.config.settings import Settings
from archive.files import table
from archive.files.results import Results
from archive.labelling import Labelled
from archive.output.timeline import FORMATS, Timeline, as_table
from archive.segments import segments
from archive.video import Video, WindowScores
from video.errors import VideoError

ANNOTATED = ".annotated.mp4"


class Keeper(Protocol):
    """Where results go."""

    def missing(self, key: str) -> bool:
        """Whether the video ``key`` has to be labelled."""
        ...

    def complete(self, video: Video) -> None:
        """Make the files that a video lacks which need not be labelled. Raises OutputError."""
        ...

    def keep(self, labelled: Labelled) -> None:
        """Keep what became of a video. Raises OutputError."""
        ...

    def close(self) -> None:
        """The run has ended. Raises OutputError."""
        ...


class Printer:
    """Prints each video: a table, or the one format of the settings."""

    def __init__(self, settings: Settings, model: str, labels: tuple[str, ...]) -> None:
        self._settings = settings
        self._model = model
        self._labels = labels

    def missing(self, key: str) -> bool:
        return True

    def complete(self, video: Video) -> None:
        """Nothing is kept from one run to the next."""

    def keep(self, labelled: Labelled) -> None:
        if labelled.error is None:
            timeline = _timeline(labelled.video, labelled.windows, self._settings, self._model, self._labels)
            form = next((FORMATS[each] for each in self._settings.formats if each != "parquet"), as_table)
            sys.stdout.write(form(timeline))
            sys.stdout.flush()

    def close(self) -> None:
        pass


class Files:
    """Writes each video's files into ``results``; of the ``there`` files, those of other formats are made as needed."""

    def __init__(
        self, settings: Settings, results: Results, there: set[str], model: str, labels: tuple[str, ...]
    ) -> None:
        self._settings = settings
        self._results = results
        self._there = there
        self._model = model
        self._labels = labels

    def missing(self, key: str) -> bool:
        return key + table.SUFFIX not in self._there

    def keep(self, labelled: Labelled) -> None:
        if labelled.error is not None:
            self._results.fail(labelled.video.name, labelled.error.what)
            return
        self._results.write_windows(labelled.video, labelled.windows)
        self._complete(labelled.video, labelled.windows)

    def complete(self, video: Video) -> None:
        """Make the other files of a video whose Parquet file is there, as far as they are not. Raises OutputError."""
        if self._wanted(video.key):
            self._complete(video, self._results.read_windows(video.key))

    def _complete(self, video: Video, windows: list[WindowScores]) -> None:
        try:
            self._write_others(video, windows)
        except VideoError as error:
            self._results.fail(video.name, error.what)

    def close(self) -> None:
        self._results.write_failures()

    def _wanted(self, key: str) -> list[str]:
        suffixes = [f".{each}" for each in self._settings.formats if each != "parquet"]
        suffixes += [ANNOTATED] if self._settings.annotate else []
        return [suffix for suffix in suffixes if key + suffix not in self._there]

    def _write_others(self, video: Video, windows: list[WindowScores]) -> None:
        wanted = self._wanted(video.key)
        timeline = _timeline(video, windows, self._settings, self._model, self._labels)
        for name, form in FORMATS.items():
            if f".{name}" in wanted:
                self._results.write(video.key, f".{name}", form(timeline).encode())
        if ANNOTATED in wanted:
            self._write_annotated(video, timeline)

    def _write_annotated(self, video: Video, timeline: Timeline) -> None:
        from archive.output.annotation import annotate

        with tempfile.TemporaryDirectory(prefix="vjepa-label-") as directory:
            output = Path(directory) / "annotated.mp4"
            try:
                annotate(video.fetch(), video.name, timeline.segments, output)
            finally:
                video.release()
            self._results.put(video.key, ANNOTATED, output)


def _timeline(
    video: Video, windows: list[WindowScores], settings: Settings, model: str, labels: tuple[str, ...]
) -> Timeline:
    return Timeline(video.name, model, labels, segments(windows, labels, settings.rules), windows)
