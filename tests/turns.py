"""Tests that measure, and those beside them in other processes of the same run (pytest-xdist)."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

# Any two files that all processes see: nothing is written into them.
_GATE, _ROOM = Path(__file__), Path(__file__).with_name("__init__.py")


@contextlib.contextmanager
def turn(alone: bool) -> Iterator[None]:
    """For the block, no other is ``alone``; if this one is, no other runs at all.

    Who wants to be alone holds the gate until those inside have left, so that they do not go in again before.
    """
    with _locked(_GATE, fcntl.LOCK_EX):
        entered = contextlib.ExitStack()
        entered.enter_context(_locked(_ROOM, fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
    with entered:
        yield


@contextlib.contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        # By word, not by closing: a process that was forked meanwhile has the descriptor too.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)
