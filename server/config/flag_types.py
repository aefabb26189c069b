"""What flags take, read from the command line's text; argparse.ArgumentTypeError says what is accepted."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable


def listed(text: str) -> tuple[str, ...]:
    """Words with commas between."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def devices(text: str) -> tuple[str, ...]:
    """Devices of the same kind, each once."""
    names = listed(text)
    for name in names:
        if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
            raise argparse.ArgumentTypeError(f"{name!r} is no device; accepted: cuda:0, cuda:1, ..., cuda or cpu")
    if len(set(names)) < len(names) or (len(names) > 1 and {"cuda", "cpu"} & set(names)):
        raise argparse.ArgumentTypeError(f"{text}: each once; cuda, which is all GPUs, and cpu only by themselves")
    return names


def between(low: int, high: int) -> Callable[[str], int]:
    """A whole number within bounds."""

    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not between {low} and {high}")
        return value

    parse.__name__ = "whole number"  # argparse's own message for a non-number names the type so
    return parse
