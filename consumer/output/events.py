"""Events: what happens, as the start and the end of actions, made of clips that each may be wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

import msgspec

from consumer.output.classified_clip import ClassifiedClip


@dataclass(frozen=True, slots=True)
class Rules:
    """When an action starts and ends.

    It starts once ``clips`` clips in a row have its label with at least ``threshold`` (softmax probability), and ends
    once as many in a row have not; of a live source also when no clip was classified for ``timeout_s`` seconds.
    ``labels`` are those that count; empty for all.
    """

    threshold: float = 0.5
    clips: int = 2
    timeout_s: float = 30.0
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ActionEvent:
    """One line of events: an action's start or end; both carry the same ``action_id``.

    ``start_s`` is where the first of its clips begins, ``end_s`` where the last so far ends (seconds of a recording,
    or Unix time if live); ``confidence`` is the highest so far; ``clip_id`` is the clip that decided.
    """

    event: Literal["start", "end"]
    action_id: str
    source: str
    label: str
    confidence: float
    start_s: float
    end_s: float
    clip_id: str
    model: str

    def json(self) -> bytes:
        """The event as JSON, without a line feed."""
        return msgspec.json.encode(self)


class ActionDetector:
    """Turns the classified clips of ``source``, in their order, into events."""

    def __init__(self, source: str, rules: Rules) -> None:
        self._source = source
        self._rules = rules
        self._runs: dict[str, _Run] = {}

    def update(self, clip: ClassifiedClip) -> list[ActionEvent]:
        """What the next clip starts and ends."""
        confident = self.confident(clip)
        events = []
        for label in [*confident, *(label for label in self._runs if label not in confident)]:
            run = self._runs.setdefault(label, _Run(clip.start_s))
            if label in confident:
                run.hit(clip, confident[label])
            else:
                run.misses += 1
            events += self._turn(label, run)
        return events

    def confident(self, clip: ClassifiedClip) -> dict[str, float]:
        """Confidence by label, of those that count and are above the threshold."""
        labels = self._rules.labels
        return {
            each.label: each.confidence
            for each in clip.predictions
            if each.confidence >= self._rules.threshold and (not labels or each.label in labels)
        }

    def end_all(self) -> list[ActionEvent]:
        """End what goes on, as no more clips come."""
        events = [self._event("end", label, run) for label, run in self._runs.items() if run.action_id]
        self._runs.clear()
        return events

    def _turn(self, label: str, run: _Run) -> list[ActionEvent]:
        if run.action_id is None and run.misses:
            del self._runs[label]
        elif run.action_id is None and run.hits >= self._rules.clips:
            run.action_id = str(uuid4())
            return [self._event("start", label, run)]
        elif run.misses >= self._rules.clips:
            del self._runs[label]
            return [self._event("end", label, run)]
        return []

    def _event(self, event: Literal["start", "end"], label: str, run: _Run) -> ActionEvent:
        action_id = run.action_id or ""
        return ActionEvent(
            event, action_id, self._source, label, run.peak, run.start_s, run.end_s, run.clip_id, run.model
        )


@dataclass(slots=True)
class _Run:
    """Clips in a row of one label; ``action_id`` once they are an action."""

    start_s: float
    end_s: float = 0.0
    hits: int = 0
    misses: int = 0
    peak: float = 0.0
    action_id: str | None = None
    clip_id: str = ""
    model: str = ""

    def hit(self, clip: ClassifiedClip, confidence: float) -> None:
        self.hits += 1
        self.misses = 0
        self.end_s = clip.end_s
        self.peak = max(self.peak, confidence)
        self.clip_id, self.model = clip.clip_id, clip.model
