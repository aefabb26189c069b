"""Makes the messages of a stream from what its session tells."""

from __future__ import annotations

import dataclasses

from engines.engine import Model
from server.api import stream_messages as messages
from server.api.answers import TimingsMs, top_predictions
from server.http.problem import problem_of
from server.streams.events import Answered, Broken, Event, ModelInService, Passed, Refused
from server.streams.still_gate import StillEstimate
from server.streams.streams import OpenStream


def most_frame_bytes(max_clip_bytes: int, frames: int) -> int:
    """The longest message for a frame without its header, and its most pixels in bytes."""
    return max_clip_bytes // frames


class StreamAnswers:
    """The answers on one stream; predictions have ``top_k`` labels, or all if there are fewer."""

    def __init__(self, opened: OpenStream, top_k: int, max_clip_bytes: int) -> None:
        self._opened = opened
        self._top_k = top_k
        self._max_clip_bytes = max_clip_bytes

    def message(self, event: Event) -> messages.Answer:
        match event:
            case Answered():
                return self._prediction(event)
            case Passed(span, reason):
                return messages.Skipped(window=span.window, start_s=span.start_s, end_s=span.end_s, reason=reason)
            case Broken(before_s, after_s, reason):
                return messages.Gap(before_s=before_s, after_s=after_s, reason=reason)
            case Refused(error, time_s):
                return problem_message(error, time_s)
            case ModelInService(model):
                return self.ready(model)

    def ready(self, model: Model) -> messages.Ready:
        options, manifest = self._opened.session.options, model.manifest
        return messages.Ready(
            session=self._opened.id,
            name=options.name,
            model=manifest.source.model,
            labels=len(manifest.labels),
            frames=manifest.frames,
            fps=options.fps,
            stride=options.stride,
            top_k=self._top_k,
            policy=options.policy,
            max_gap_s=options.max_gap_s,
            still="classify" if options.still is None else "skip",
            short_edge=manifest.preprocessing.resize,
            crop=manifest.preprocessing.crop,
            max_frame_bytes=most_frame_bytes(self._max_clip_bytes, manifest.frames),
        )

    def ended(self, reason: str) -> messages.Ended:
        session = self._opened.session
        return messages.Ended(reason=reason, still=_still(session.still), **dataclasses.asdict(session.sums))

    def _prediction(self, event: Answered) -> messages.WindowPrediction:
        labels = event.model.manifest.labels
        return messages.WindowPrediction(
            window=event.span.window,
            start_s=event.span.start_s,
            end_s=event.span.end_s,
            predictions=top_predictions(event.probabilities, labels, min(self._top_k, len(labels))),
            timings_ms=TimingsMs.of(event.times),
            age_ms=round(event.age_ms, 3),
            still=event.still,
        )


def problem_message(error: Exception, time_s: float | None = None) -> messages.StreamProblem:
    """The message for ``error``; ``time_s`` is that of the frame at fault, if one was."""
    problem = problem_of(error)
    return messages.StreamProblem(
        problem=problem.type,
        title=problem.title,
        status=problem.status,
        detail=problem.detail,
        request_id=problem.request_id,
        field=problem.field,
        time_s=time_s,
    )


def summary_of(opened: OpenStream) -> messages.StreamSummary:
    """The stream in the list of open ones."""
    session, latest = opened.session, opened.session.latest
    counted = session.sums
    labels = latest.model.manifest.labels if latest else ()
    return messages.StreamSummary(
        session=opened.id,
        name=session.options.name,
        since_s=opened.since_s,
        fps=session.options.fps,
        fps_in=round(session.fps_in, 3),
        frames=counted.frames,
        windows=counted.windows,
        predictions=counted.predictions,
        skipped=dict(counted.skipped),
        gaps=counted.gaps,
        still=_still(session.still),
        prediction=top_predictions(latest.probabilities, labels, 1)[0] if latest else None,
        age_ms=round(latest.age_ms, 3) if latest else None,
        total_ms=round(latest.times.total_ms, 3) if latest else None,
    )


def log_fields(opened: OpenStream) -> dict[str, object]:
    """The fields of the stream in the access log at its end: its name, and its sums."""
    session = opened.session
    fields = {"stream": session.options.name, "session": opened.id} | dataclasses.asdict(session.sums)
    return fields if session.still is None else fields | {"still": dataclasses.asdict(session.still)}


def _still(estimate: StillEstimate | None) -> messages.StillSummary | None:
    if estimate is None:
        return None
    share = estimate.missed_share
    return messages.StillSummary(
        windows=estimate.still,
        checked=estimate.checked,
        missed=estimate.missed,
        missed_share=None if share is None else round(share, 6),
        low=round(estimate.low, 6),
        high=round(estimate.high, 6),
    )
