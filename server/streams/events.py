"""What a session tells the client of its stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from engines.engine import Model
from engines.linear_heads.head import Head, HeadAnswer
from server.telemetry.phases import ClipTimes

SkipReason = Literal["overload", "frame", "model", "still"]
GapReason = Literal["time", "size"]


@dataclass(frozen=True, slots=True)
class Span:
    """The window of that number, in the times that the client gave to its frames."""

    window: int
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Serving:
    """What answers the windows of a stream: ``model``, and of the heads that fit it, ``fitting``, those in ``heads``.

    ``heads`` are those that the stream asked for, by name. ``features_identity``: of the features of ``model``, None
    for a model without.
    """

    model: Model
    features_identity: str | None
    fitting: Mapping[str, Head]
    heads: Mapping[str, Head]

    def answers_like(self, other: Serving) -> bool:
        """Whether answers of both can be told apart by nothing but their numbers."""
        return self.model is other.model and dict(self.heads) == dict(other.heads)


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to a window by ``serving``; ``age_ms``: since the newest frame of the window arrived.

    ``answer``: with the labels that the stream asked for, of a head or of the model, which may have none. ``heads``:
    the answers of all heads, where it asked for all. ``features``: float32 [F]; None where the bundle has none.
    ``still``: nothing moved in the window, which is one of those that are classified all the same.
    """

    span: Span
    serving: Serving
    answer: HeadAnswer
    times: ClipTimes
    age_ms: float
    heads: Mapping[str, HeadAnswer] = field(default_factory=dict)
    features: npt.NDArray[np.float32] | None = None
    still: bool = False


@dataclass(frozen=True, slots=True)
class Passed:
    """A window that is not classified."""

    span: Span
    reason: SkipReason


@dataclass(frozen=True, slots=True)
class Broken:
    """No window spans from ``before_s`` to ``after_s``."""

    before_s: float
    after_s: float
    reason: GapReason


@dataclass(frozen=True, slots=True)
class Refused:
    """A frame or a window failed with ``error``: the frame of ``time_s``, or the window of ``span``."""

    error: Exception
    time_s: float | None = None
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class NowServing:
    """From now on windows are answered by another model, or by heads that have changed."""

    serving: Serving


Event = Answered | Passed | Broken | Refused | NowServing
Tell = Callable[[Event], Awaitable[None]]
