"""What a client asked for its stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engines.clip import PixelFormat

Policy = Literal["latest", "wait"]


@dataclass(frozen=True, slots=True)
class StillOptions:
    """Windows that move less than ``threshold`` grey levels are passed over, except for the share ``check`` of them.

    An answer shows an event if its most probable label has at least the probability ``event_threshold`` and is one of
    ``event_labels``; if there are none, any label may be.
    """

    threshold: float
    check: float
    event_threshold: float
    event_labels: frozenset[str]


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """``max_gap_s`` as in ``Sampler``, ``stride`` in sampled frames; without ``still`` all windows are classified.

    ``head``: the name of a head, ``all``, or None for the labels of the model. ``embeds``: the features are wanted.
    """

    name: str
    fps: float
    stride: int
    max_gap_s: float
    policy: Policy
    pixel_format: PixelFormat
    weight: float
    still: StillOptions | None
    head: str | None = None
    embeds: bool = False
