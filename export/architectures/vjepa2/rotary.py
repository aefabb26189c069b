"""V-JEPA 2's rotary position embedding as one multiplication table, in the half-split form.

``rotate_queries_or_keys`` in transformers rotates pairs of neighbours, (x[0], x[1]), (x[2], x[3]), ..., in three
sections of each head: by the frame, the row and the column of the token. The rest of the head is not rotated. It tiles
the angles of a section ([a b c a b c]) but pairs neighbours, so the two features of a pair get different angles. The
tables here contain the angle that transformers applies to each feature of the head. The rows of the Q and K projections
are reordered once, offline: all first features of the pairs come before all second ones. The rotation then needs two
slices instead of a strided shuffle. Q and K are reordered in the same way, so their products do not change.
"""

from __future__ import annotations

import torch
from torch import nn

_BASE = 10_000.0


def padded_size(head_size: int) -> int:
    """Features per head of Q and K, rounded up to an even number; the added feature of an odd head is always 0."""
    return head_size + head_size % 2


def half_split_order(head_size: int) -> torch.Tensor:
    """The original index of each feature of the half-split head: int64 [padded_size]."""
    return torch.arange(padded_size(head_size)).view(-1, 2).T.flatten()


def rotary_tables(head_size: int, tokens: int, grid: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines in half-split order, float64 [tokens, padded_size]; ``grid`` is the patches per edge."""
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
    """Rotates queries or keys [N, H, S, padded_size], in half-split order, by the positions of their tokens."""

    cos: torch.Tensor
    sin: torch.Tensor

    def __init__(self, head_size: int, tokens: int, grid: int) -> None:
        super().__init__()
        cos, sin = rotary_tables(head_size, tokens, grid)
        self.register_buffer("cos", cos.float()[None, None])
        self.register_buffer("sin", sin.float()[None, None])

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        # OpenVINO has one kernel for this form: tables of four dimensions, and halves of explicit sizes.
        half = features.shape[-1] // 2
        first, second = torch.split(features, [half, half], -1)
        return features * self.cos + torch.cat((-second, first), -1) * self.sin
