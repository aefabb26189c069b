"""What a session tells the client of its stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from engines.engine import Model
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
class Answered:
    """``probabilities``: float32 [labels] of ``model``; ``age_ms``: since the newest frame of the window arrived.

    ``still``: nothing moved in the window, which is one of those that are classified all the same.
    """

    span: Span
    probabilities: npt.NDArray[np.float32]
    model: Model
    times: ClipTimes
    age_ms: float
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
    """A frame or a window failed with ``error``; ``time_s`` is that of the frame, if one was at fault."""

    error: Exception
    time_s: float | None


@dataclass(frozen=True, slots=True)
class ModelInService:
    """From now on windows are classified by ``model``."""

    model: Model


Event = Answered | Passed | Broken | Refused | ModelInService
Tell = Callable[[Event], Awaitable[None]]
