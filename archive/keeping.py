"""Keeps the results of labelled videos: in files, or on standard output."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from archive.config.settings import Settings
from archive.errors import OutputError
from archive.files import table
from archive.files.place import place, reason_of
from archive.files.results import Results
from archive.files.table import Description
from archive.labelling import Labelled, description_of
from archive.models.model import LabellingModel
from archive.output.timeline import FORMATS, Timeline, as_csv, as_table
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

    def __init__(self, settings: Settings, description: Description) -> None:
        self._settings = settings
        self._description = description
        self._printed = 0

    def missing(self, key: str) -> bool:
        return True

    def complete(self, video: Video) -> None:
        """Nothing is kept from one run to the next."""

    def keep(self, labelled: Labelled) -> None:
        if labelled.error is None:
            timeline = _timeline(labelled.video, labelled.windows, self._settings, self._description)
            sys.stdout.write(self._form(timeline))
            sys.stdout.flush()
            self._printed += 1

    def _form(self, timeline: Timeline) -> str:
        wanted = next((each for each in self._settings.formats if each != "parquet"), None)
        if wanted is None:
            return as_table(timeline)
        # The tables of several videos are one.
        return as_csv(timeline, header=not self._printed) if wanted == "csv" else FORMATS[wanted](timeline)

    def close(self) -> None:
        pass


class Files:
    """Writes the files of each video into ``results``; those that are there stay as they are.

    Invariant: ``_there`` are files that exist; ``open`` or ``look`` finds them.
    """

    def __init__(self, settings: Settings, results: Results) -> None:
        self._settings = settings
        self._results = results
        self._there: set[str] = set()

    def open(self) -> None:
        """Prepare the directory and look for all that is there. Raises OutputError."""
        self._there = self._results.open()

    def look(self, keys: Sequence[str]) -> None:
        """Look for the files of some videos only, which is faster in a large directory. Raises OutputError."""
        names = [key + suffix for key in keys for suffix in (table.SUFFIX, *self._other_suffixes())]
        self._there = {name for name in names if self._results.has(name)}

    def incomplete(self, key: str) -> bool:
        """Whether the video ``key`` lacks any file."""
        return self.missing(key) or bool(self._wanted(key))

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
        return [suffix for suffix in self._other_suffixes() if key + suffix not in self._there]

    def _other_suffixes(self) -> list[str]:
        suffixes = [f".{each}" for each in self._settings.formats if each != "parquet"]
        return suffixes + ([ANNOTATED] if self._settings.annotate else [])

    def _write_others(self, video: Video, windows: list[WindowScores]) -> None:
        wanted = self._wanted(video.key)
        timeline = _timeline(video, windows, self._settings, self._results.description)
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


def _timeline(video: Video, windows: list[WindowScores], settings: Settings, description: Description) -> Timeline:
    found = segments(windows, description.labels, settings.rules)
    return Timeline(video.name, description.model, description.labels, found, windows)


def results_of(settings: Settings, model: LabellingModel) -> Results:
    """The directory ``--out``. Raises OutputError."""
    out = settings.out or ""
    try:
        return Results(place(out), description_of(model, settings))
    except (ImportError, ValueError) as error:
        raise OutputError(f"cannot write to {out}: {reason_of(error)}", "give a directory or URL") from error
