"""Measures answers on the scale on which the checkpoint's own answers differ from clip to clip.

Probabilities hide errors: with 174 labels and nearly equal answers, the probabilities of two unrelated networks differ
by 0.002. Logarithms of probabilities are the network's logits up to a constant for each clip. Their spread between
clips is what an engine has to reproduce, so errors are shares of this spread.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.manifest import Precision
from engines.storage.reference import Floats

Doubles = npt.NDArray[np.float64]

# Smaller probabilities count as this one. Float32 keeps it exactly, and logits that are 69 apart reach it.
FLOOR = 1e-30
# The accepted root mean square error of a clip's log-odds, as a share of the spread: several times the largest error of
# the sound networks that were measured (docs/export.md); for int8 the most that makes sense.
SHARES: dict[Precision, float] = {"fp32": 2e-4, "fp16": 2e-2, "bf16": 6e-2, "fp8": 3e-1, "int8": 5e-1}
# Half the distance between neighbouring numbers around 1, to which the logits are rounded.
_ROUNDING: dict[Precision, float] = {"fp32": 2**-24, "fp16": 2**-11, "bf16": 2**-8, "fp8": 2**-11, "int8": 2**-8}
_ROUNDINGS = 2
# The error of log-odds that float32 probabilities allow in any precision.
_LEAST = 1e-6
# An engine that gives every clip the same answer is wrong by about one spread, so no more than half of it is accepted.
_MOST = 0.5
# Ranks are compared where the checkpoint's log-odds are this many tolerances apart, which noise does not bridge.
_RANK_TOLERANCES = 3


@dataclass(frozen=True)
class Scale:
    """``spread`` of the checkpoint's log-odds between clips, and the error that is accepted for a clip, in nats."""

    spread: float
    tolerance: float

    @classmethod
    def of(cls, probabilities: Floats, precision: Precision) -> Scale:
        """The scale of the checkpoint's ``probabilities`` [clips, labels] for an engine in ``precision``."""
        reference = log_odds(probabilities)
        spread = _root_mean_square(reference - reference.mean(axis=0))
        rounding = _ROUNDINGS * _ROUNDING[precision] * _root_mean_square(reference)
        return cls(spread, min(SHARES[precision] * spread + rounding + _LEAST, _MOST * spread))

    @property
    def rank_tolerance(self) -> float:
        """How far apart, in nats, two labels may be for the checkpoint that the engine orders the other way."""
        return _RANK_TOLERANCES * self.tolerance

    def share(self, error: float) -> float:
        """``error`` in nats as a share of the spread."""
        return error / self.spread if self.spread else error


def log_odds(probabilities: Floats) -> Doubles:
    """The logits up to a constant for each clip: logarithms less their mean over the labels, [clips, labels]."""
    logarithms = np.log(np.maximum(probabilities.astype(np.float64), FLOOR))
    centred: Doubles = logarithms - logarithms.mean(axis=1, keepdims=True)
    return centred


def errors(answers: Floats, expected: Floats) -> Doubles:
    """The root mean square over the labels of the error of the log-odds in nats, [clips]."""
    squares = (log_odds(answers) - log_odds(expected)) ** 2
    found: Doubles = np.sqrt(squares.mean(axis=1))
    return found


def rank_errors(answers: Floats, expected: Floats) -> Doubles:
    """How far, in nats, the label at any rank of the answer is from the checkpoint's label of that rank, [clips]."""
    reference = log_odds(expected)
    ranked = np.take_along_axis(reference, np.argsort(-answers, axis=1), axis=1)
    found: Doubles = np.abs(ranked - -np.sort(-reference, axis=1)).max(axis=1)
    return found


def distances(probabilities: Floats) -> Doubles:
    """The root mean square difference in nats between the log-odds of every two clips, [clips, clips]."""
    found = log_odds(probabilities)
    apart: Doubles = np.sqrt(((found[:, None] - found[None]) ** 2).mean(axis=-1))
    return apart


def _root_mean_square(values: Doubles) -> float:
    return float(np.sqrt((values**2).mean()))
