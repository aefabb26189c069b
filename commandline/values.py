"""The types of flags' values, with error messages that say what is accepted."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    """A flag type from ``parse``; the user sees the text of its ValueError."""

    def parse_or_explain(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse_or_explain


def number(low: float, high: float) -> Callable[[str], float]:
    """A flag type for numbers from ``low`` to ``high``."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low:g} to {high:g}")
        return value

    return parse


def integer(low: int, high: int, *, other: str = "") -> Callable[[str], int]:
    """A flag type for whole numbers from ``low`` to ``high``, and for the word or number ``other``, which means 0."""

    accepted = (f"{other} or " if other else "") + f"a whole number from {low} to {high}"

    def parse(text: str) -> int:
        if other and text == other:
            return 0
        # int() alone would also accept blanks and underscores.
        value = int(text) if text.isdecimal() else -1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not {accepted}")
        return value

    return parse


def comma_separated(text: str) -> tuple[str, ...]:
    """A flag type for a list of texts between commas; empty ones are left out."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
