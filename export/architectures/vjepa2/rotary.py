"""V-JEPA 2's rotary position embedding as one multiplication table, in the half-split form.

transformers' ``rotate_queries_or_keys`` rotates neighbours, (x[0], x[1]), (x[2], x[3]), ..., in three sections of each
head: by the token's frame, row and column; what is left of the head stays as it is. It tiles the angles of a section
([a b c a b c]) while pairing neighbours, so the two of a pair turn by different angles. The tables here hold, for each
of the head's features, the angle that it really gets. Putting all first features of the pairs before all second ones
(rows of the Q and K projections, once, offline) makes the rotation two slices instead of a strided shuffle; products of
Q with K do not notice, as both are reordered alike.
"""

from __future__ import annotations

import torch
from torch import nn

_BASE = 10_000.0


def padded_size(head_size: int) -> int:
    """Features per head of Q and K: even, so that they split into halves; an odd head gets one that is always 0."""
    return head_size + head_size % 2


def half_split_order(head_size: int) -> torch.Tensor:
    """Where each feature of the half-split head comes from: int64 [padded_size]."""
    return torch.arange(padded_size(head_size)).view(-1, 2).T.flatten()


def rotary_tables(head_size: int, tokens: int, grid: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines in half-split order, float64 [tokens, padded_size]; ``grid`` is patches per edge of a frame."""
    section = 2 * (head_size // 3 // 2)
    token = torch.arange(tokens, dtype=torch.float64)
    positions = (token // grid**2, token // grid % grid, token % grid)
    angles = torch.zeros(tokens, padded_size(head_size), dtype=torch.float64)
    if section:
        pace = _BASE ** -(torch.arange(section // 2, dtype=torch.float64) / (section // 2))
        turns = [torch.outer(position, pace).repeat(1, 2) for position in positions]
        angles[:, : 3 * section] = torch.cat(turns, 1)
    angles = angles[:, half_split_order(head_size)]
    return angles.cos(), angles.sin()


class Rotary(nn.Module):
    """Turns queries or keys [N, H, S, padded_size], in half-split order, by their tokens' positions."""

    cos: torch.Tensor
    sin: torch.Tensor

    def __init__(self, head_size: int, tokens: int, grid: int) -> None:
        super().__init__()
        cos, sin = rotary_tables(head_size, tokens, grid)
        self.register_buffer("cos", cos.float()[None, None])
        self.register_buffer("sin", sin.float()[None, None])

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        # In this form, with tables of four dimensions and halves whose sizes are given, OpenVINO has one kernel for it.
        half = features.shape[-1] // 2
        first, second = torch.split(features, [half, half], -1)
        return features * self.cos + torch.cat((-second, first), -1) * self.sin
