"""Pieces of one block: never two at one place, and none lost."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from types import FrameType

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engines.device import page_locked
from engines.device.page_locked import PageLockedMemory

SIZE = 64 * 4096


class Pieces(RuleBasedStateMachine):
    """Allocate, look at parts, let go, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = PageLockedMemory(SIZE, locked=False)
        self.held: list[tuple[int, np.ndarray]] = []
        self.number = 0

    @rule(count=st.integers(1, SIZE // 3))
    def allocate(self, count: int) -> None:
        piece = self.memory.allocate(count)
        if piece is None:
            return
        assert piece.shape == (count,)
        self.number = (self.number + 1) % 251
        piece[:] = self.number
        self.held.append((self.number, piece))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def keep_only_a_view(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.held) - 1))
        number, piece = self.held[index]
        self.held[index] = (number, piece.reshape(1, -1)[:, len(piece) // 2 :].reshape(-1))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        del self.held[data.draw(st.integers(0, len(self.held) - 1))]

    @invariant()
    def nobody_writes_into_anothers_piece(self) -> None:
        for number, piece in self.held:
            assert (piece == number).all()

    def teardown(self) -> None:
        self.held.clear()
        assert self.memory.free_bytes == SIZE
        whole = self.memory.allocate(SIZE)
        assert whole is not None


Pieces.TestCase.settings = settings(max_examples=20, stateful_step_count=40, deadline=None)
TestPieces = Pieces.TestCase


def test_too_large_allocation_returns_none() -> None:
    assert PageLockedMemory(SIZE, locked=False).allocate(SIZE + 1) is None


def test_collector_may_run_in_the_middle_of_an_allocation() -> None:
    """It ends arrays in cycles, whose memory then comes back in a thread that may hold the lock."""
    memory = PageLockedMemory(SIZE, locked=False)
    held = [memory.allocate(4096) for _ in range(60)]

    def collect(frame: FrameType, event: str, argument: object) -> object:
        """For each line of the module."""
        if frame.f_code.co_filename != page_locked.__file__:
            return None
        if held:
            cycle: list[object] = [held.pop()]
            cycle.append(cycle)
            del cycle
            gc.collect(0)
        return collect

    def allocate() -> None:
        sys.settrace(collect)
        for number in range(20):
            memory.allocate(4096 * (1 + number % 5))

    thread = threading.Thread(target=allocate, daemon=True)
    thread.start()
    thread.join(timeout=20)
    hangs = thread.is_alive()
    if hangs:
        memory._lock = threading.Lock()  # otherwise the other arrays would stop this thread too
    assert not hangs, "a finaliser waits for the lock that its own thread holds"
    assert not held
    assert memory.free_bytes == SIZE


def test_block_lives_as_long_as_its_pieces() -> None:
    """A clip of a request may outlive the engine that was replaced meanwhile."""
    memory = PageLockedMemory(SIZE, locked=False)
    piece, block = memory.allocate(4096), weakref.ref(memory._block)
    del memory
    gc.collect()
    assert block() is not None
    del piece
    gc.collect()
    assert block() is None
