"""How much goes on around the object of a clip."""

from __future__ import annotations

import enum


class Scenery(enum.Enum):
    """PLAIN: plain ground and nothing else. CALM: rich textures that hardly move of themselves, filmed by hand.

    LIVELY: the scene drifts or stirs in many clips, and there may be bystanders. RESTLESS: much of all that and cuts to
    other scenes, as when the object moves over a playing video.
    """

    PLAIN = "plain"
    CALM = "calm"
    LIVELY = "lively"
    RESTLESS = "restless"
