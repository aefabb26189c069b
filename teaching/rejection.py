"""When a head says that a clip shows none of its actions."""

from __future__ import annotations

import math

import numpy as np

from engines.linear_heads.manifest import Rejection
from teaching.holdout import HeldOut
from teaching.lesson import Floats

MISSES_ALONE = 0.05
"""Without a background, this share of the clips of actions is the price for knowing what is strange."""

MISSES_BESIDE = 0.02
"""With one too: what is neither an action nor like the background must not pass for an action."""

# One standard deviation below the median, of a normal distribution.
_LOW_PERCENTILE = 15.87


def rejection_for(held_out: HeldOut, false_alarms: float) -> Rejection:
    """The rule by which at most the share ``false_alarms`` of held-out background clips is taken for an action."""
    shown = held_out.lesson.shown
    centre, scale = _spread(-held_out.distances[shown])
    scores = Rejection(threshold=0.0, distance_centre=centre, distance_scale=scale)
    margins = held_out.margins
    if margins is not None:
        centre, scale = _spread(margins[shown])
        scores = Rejection(
            threshold=0.0,
            distance_centre=scores.distance_centre,
            distance_scale=scores.distance_scale,
            margin_centre=centre,
            margin_scale=scale,
        )
    threshold = _threshold(familiarities(held_out, scores), shown, false_alarms)
    return Rejection(**{name: getattr(scores, name) for name in scores.__struct_fields__} | {"threshold": threshold})


def familiarities(held_out: HeldOut, rule: Rejection) -> Floats:
    """The familiarity of each held-out clip, float64 [N], as ``engines.linear_heads.head`` computes it."""
    familiar = (-held_out.distances - rule.distance_centre) / rule.distance_scale
    margins = held_out.margins
    if margins is None:
        return np.asarray(familiar)
    return np.asarray(np.minimum(familiar, (margins - rule.margin_centre) / rule.margin_scale))


def _spread(scores: Floats) -> tuple[float, float]:
    """The median, and how far a standard deviation below it is."""
    centre = float(np.median(scores))
    return centre, max(centre - float(np.percentile(scores, _LOW_PERCENTILE)), 1e-6 * max(1.0, abs(centre)))


def _threshold(familiar: Floats, shown: np.ndarray, false_alarms: float) -> float:
    background = np.sort(familiar[~shown])
    if not len(background):
        return float(np.quantile(familiar[shown], MISSES_ALONE))
    passing = math.floor(false_alarms * len(background))
    just_above = float(np.nextafter(background[len(background) - 1 - passing], np.inf))
    return max(just_above, float(np.quantile(familiar[shown], MISSES_BESIDE)))
