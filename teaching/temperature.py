"""How sure a head may be, by what it said of clips that it was not taught."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from teaching.lesson import Floats, Integers

_HIGHEST = 20.0


def temperature_for(logits: Floats, classes: Integers) -> float:
    """The number to divide ``logits``, float64 [N, K], by, so that their softmax fits ``classes`` [N] best."""
    rows = np.arange(len(classes))

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(logits / math.exp(log_temperature), axis=1)[rows, classes].mean())

    bound = math.log(_HIGHEST)
    return math.exp(float(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x))
