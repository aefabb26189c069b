"""What a watcher is to know of one stream."""

from __future__ import annotations

import time
from collections import deque

from server.api.answers import Prediction, top_predictions
from server.api.watching import messages
from server.http.problem import problem_of
from server.streams.events import Answered, Broken, Event, ModelInService, Passed, Refused
from server.streams.pictures import Picture
from server.streams.streams import OpenStream

_TOP_K = 5
_RECENT_S = 300.0
_MOST_SEGMENTS = 300


class StreamRecord:
    """The latest answer of ``stream``, and the actions of the last minutes.

    Invariant: ``_recent`` holds at most ``_MOST_SEGMENTS`` segments, in the order of their times.
    """

    def __init__(self, stream: OpenStream) -> None:
        self.stream = stream
        self._recent: deque[messages.Segment] = deque(maxlen=_MOST_SEGMENTS)
        self._predictions: list[Prediction] = []
        self._action_since_s = 0.0
        self._answered_s = 0.0
        self._picture: Picture | None = None

    def told(self, event: Event) -> messages.Message:
        """The message for those who watch."""
        session, now_s, sums = self.stream.id, time.time(), self.stream.session.sums
        match event:
            case Answered():
                return self._answered(event, now_s)
            case Passed(span, reason):
                return messages.WindowSkipped(
                    session=session, at_s=now_s, window=span.window, reason=reason, skipped=dict(sums.skipped)
                )
            case Broken(_, _, reason):
                return messages.GapFound(session=session, at_s=now_s, reason=reason, gaps=sums.gaps)
            case Refused(error, _):
                detail = problem_of(error).detail
                refused = sums.frames_refused
                return messages.FrameRefused(session=session, at_s=now_s, detail=detail, frames_refused=refused)
            case ModelInService(model):
                name = model.manifest.source.model
                return messages.ModelChanged(session=session, at_s=now_s, model=name)

    def state(self) -> messages.StreamState:
        session, oldest_s = self.stream.session, time.time() - _RECENT_S
        latest = session.latest
        return messages.StreamState(
            session=self.stream.id,
            name=session.options.name,
            since_s=self.stream.since_s,
            fps=session.options.fps,
            stride=session.options.stride,
            policy=session.options.policy,
            skipped=dict(session.sums.skipped),
            gaps=session.sums.gaps,
            frames_refused=session.sums.frames_refused,
            predictions=self._predictions,
            answered_s=self._answered_s or None,
            action_since_s=self._action_since_s or None,
            age_ms=round(latest.age_ms, 3) if latest else None,
            total_ms=round(latest.times.total_ms, 3) if latest else None,
            recent=[segment for segment in self._recent if segment.end_s >= oldest_s],
        )

    def new_picture(self) -> messages.PictureTaken | None:
        """The picture of the stream, unless it is the one that was returned before."""
        latest = self.stream.session.pictures.latest
        if latest is None or latest is self._picture:
            return None
        self._picture = latest
        return messages.PictureTaken(
            session=self.stream.id,
            taken_s=latest.taken_s,
            width=latest.width,
            height=latest.height,
            jpeg=latest.jpeg,
        )

    def _answered(self, event: Answered, now_s: float) -> messages.Predicted:
        self._predictions = top_predictions(event.probabilities, event.model.manifest.labels, _TOP_K)
        self._answered_s = now_s
        first = self._predictions[0]
        self._lengthen(first, now_s)
        return messages.Predicted(
            session=self.stream.id,
            window=event.span.window,
            predictions=self._predictions,
            answered_s=now_s,
            action_since_s=self._action_since_s,
            age_ms=round(event.age_ms, 3),
            total_ms=round(event.times.total_ms, 3),
            still=event.still,
        )

    def _lengthen(self, first: Prediction, now_s: float) -> None:
        """The action goes on, or another one begins."""
        last = self._recent[-1] if self._recent else None
        if last is not None and last.label == first.label:
            last.end_s, last.confidence = now_s, max(last.confidence, first.confidence)
            return
        self._action_since_s = now_s
        self._recent.append(
            messages.Segment(label=first.label, start_s=now_s, end_s=now_s, confidence=first.confidence)
        )
