"""Turns classified clips into events: the start and the end of actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

import msgspec

from consumer.output.classified_clip import ClassifiedClip


@dataclass(frozen=True, slots=True)
class Rules:
    """When an action starts and ends.

    It starts after ``clips`` clips in a row with its label at a softmax probability of at least ``threshold``, and
    ends after as many clips in a row without. The actions of a live source also end if none of its clips was
    classified for ``timeout_s`` seconds. ``labels`` are the labels to report; empty means all. A clip whose best label
    is ``unknown`` shows no action; None where there is no such label.
    """

    threshold: float = 0.5
    clips: int = 2
    timeout_s: float = 30.0
    labels: tuple[str, ...] = ()
    unknown: str | None = None


@dataclass(frozen=True, slots=True)
class ActionEvent:
    """The start or the end of an action; both events have the same ``action_id``.

    ``start_s`` is the start of the action's first clip, ``end_s`` the end of its last clip so far (seconds of a
    recording, or Unix time of a live source). ``confidence`` is the highest so far; ``clip_id`` is the last clip that
    showed the action.
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
    """Turns the classified clips of ``source`` into events; ``_runs`` has the current run of each label."""

    def __init__(self, source: str, rules: Rules) -> None:
        self._source = source
        self._rules = rules
        self._runs: dict[str, _Run] = {}

    def update(self, clip: ClassifiedClip) -> list[ActionEvent]:
        """Add the next clip; returns the events that it causes."""
        confident = self.confident(clip)
        events = []
        for label in [*confident, *(label for label in self._runs if label not in confident)]:
            run = self._runs.setdefault(label, _Run(clip.start_s))
            if label in confident:
                run.hit(clip, confident[label])
            else:
                run.misses += 1
            events += self._step(label, run)
        return events

    def confident(self, clip: ClassifiedClip) -> dict[str, float]:
        """The confidences by label, of the labels to report with at least the threshold."""
        labels, unknown = self._rules.labels, self._rules.unknown
        if unknown is not None and clip.predictions[0].label == unknown:
            return {}
        return {
            each.label: each.confidence
            for each in clip.predictions
            if each.confidence >= self._rules.threshold
            and each.label != unknown
            and (not labels or each.label in labels)
        }

    def end_all(self) -> list[ActionEvent]:
        """End all current actions and forget unfinished runs."""
        events = [self._event("end", label, run) for label, run in self._runs.items() if run.action_id]
        self._runs.clear()
        return events

    def _step(self, label: str, run: _Run) -> list[ActionEvent]:
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
    """Consecutive clips of one label; ``action_id`` is set once they form an action."""

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
