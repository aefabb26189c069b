"""Training and test clips after preprocessing. Two processes render them; training clips are kept on disk."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from engines.manifest import Preprocessing
from engines.preprocessing.cpu import crop_clip
from export.demo import labels
from export.demo.labels import LABELS
from export.demo.rendering.clips import Clip, render_clip
from export.demo.rendering.scenery import Scenery

logger = logging.getLogger(__name__)

FRAMES = 16
CROP = 64
PREPROCESSING = Preprocessing(resize=int(CROP * 256 / 224), crop=CROP)
TRAINING_SEEDS = range(1_000_000_000)
HELD_OUT_SEEDS = range(1_000_000_000, 1_001_000_000)
if TRAINING_SEEDS.stop > HELD_OUT_SEEDS.start:
    raise AssertionError("training seeds and held-out seeds overlap")
# The share of each scenery among the training clips.
SHARES = {Scenery.PLAIN: 0.06, Scenery.LIVELY: 0.22, Scenery.RESTLESS: 0.36, Scenery.CALM: 0.36}
# These three labels appear twice as often, because growing objects are hard to tell apart from held ones.
_TAUGHT = (*LABELS, labels.APPROACH, labels.MOVE_AWAY, labels.HOLD)
_PROCESSES = 2


@dataclass(frozen=True)
class Task:
    """One clip to render: its seed, the index of its label in ``LABELS``, and its scenery."""

    seed: int
    label: int
    scenery: Scenery = Scenery.CALM


@dataclass(frozen=True)
class Pool:
    """Clips uint8 [N, 16, 3, 64, 64], and the indices of their labels in ``LABELS``, int64 [N]."""

    clips: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


def preprocess(clip: Clip) -> npt.NDArray[np.uint8]:
    """Resize and crop the frames of ``clip`` for the checkpoint; returns uint8 [16, 3, 64, 64]."""
    return crop_clip(clip.frames, PREPROCESSING).transpose(0, 3, 1, 2)


def _render(task: Task) -> npt.NDArray[np.uint8]:
    cv2.setNumThreads(1)
    return preprocess(render_clip(task.seed, LABELS[task.label], scenery=task.scenery))


def render_many(tasks: Iterable[Task]) -> Iterator[npt.NDArray[np.uint8]]:
    """Render ``tasks`` with two processes; yields preprocessed clips uint8 [16, 3, 64, 64] in the same order."""
    with multiprocessing.get_context("spawn").Pool(_PROCESSES) as workers:
        yield from workers.imap(_render, tasks, chunksize=16)


def held_out(count: int, scenery: Scenery = Scenery.CALM) -> Iterator[tuple[npt.NDArray[np.uint8], int]]:
    """Yield ``count`` preprocessed clips of seeds that training never uses, with label indices in turn."""
    if count > len(HELD_OUT_SEEDS):
        raise ValueError(f"at most {len(HELD_OUT_SEEDS)} held-out clips exist, not {count}")
    tasks = [Task(HELD_OUT_SEEDS[index], index % len(LABELS), scenery) for index in range(count)]
    yield from zip(render_many(tasks), (task.label for task in tasks), strict=True)


def training_tasks(count: int, seed: int) -> list[Task]:
    """Return the ``count`` clips for a training with ``seed``, grouped by scenery in the order of ``SHARES``."""
    first = seed * 1_000_000
    if seed < 0 or count > 1_000_000 or first + count > len(TRAINING_SEEDS):
        raise ValueError("training takes at most 1,000,000 clips and a seed from 0 to 999")
    if count < len(SHARES) * len(LABELS):
        raise ValueError(f"training takes at least {len(SHARES) * len(LABELS)} clips")
    ends = np.rint(np.cumsum(list(SHARES.values())) * count).astype(int)
    places = np.searchsorted(ends, np.arange(count), side="right")
    seeds = TRAINING_SEEDS[first : first + count]
    sceneries = [list(SHARES)[place] for place in places]
    taught = [LABELS.index(label) for label in _TAUGHT]
    return [Task(seed, taught[index % len(taught)], sceneries[index]) for index, seed in enumerate(seeds)]


def _load_pool(directory: Path, name: str, tasks: list[Task]) -> Pool:
    path, progress = directory / f"{name}.npy", directory / f"{name}.done"
    done = int(progress.read_text()) if progress.exists() and path.exists() else 0
    shape = (len(tasks), FRAMES, 3, CROP, CROP)
    clips = np.lib.format.open_memmap(path, mode="r+" if done else "w+", dtype=np.uint8, shape=shape)
    for index, frames in enumerate(render_many(tasks[done:]) if done < len(tasks) else (), start=done):
        clips[index] = frames
        if (index + 1) % 500 == 0 or index + 1 == len(tasks):
            progress.write_text(str(index + 1))
            logger.info("rendered %d of %d %s clips", index + 1, len(tasks), tasks[0].scenery.value)
    return Pool(clips, np.array([task.label for task in tasks]))


def load_pools(directory: Path, count: int, seed: int) -> dict[Scenery, Pool]:
    """Return the training clips by scenery; clips that ``directory`` does not contain yet are rendered into it.

    An interrupted run continues after its last saved clip. Empty the directory after a change of the renderer, because
    clips of an older renderer are not recognised as such.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tasks = training_tasks(count, seed)
    return {
        scenery: _load_pool(
            directory, f"{scenery.value}-{seed}-{count}", [task for task in tasks if task.scenery == scenery]
        )
        for scenery in Scenery
    }
