"""The actions of one stream in the last minutes, by the labels of the stream or of one head."""

from __future__ import annotations

import time
from collections import deque

from engines.linear_heads.head import HeadAnswer
from server.api.answers import Prediction, top_predictions
from server.api.watching.messages import Segment

_TOP_K = 5
_RECENT_S = 300.0
_MOST_SEGMENTS = 300


class Track:
    """The latest ``predictions``, and since when the most probable action is the same, in Unix time.

    Invariant: ``_recent`` holds at most ``_MOST_SEGMENTS`` segments, in the order of their times.
    """

    def __init__(self) -> None:
        self.predictions: list[Prediction] = []
        self.action_since_s = 0.0
        self._recent: deque[Segment] = deque(maxlen=_MOST_SEGMENTS)

    def recent(self) -> list[Segment]:
        """The actions of the last five minutes, the oldest first."""
        oldest_s = time.time() - _RECENT_S
        return [segment for segment in self._recent if segment.end_s >= oldest_s]

    def add(self, answer: HeadAnswer, now_s: float) -> None:
        """The action goes on, or another one begins; an answer without labels is none."""
        self.predictions = top_predictions(answer.probabilities, answer.labels, min(_TOP_K, len(answer.labels)))
        if not self.predictions:
            return
        first, last = self.predictions[0], self._recent[-1] if self._recent else None
        if last is not None and last.label == first.label:
            last.end_s, last.confidence = now_s, max(last.confidence, first.confidence)
            return
        self.action_since_s = now_s
        self._recent.append(Segment(label=first.label, start_s=now_s, end_s=now_s, confidence=first.confidence))
