"""Resizes, crops and normalises frames in one Triton kernel, which reads the used part of a frame once.

A program computes one tile of one frame's output: it resizes the columns of all rows that the tile needs, a block after
the other, rounds them to 8 bits, and adds them to the rows of the tile. Nothing in between leaves the processor. Tiles
overlap in the source by two steps of the resize, which is what they read twice.

Tensor cores multiply 8-bit pixels with the upper and the lower half of each weight, all of which FP16 represents
exactly. The sums of one block stay below 2**24, so they are exact in FP32; blocks are added as integers.
"""

from __future__ import annotations

import subprocess

import triton
import triton.language as tl
from triton.errors import TritonError

# How compiling or launching fails: Triton's own errors, no C compiler, no place for what is compiled, no driver.
FAILURES = (TritonError, RuntimeError, OSError, subprocess.SubprocessError)

# The output of a program: a larger tile reads less twice, and a smaller one leaves more programs to hide latency with.
HEIGHT, WIDTH = tl.constexpr(16), tl.constexpr(32)
# The source pixels that are multiplied at once.
_ROWS, _COLUMNS = tl.constexpr(32), tl.constexpr(32)


@triton.jit
def _band(
    starts: tl.tensor, taps: tl.tensor, count: tl.tensor, source: tl.tensor, target: tl.tensor, crop: tl.tensor
) -> tl.tensor:
    """The weights, int32 [source, target], of ``source`` pixels in resized pixels ``target``."""
    inside = target < crop
    tap = source[:, None] - tl.load(starts + target, mask=inside, other=0)[None, :]
    weighted = inside[None, :] & (tap >= 0) & (tap < count)
    return tl.load(taps + target[None, :] * count + tap, mask=weighted, other=0).to(tl.int32)


@triton.jit
def _sums(levels: tl.tensor, weights: tl.tensor) -> tl.tensor:
    """Levels [M, N] times weights [N, K], int32 [M, K]."""
    pixels = levels.to(tl.float16)
    upper = tl.dot(pixels, (weights >> 8).to(tl.float16))
    lower = tl.dot(pixels, (weights & 255).to(tl.float16))
    return (upper.to(tl.int32) << 8) + lower.to(tl.int32)


@triton.jit
def _rounded(sums: tl.tensor, bits: tl.tensor) -> tl.tensor:
    """8-bit levels from sums in units of 2**-``bits``; a fraction of 0.5 is rounded up."""
    return tl.minimum((sums + (1 << (bits - 1))) >> bits, 255)


@triton.jit
def _narrowed(
    plane: tl.tensor,
    width: tl.tensor,
    rows: tl.tensor,
    last_row: tl.tensor,
    across: tl.tensor,
    first_column: tl.tensor,
    last_column: tl.tensor,
    starts: tl.tensor,
    weights: tl.tensor,
    taps: tl.tensor,
    bits: tl.tensor,
    crop: tl.tensor,
) -> tl.tensor:
    """One channel of ``rows``, resized to the columns ``across``: 8-bit levels, int32 [rows, across]."""
    sums = tl.full((_ROWS, WIDTH), 0, tl.int32)
    for column in range(first_column, last_column, _COLUMNS):
        columns = column + tl.arange(0, _COLUMNS)
        used = (rows < last_row)[:, None] & (columns < last_column)[None, :]
        levels = tl.load(plane + (rows[:, None] * width + columns[None, :]) * 3, mask=used, other=0)
        sums += _sums(levels, _band(starts, weights, taps, columns, across, crop))
    return _rounded(sums, bits)


@triton.jit
def _store(
    plane: tl.tensor, places: tl.tensor, inside: tl.tensor, sums: tl.tensor, bits: tl.tensor, normal: tl.tensor
) -> None:
    """Write one channel of the tile; ``normal`` points to its scale, and three values further to its shift."""
    levels = _rounded(sums, bits).to(tl.float32)
    tl.store(plane + places, levels * tl.load(normal) + tl.load(normal + 3), mask=inside)


# Sizes and addresses change from clip to clip. Specialised for their divisors, the kernel would be compiled in service.
@triton.jit(
    do_not_specialize=[
        *("height", "width", "first_channel", "step", "row_taps", "column_taps", "row_bits", "column_bits"),
        *("frames", "out", "normal", "row_starts", "row_weights", "column_starts", "column_weights"),
    ]
)
def crop_frames(
    frames: tl.tensor,
    out: tl.tensor,
    normal: tl.tensor,
    row_starts: tl.tensor,
    row_weights: tl.tensor,
    column_starts: tl.tensor,
    column_weights: tl.tensor,
    row_taps: tl.tensor,
    column_taps: tl.tensor,
    row_bits: tl.tensor,
    column_bits: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    first_channel: tl.tensor,
    step: tl.tensor,
    crop: tl.constexpr,
) -> None:
    """Fill ``out`` [N, 3, crop, crop] from uint8 ``frames`` [N, height, width, 3].

    ``*_starts`` int32 [crop] and ``*_weights`` int16 [crop, ``*_taps``]: the first source pixel of each resized pixel,
    and the weights from there on in units of 2**-``*_bits``. ``first_channel`` is the source of the first channel of
    ``out``, and that of the next is ``step`` further. ``normal`` float32 [2, 3]: scales and shifts of the channels.
    """
    left, top, index = tl.program_id(0) * WIDTH, tl.program_id(1) * HEIGHT, tl.program_id(2).to(tl.int64)
    across, down = left + tl.arange(0, WIDTH), top + tl.arange(0, HEIGHT)
    first_column = tl.load(column_starts + left)
    last_column = tl.load(column_starts + tl.minimum(left + WIDTH, crop) - 1) + column_taps
    last_row = tl.load(row_starts + tl.minimum(top + HEIGHT, crop) - 1) + row_taps
    last_column, last_row = tl.minimum(last_column, width), tl.minimum(last_row, height)
    frame = frames + index * height * width * 3 + first_channel
    red = tl.full((WIDTH, HEIGHT), 0, tl.int32)
    green, blue = red, red
    for row in range(tl.load(row_starts + top), last_row, _ROWS):
        rows = row + tl.arange(0, _ROWS)
        weights = _band(row_starts, row_weights, row_taps, rows, down, crop)
        for channel in range(3):
            levels = _narrowed(
                frame + channel * step,
                width,
                rows,
                last_row,
                across,
                first_column,
                last_column,
                column_starts,
                column_weights,
                column_taps,
                column_bits,
                crop,
            )
            sums = _sums(tl.trans(levels), weights)
            red += tl.where(channel == 0, sums, 0)
            green += tl.where(channel == 1, sums, 0)
            blue += tl.where(channel == 2, sums, 0)
    places = down[None, :] * crop + across[:, None]
    inside = (down < crop)[None, :] & (across < crop)[:, None]
    plane = out + index * 3 * crop * crop
    _store(plane, places, inside, red, row_bits, normal)
    _store(plane + crop * crop, places, inside, green, row_bits, normal + 1)
    _store(plane + 2 * crop * crop, places, inside, blue, row_bits, normal + 2)
