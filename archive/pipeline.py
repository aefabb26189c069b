"""Runs the command: videos -> windows -> results, on an engine in this process."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from rich.console import Console

from archive.busy import BusyTime
from archive.config.settings import Settings
from archive.errors import InputError
from archive.files.inputs import find_inputs
from archive.keeping import Files, Keeper, Printer, results_of
from archive.labelling import Labelled, chosen_model, description_of, label
from archive.models.model import LabellingModel
from archive.output.progress import Bar
from archive.tally import Tally
from archive.video import Video, WindowScores

# Results that wait to be written, which takes a bucket longer than a disk.
_UNWRITTEN = 8


def run(settings: Settings, console: Console) -> int:
    """Label all videos; returns the exit code.

    Raises:
        ArchiveError: the videos cannot be listed, or the results not be written.
        ServiceError: the bundle cannot be used, or the engine failed.
    """
    inputs = find_inputs(settings.videos)
    if settings.out is None and settings.formats == ("vtt",) and len(inputs) > 1:
        raise InputError("the subtitles of several videos are several files", "give --out, the directory to write to")
    model = chosen_model(settings)
    tally = Tally(len(inputs))
    if settings.ray is not None:
        from archive.cluster import run_on_ray

        return run_on_ray(settings, model, inputs, console)
    with tempfile.TemporaryDirectory(prefix="vjepa-label-") as scratch:
        keeper = _keeper(settings, model)
        videos = [each.video(Path(scratch)) for each in inputs]
        busy = BusyTime()
        try:
            todo = _todo(videos, keeper, tally)
            if todo:
                _label(todo, settings, model, keeper, tally, busy, console)
        finally:
            keeper.close()
            tally.log(busy)
    return tally.exit_code


def _keeper(settings: Settings, model: LabellingModel) -> Keeper:
    if settings.out is None:
        return Printer(settings, description_of(model, settings))
    files = Files(settings, results_of(settings, model))
    files.open()
    return files


def _todo(videos: Iterable[Video], keeper: Keeper, tally: Tally) -> list[Video]:
    """The videos that have no results; of the others, files of further formats are made."""
    todo = []
    for video in videos:
        if keeper.missing(video.key):
            todo.append(video)
        else:
            tally.there += 1
            keeper.complete(video)
    return todo


def _label(
    videos: Sequence[Video],
    settings: Settings,
    model: LabellingModel,
    keeper: Keeper,
    tally: Tally,
    busy: BusyTime,
    console: Console,
) -> None:
    def scored(video: Video, window: WindowScores) -> None:
        tally.windows += 1
        bar.scored(video.key, window.end_s, window.of_s)

    with (
        closing(model.engine()) as engine,
        Bar(len(videos), console) as bar,
        _Writer(keeper) as writer,
    ):
        for labelled in label(videos, engine, settings, busy, scored):
            bar.ended(labelled.video.key)
            if labelled.error is not None:
                tally.fail(labelled.video.name, str(labelled.error))
            writer.keep(labelled)


class _Writer(ThreadPoolExecutor):
    """Keeps results in a thread, so that the engine does not wait for a disk or a bucket."""

    def __init__(self, keeper: Keeper) -> None:
        super().__init__(1, thread_name_prefix="writer")
        self._keeper = keeper
        self._unwritten: deque[Future[None]] = deque()

    def keep(self, labelled: Labelled) -> None:
        """Keep ``labelled`` soon; raises what an earlier one failed with."""
        self._unwritten.append(self.submit(self._keeper.keep, labelled))
        while self._unwritten and (self._unwritten[0].done() or len(self._unwritten) > _UNWRITTEN):
            self._unwritten.popleft().result()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[arg-type]
        if kind is None:
            for written in self._unwritten:
                written.result()
