"""Makes the messages of a stream from what its session tells."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from engines.linear_heads.head import HeadAnswer
from engines.linear_heads.manifest import ALL
from server.api import stream_messages as messages
from server.api.answers import Prediction, TimingsMs, encoded_features, top_predictions
from server.clips.infer_request import EncodingFormat
from server.http.problem import problem_of
from server.streams.events import Answered, Broken, Event, NowServing, Passed, Refused, Serving, Span
from server.streams.still_gate import StillEstimate
from server.streams.streams import OpenStream


def most_frame_bytes(max_clip_bytes: int, frames: int) -> int:
    """The longest message for a frame without its header, and its most pixels in bytes."""
    return max_clip_bytes // frames


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """The form of the answers: ``top_k`` predictions, or all if there are fewer, and features as ``embedding`` says."""

    top_k: int
    embedding: EncodingFormat | None


class StreamAnswers:
    """The answers on one stream, as its client ``wanted`` them."""

    def __init__(self, opened: OpenStream, wanted: Wanted, max_clip_bytes: int) -> None:
        self._opened = opened
        self._wanted = wanted
        self._max_clip_bytes = max_clip_bytes

    def message(self, event: Event) -> messages.Answer:
        match event:
            case Answered():
                return self._prediction(event)
            case Passed(span, reason):
                return messages.Skipped(window=span.window, start_s=span.start_s, end_s=span.end_s, reason=reason)
            case Broken(before_s, after_s, reason):
                return messages.Gap(before_s=before_s, after_s=after_s, reason=reason)
            case Refused(error, time_s, span):
                return problem_message(error, time_s, span)
            case NowServing(serving):
                return self.ready(serving)

    def ready(self, serving: Serving) -> messages.Ready:
        options, manifest = self._opened.session.options, serving.model.manifest
        named = serving.heads.get(options.head or "")
        return messages.Ready(
            session=self._opened.id,
            name=options.name,
            model=manifest.source.model,
            labels=len(named.labels if named else manifest.labels),
            frames=manifest.frames,
            fps=options.fps,
            stride=options.stride,
            top_k=self._wanted.top_k,
            policy=options.policy,
            max_gap_s=options.max_gap_s,
            still="classify" if options.still is None else "skip",
            short_edge=manifest.preprocessing.resize,
            crop=manifest.preprocessing.crop,
            max_frame_bytes=most_frame_bytes(self._max_clip_bytes, manifest.frames),
            head=options.head,
            heads={name: head.manifest.digest for name, head in serving.heads.items()} if options.head else None,
        )

    def ended(self, reason: str) -> messages.Ended:
        session = self._opened.session
        return messages.Ended(reason=reason, still=_still(session.still), **dataclasses.asdict(session.sums))

    def _prediction(self, event: Answered) -> messages.WindowPrediction:
        asked, features = self._opened.session.options, self._features(event.features)
        return messages.WindowPrediction(
            window=event.span.window,
            start_s=event.span.start_s,
            end_s=event.span.end_s,
            predictions=self._best(event.answer),
            timings_ms=TimingsMs.of(event.times),
            age_ms=round(event.age_ms, 3),
            still=event.still,
            head=None if asked.head == ALL else asked.head,
            heads={name: self._best(one) for name, one in event.heads.items()} if asked.head == ALL else None,
            embedding=features,
            sha256=None if features is None else event.serving.features_identity,
        )

    def _best(self, answer: HeadAnswer) -> list[Prediction]:
        return top_predictions(answer.probabilities, answer.labels, min(self._wanted.top_k, len(answer.labels)))

    def _features(self, features: npt.NDArray[np.float32] | None) -> list[float] | str | None:
        how = self._wanted.embedding
        return None if features is None or how is None else encoded_features(features, how)


def problem_message(error: Exception, time_s: float | None = None, span: Span | None = None) -> messages.StreamProblem:
    """The message for ``error``; ``time_s`` is that of the frame at fault, and ``span`` the window that failed."""
    problem = problem_of(error)
    return messages.StreamProblem(
        problem=problem.type,
        title=problem.title,
        status=problem.status,
        detail=problem.detail,
        request_id=problem.request_id,
        field=problem.field,
        time_s=time_s,
        window=span.window if span else None,
        start_s=span.start_s if span else None,
        end_s=span.end_s if span else None,
    )


def summary_of(opened: OpenStream) -> messages.StreamSummary:
    """The stream in the list of open ones."""
    session, latest = opened.session, opened.session.latest
    counted = session.sums
    best = top_predictions(latest.answer.probabilities, latest.answer.labels, 1) if latest else []
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
        prediction=best[0] if best else None,
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
