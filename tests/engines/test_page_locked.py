"""Pieces of one block: never two at one place, and none lost."""

from __future__ import annotations

import gc
import threading

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

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


def test_collector_may_run_at_any_allocation() -> None:
    """Arrays in cycles end when the collector runs, which may be in the middle of another allocation."""
    memory = PageLockedMemory(SIZE, locked=False)
    arrays = [memory.allocate(4096 * (1 + number % 3)) for number in range(16)]
    assert all(array is not None for array in arrays)

    def allocate() -> None:
        collector = gc.get_threshold()
        gc.set_threshold(1, 1, 1)
        try:
            for number in range(3000):
                cycle: list[object] = [memory.allocate(4096 * (1 + number % 5))]
                cycle.append(cycle)
        finally:
            gc.set_threshold(*collector)

    thread = threading.Thread(target=allocate, daemon=True)
    thread.start()
    thread.join(timeout=60)
    assert not thread.is_alive(), "a finaliser waits for the lock that its own thread holds"
    arrays.clear()
    gc.collect()
    assert memory.free_bytes == SIZE
