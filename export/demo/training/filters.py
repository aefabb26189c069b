"""Initial patch filters that respond to motion.

Random patch filters respond mostly to the mean colour, and a network that starts from them stays at chance level for
thousands of steps. Drifting gratings respond to local motion from the first step, and training refines them.
"""

from __future__ import annotations

import numpy as np
import torch


def drifting_gratings(rng: np.random.Generator, count: int, patch: int, depth: int) -> torch.Tensor:
    """Draw filters float32 [count, 3, depth, patch, patch] of mean 0 and norm 1, in pairs a quarter wave apart."""
    rows, columns = np.mgrid[-0.5 : 0.5 : patch * 1j, -0.5 : 0.5 : patch * 1j]
    bank = np.empty((count, 3, depth, patch, patch))
    for index in range(0, count, 2):
        turn, cycles = rng.uniform(0.0, 2 * np.pi), np.exp(rng.uniform(np.log(0.5), np.log(4.0)))
        centre, spread = rng.uniform(-0.25, 0.25, 2), rng.uniform(0.2, 0.5)
        across = rows * np.sin(turn) + columns * np.cos(turn)
        window = np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / (2 * spread**2))
        phase, drift = rng.uniform(0.0, 2 * np.pi), rng.choice([0.25, 0.25, 0.5, 0.0]) * 2 * np.pi
        colour = rng.normal(1.0, 0.5, 3)
        for quarter in range(min(2, count - index)):
            steps = [
                np.cos(2 * np.pi * cycles * across + phase + quarter * np.pi / 2 - drift * step)
                for step in range(depth)
            ]
            wave = np.stack(steps) * window
            bank[index + quarter] = colour[:, None, None, None] * (wave - wave.mean(axis=(1, 2), keepdims=True))
    return torch.from_numpy(bank / np.sqrt((bank**2).sum(axis=(1, 2, 3, 4), keepdims=True))).float()
