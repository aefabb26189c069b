"""What a watcher is to know of one stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from engines.linear_heads.manifest import ALL
from server.api.watching import messages
from server.api.watching.track import Track
from server.http.problem import problem_of
from server.streams.events import Answered, Broken, Event, NowServing, Passed, Refused
from server.streams.pictures import Picture
from server.streams.streams import OpenStream


class StreamRecord:
    """The latest answer of ``stream``, and the actions of the last minutes.

    Invariant: ``_heads`` has a track for each head that is watched, from its first answer on.
    """

    def __init__(self, stream: OpenStream, watched: Callable[[], Collection[str]]) -> None:
        """``watched``: the heads with which to answer, too, whatever the stream itself asked for."""
        self.stream = stream
        self._watched = watched
        self._own = Track()
        self._heads: dict[str, Track] = {}
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
            case Refused(error):
                detail = problem_of(error).detail
                refused = sums.frames_refused
                return messages.FrameRefused(session=session, at_s=now_s, detail=detail, frames_refused=refused)
            case NowServing(serving):
                name = serving.model.manifest.source.model
                return messages.ModelChanged(session=session, at_s=now_s, model=name, heads=list(serving.heads))

    def state(self) -> messages.StreamState:
        session, own = self.stream.session, self._own
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
            head=session.options.head,
            predictions=own.predictions,
            answered_s=self._answered_s or None,
            action_since_s=own.action_since_s or None,
            age_ms=round(latest.age_ms, 3) if latest else None,
            total_ms=round(latest.times.total_ms, 3) if latest else None,
            recent=own.recent(),
            heads={
                name: messages.HeadState(
                    predictions=track.predictions, action_since_s=track.action_since_s, recent=track.recent()
                )
                for name, track in self._heads.items()
            },
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
        self._answered_s = now_s
        self._own.add(event.answer, now_s)
        self._add_heads(event, now_s)
        return messages.Predicted(
            session=self.stream.id,
            window=event.span.window,
            predictions=self._own.predictions,
            answered_s=now_s,
            action_since_s=self._own.action_since_s,
            age_ms=round(event.age_ms, 3),
            total_ms=round(event.times.total_ms, 3),
            still=event.still,
            heads={
                name: messages.HeadPrediction(predictions=track.predictions, action_since_s=track.action_since_s)
                for name, track in self._heads.items()
            },
        )

    def _add_heads(self, event: Answered, now_s: float) -> None:
        if event.features is None:
            return
        fitting, watched = event.serving.fitting, self._watched()
        names = fitting if ALL in watched else [name for name in watched if name in fitting]
        self._heads = {name: self._heads.get(name) or Track() for name in names}
        for name, track in self._heads.items():
            track.add(fitting[name].answer(event.features), now_s)
