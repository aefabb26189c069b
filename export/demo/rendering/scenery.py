"""How much moves around the object of a clip."""

from __future__ import annotations

import enum


class Scenery(enum.Enum):
    """PLAIN: plain ground and nothing else. CALM: rich textures with little motion of their own, filmed by hand.

    LIVELY: many scenes drift or move within themselves, and there may be bystanders. RESTLESS: more of all that, and
    cuts to other scenes, as when the object moves over a playing video.
    """

    PLAIN = "plain"
    CALM = "calm"
    LIVELY = "lively"
    RESTLESS = "restless"
