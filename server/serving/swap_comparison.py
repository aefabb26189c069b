"""Compares the answers of two deployments before one replaces the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engines.clip import Clip
from engines.storage.reference import Floats
from server.serving.deployment import Deployment


@dataclass(frozen=True)
class SwapComparison:
    """``changed`` of ``clips`` clips get another most probable label; probabilities differ by ``largest`` at most."""

    clips: int = 0
    changed: int = 0
    largest: float = 0.0

    @property
    def disagreement(self) -> float:
        """Share of the clips whose most probable label changes; 0 without clips."""
        return self.changed / self.clips if self.clips else 0.0


async def compare_answers(old: Deployment, fresh: Deployment, clips: Sequence[Clip]) -> SwapComparison:
    """Classify ``clips`` with both deployments, one after the other, among the clips of clients.

    Labels are compared by name; a probability is compared if both networks have its label. Clips of another number of
    frames than a network takes are left out. Networks without labels are not compared.

    Raises:
        EngineError, NotReadyError: one of the engines failed, or all engines of a deployment are lost.
    """
    names = old.model.manifest.labels, fresh.model.manifest.labels
    changed, largest, compared = 0, 0.0, 0
    if not all(names):
        return SwapComparison()
    for clip in clips:
        if {old.model.manifest.frames, fresh.model.manifest.frames} != {len(clip.frames)}:
            continue
        before, after = [(await one.batcher.classify(clip, math.inf)).probabilities for one in (old, fresh)]
        compared += 1
        changed += names[0][before.argmax()] != names[1][after.argmax()]
        largest = max(largest, _largest_difference(names, (before, after)))
    return SwapComparison(compared, changed, largest)


def _largest_difference(names: tuple[tuple[str, ...], tuple[str, ...]], answers: tuple[Floats, Floats]) -> float:
    if names[0] == names[1]:
        return float(np.abs(answers[0] - answers[1]).max())
    before, after = (
        dict(zip(labels, answer.tolist(), strict=True)) for labels, answer in zip(names, answers, strict=True)
    )
    return max((abs(before[label] - after[label]) for label in before.keys() & after.keys()), default=0.0)
