"""Random curves for quantities that change over a clip, as functions of normalised time in [0, 1]."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Curve = npt.NDArray[np.float64]


def progress(rng: np.random.Generator, times: Curve) -> Curve:
    """Return a monotone curve from 0 to 1 [T]: linear, eased or uneven, sometimes with a rest at either end."""
    start = rng.uniform(0.0, 0.3) if rng.random() < 0.25 else 0.0
    stop = 1 - rng.uniform(0.0, 0.3) if rng.random() < 0.25 else 1.0
    inner = np.clip((times - start) / (stop - start), 0.0, 1.0)
    power = float(np.exp(rng.normal(0.0, 0.35)))
    eased = inner * inner * (3 - 2 * inner)
    laws = (inner, eased, inner**power, np.sin(inner * np.pi / 2), 1 - np.cos(inner * np.pi / 2))
    return np.asarray(laws[rng.choice(5, p=(0.4, 0.25, 0.15, 0.1, 0.1))])


def tremor(rng: np.random.Generator, times: Curve, amplitude: float, components: int = 2) -> Curve:
    """Return slow sway plus quick jitter [T, components], with a standard deviation of about ``amplitude``."""
    total = np.zeros((len(times), components))
    for cycles in rng.uniform(0.3, 8.0, 5):
        phases = rng.uniform(0.0, 2 * np.pi, components)
        weight = rng.normal(0.0, 1.0, components) * min(1.0, 2.0 / cycles)
        total += weight * np.sin(2 * np.pi * cycles * times[:, None] + phases)
    return amplitude * total / 1.6


def stuttered(rng: np.random.Generator, times: Curve) -> Curve:
    """Return ``times``, in rare cases rounded down in steps, as when a slow camera repeats its frames."""
    if rng.random() >= 0.05:
        return times
    steps = int(rng.integers(7, 13))
    return np.minimum(np.floor(times * steps) / (steps - 1), 1.0)
