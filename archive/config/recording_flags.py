"""The flags of every command that works on recordings; ``group`` is a group of the command's parser."""

from __future__ import annotations

from typing import Any

from archive.decoding.job import Sampling
from commandline.values import integer, number


def add_device(group: Any) -> None:
    """``--device``."""
    group.add_argument(
        "--device", metavar="cpu|cuda:N", help="where a torch or TensorRT bundle runs; set it to choose among GPUs"
    )


def add_decoders(group: Any, why: str = "lower it where memory is short") -> None:
    """``--decoders``; ``why`` says when to change it."""
    group.add_argument(
        "--decoders",
        metavar="N",
        type=integer(1, 256, other="auto"),
        default=0,
        help=f"videos that are decoded at the same time; {why} (default: as many as there are cores)",
    )


def add_fps(
    group: Any, why: str = "change it for a model that was not trained at the 3 of Something-Something"
) -> None:
    """``--fps``; ``why`` says when to change it."""
    group.add_argument(
        "--fps",
        type=number(0.01, 240),
        default=Sampling().fps,
        help=f"frames to sample per second; {why} (default: %(default)g)",
    )
