"""Labels videos on a Ray cluster: paths go in, counts come out, results go straight to the common file system.

What is done is known from the file system alone. So a worker, a machine or a driver that dies costs the videos under
way, which are labelled again, and nothing else.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from archive.busy import BusyTime
from archive.config.settings import Settings
from archive.errors import ClusterError
from archive.files.inputs import Input
from archive.files.place import place, reason_of
from archive.files.table import Description
from archive.keeping import Files, results_of
from archive.labelling import chosen_model, description_of, label
from archive.models.model import LabellingModel
from archive.output.progress import Bar
from archive.tally import Tally

# Videos that a worker is given at once: enough for its decoders to stay ahead of the engine.
_VIDEOS_AT_ONCE = 16
# Of few videos, each worker is given its part in so many shares, so that all end at about the same time.
_SHARES = 4
# What Ray keeps in shared memory are paths and counts; this is about the least that it accepts.
_STORE_BYTES = 100 * 2**20
# For the tasks that hand out the paths. A pool of workers that has all cores waits for them for ever.
_SPARED_CORES = 1
# Of the error of a worker, which ends with its cause.
_MOST_SHOWN_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Row:
    """What a worker tells of the video ``key``: how many windows it has classified, or why it could not."""

    key: str
    windows: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class Workers:
    """``count`` workers with ``cores`` cores and ``gpus`` GPUs each."""

    count: int
    cores: int
    gpus: int


def workers_of(cores: float, gpus: float, wanted_cores: int) -> Workers:
    """The workers for a cluster of ``cores`` and ``gpus``: one for each GPU, or without GPUs for ``wanted_cores``.

    They leave a core of the cluster to Ray's own tasks, unless there is but one.
    """
    free = max(1, int(cores) - _SPARED_CORES)
    if gpus >= 1:
        return Workers(int(gpus), max(1, min(wanted_cores, free // int(gpus))), 1)
    each = min(wanted_cores, free)
    return Workers(max(1, free // each), each, 0)


def run_on_ray(settings: Settings, model: LabellingModel, inputs: Sequence[Input], console: Console) -> int:
    """Label ``inputs`` on the cluster of the settings; returns the exit code.

    Raises:
        ArchiveError: the cluster cannot be reached, or the results not be written.
    """
    tally = Tally(len(inputs))
    results = results_of(settings, model)
    files = Files(settings, results)
    files.open()
    todo = {each.key: each for each in inputs if files.incomplete(each.key)}
    tally.there = len(inputs) - len(todo)
    try:
        if todo:
            with Bar(len(todo), console) as bar:
                for row in _rows(settings, description_of(model, settings), list(todo.values())):
                    bar.ended(row.key)
                    tally.windows += row.windows
                    if row.reason:
                        name = todo[row.key].place.name
                        tally.fail(name, row.reason)
                        results.fail(name, row.reason)
    finally:
        results.write_failures()
        tally.log()
    return tally.exit_code


def _rows(settings: Settings, description: Description, inputs: Sequence[Input]) -> Iterator[Row]:
    """What the workers tell of each of ``inputs``, in any order."""
    import ray

    _connect(settings)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    resources = ray.cluster_resources()
    workers = workers_of(resources.get("CPU", 1), resources.get("GPU", 0), settings.ray_cores)
    try:
        labelled = ray.data.from_items(
            [{"address": each.place.address, "key": each.key} for each in inputs]
        ).map_batches(
            Worker,
            fn_constructor_args=(settings, msgspec.json.encode(description), workers.cores),
            batch_size=max(1, min(_VIDEOS_AT_ONCE, len(inputs) // (_SHARES * workers.count))),
            num_cpus=workers.cores,
            num_gpus=workers.gpus,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers.count),
        )
        for row in labelled.iter_rows():
            yield Row(**row)
    except ray.exceptions.RayError as error:
        reason = reason_of(error)[-_MOST_SHOWN_CHARACTERS:]
        raise ClusterError(f"a worker failed: {reason}", "see the logs of Ray on its machine") from error
    finally:
        ray.shutdown()


def _connect(settings: Settings) -> None:
    # Nothing leaves the cluster.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    local = {} if settings.ray else {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
    try:
        ray.init(address=settings.ray or "local", log_to_driver=False, logging_level="WARNING", **local)
    except Exception as error:  # Ray raises ConnectionError, RuntimeError, ValueError and those of gRPC
        reason = reason_of(error)
        hint = "start it with `ray start --head`, and give its address, or leave the address out"
        raise ClusterError(f"cannot use the Ray cluster {settings.ray or 'of this machine'}: {reason}", hint) from error


class Worker:
    """An actor of Ray: holds an engine, and labels the videos that it is given."""

    def __init__(self, settings: Settings, description: bytes, cores: int) -> None:
        """Raises ClusterError if this machine has another bundle or head than that of the encoded ``description``."""
        self._settings = replace(settings, decoders=settings.decoders or cores)
        self._model = chosen_model(settings)
        if msgspec.json.encode(description_of(self._model, settings)) != description:
            raise ClusterError(
                f"{self._model.manifest.name} on a worker is another bundle, head or version than on this machine",
                "copy one bundle, and the head, to the same place on every machine, and name them",
            )
        self._engine = self._model.engine(cores)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Label the videos of a batch that are not done; returns a row for each."""
        keys = [str(key) for key in batch["key"]]
        results = results_of(self._settings, self._model)
        files = Files(self._settings, results)
        files.look(keys)
        rows = {key: Row(key, 0, None) for key in keys}
        with tempfile.TemporaryDirectory(prefix="vjepa-label-") as scratch:
            found = zip(batch["address"], keys, strict=True)
            videos = [Input(place(str(address)), key).video(Path(scratch)) for address, key in found]
            for video in videos:
                if not files.missing(video.key):
                    files.complete(video)
            todo = [video for video in videos if files.missing(video.key)]
            for labelled in label(todo, self._engine, self._settings, BusyTime()):
                reason = None if labelled.error is None else labelled.error.what
                rows[labelled.video.key] = Row(labelled.video.key, len(labelled.windows), reason)
                if labelled.error is None:
                    files.keep(labelled)
        return {each.name: [getattr(row, each.name) for row in rows.values()] for each in fields(Row)}
