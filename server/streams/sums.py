"""What became of the frames and windows of one stream, for its client, the log and the metrics."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from server.streams.events import GapReason, SkipReason
from server.telemetry.phases import ClipTimes
from server.telemetry.stream_metrics import StreamMetrics

# So many of the latest frames tell how fast frames come.
_RECENT_FRAMES = 32


@dataclass(slots=True)
class Sums:
    """``frames_used`` were decoded; ``frames_refused`` could not be read."""

    frames: int = 0
    frames_used: int = 0
    frames_refused: int = 0
    windows: int = 0
    predictions: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    gaps: int = 0


class Account:
    """Counts for one stream in ``sums``, and for all of them in the metrics."""

    def __init__(self, metrics: StreamMetrics) -> None:
        self.sums = Sums()
        self._metrics = metrics
        self._came_s: deque[float] = deque(maxlen=_RECENT_FRAMES)

    def frame_came(self, at_s: float) -> None:
        """Count a frame that came ``at_s``, by the event loop's clock."""
        self.sums.frames += 1
        self._came_s.append(at_s)

    def fps_in(self, now_s: float) -> float:
        """Frames a second that came lately; it falls while none comes."""
        since_s = now_s - self._came_s[0] if self._came_s else 0.0
        return (len(self._came_s) - 1) / since_s if since_s > 0 else 0.0

    def frame_used(self) -> None:
        self.sums.frames_used += 1
        self._metrics.frame("used")

    def frame_refused(self) -> None:
        self.sums.frames_refused += 1
        self._metrics.frame("refused")

    def frame_unused(self) -> None:
        self._metrics.frame("unused")

    def answered(self, times: ClipTimes, label: str | None, age_ms: float) -> None:
        """Count a window whose most probable label is ``label``; None without labels."""
        self.sums.predictions += 1
        self._metrics.answered(times, label, age_ms / 1e3)

    def skipped(self, reason: SkipReason) -> None:
        self.sums.skipped[reason] = self.sums.skipped.get(reason, 0) + 1
        self._metrics.window(reason)

    def failed(self) -> None:
        """Count a window on which the engine failed."""
        self._metrics.window("failed")

    def gap(self, reason: GapReason) -> None:
        self.sums.gaps += 1
        self._metrics.gap(reason)

    def still_checked(self, *, missed: bool) -> None:
        """Count a still window that was classified all the same; ``missed``: it shows an event."""
        self._metrics.still_checked(missed=missed)
