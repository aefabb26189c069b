"""Few numbers for the many features of a clip: those in which the clips that were taught differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from teaching.lesson import Floats
from teaching.spectrum import Spectrum

# With fewer clips than this, nothing is lost.
_MOST = 512
# A share of the mean deviation is added to that of each feature, so that nearly constant ones do not become noise.
_LEAST_DEVIATION = 0.05
# Smaller variances, relative to the largest, are rounding.
_NOTHING = 1e-10
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Coordinates:
    """``axes`` float64 [D, F] and ``centre`` [F]: the main directions and the mean of the taught clips' features."""

    axes: Floats
    centre: Floats

    @classmethod
    def fit(cls, features: Floats, spectrum: Spectrum, most: int = _MOST) -> Coordinates:
        """At most ``most`` coordinates for clips with ``features``, float64 [N, F], which all count alike."""
        plain = Spectrum(spectrum.tubelets, spectrum.parts, np.ones_like(spectrum.factors))
        deviations = plain.of(features - features.mean(axis=0)).std(axis=0)
        scales = 1 / (deviations + _LEAST_DEVIATION * max(float(deviations.mean()), _TINY))
        scaled = Spectrum(spectrum.tubelets, spectrum.parts, spectrum.factors * scales)
        centre = features.mean(axis=0)
        return cls(scaled.folded(_main_axes(scaled.of(features - centre), most)), centre)

    def of(self, features: Floats) -> Floats:
        """Float64 [N, D] for ``features`` [N, F]."""
        return np.asarray((features - self.centre) @ self.axes.T)

    def folded(self, weights: Floats, offsets: Floats) -> tuple[Floats, Floats]:
        """What ``weights`` [K, D] and ``offsets`` [K] are on features: float64 [K, F] and [K]."""
        on_features = weights @ self.axes
        return on_features, offsets - on_features @ self.centre


def _main_axes(rows: Floats, most: int) -> Floats:
    """The principal axes, float64 [D, F] with D at most ``most``, of ``rows`` [N, F], whose mean is 0."""
    # The smaller of the two matrices has the same variances.
    wide = len(rows) <= rows.shape[1]
    variances, axes = np.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)
    variances, axes = variances[::-1], axes[:, ::-1].T
    count = max(1, min(most, int((variances > _NOTHING * variances[0]).sum())))
    if not wide:
        return np.asarray(axes[:count])
    return np.asarray(axes[:count] @ rows / np.sqrt(np.maximum(variances[:count, None], _TINY)))
