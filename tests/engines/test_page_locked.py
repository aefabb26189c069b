"""Pieces of one block: never two at one place, and none lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engines.bundle import open_bundle
from engines.clip import Clip
from engines.options import EngineOptions
from engines.page_locked import PageLock, PageLockedMemory
from engines.runtimes import load_engine
from server.http_workers.segment import Segment

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


def test_what_does_not_fit_is_none() -> None:
    assert PageLockedMemory(SIZE, locked=False).allocate(SIZE + 1) is None


on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.mark.gpu
@on_gpu
def test_memory_of_others_is_locked_while_anybody_needs_it() -> None:
    memory = Segment.created(SIZE).frames
    tensor = torch.from_numpy(memory)
    first, second = PageLock(memory), PageLock(memory)
    assert tensor.is_pinned()
    first.release()
    assert tensor.is_pinned()
    second.release()
    assert not tensor.is_pinned()
    PageLock(memory).release()


@pytest.mark.gpu
@on_gpu
def test_clips_in_shared_memory_are_classified_as_those_of_the_engine(odd_torch_bundle: Path) -> None:
    segment = Segment.created(2**26)
    bundle = open_bundle(odd_torch_bundle)
    engine = load_engine(bundle)
    sharing = load_engine(bundle, EngineOptions(clips_memory=segment.frames))
    try:
        own = engine.allocate(120, 160)
        own[:] = np.random.default_rng(0).integers(0, 256, own.shape, np.uint8)
        shared = Segment(segment.fd).view(0, own.nbytes, lambda: None).reshape(own.shape)
        shared[:] = own
        seen = segment.view(0, own.nbytes, lambda: None).reshape(own.shape)
        assert torch.from_numpy(seen).is_pinned()
        answers = [one.infer([Clip(clip, "RGB")]).probabilities for one, clip in ((engine, own), (sharing, seen))]
        np.testing.assert_allclose(*answers, atol=1e-6)
    finally:
        engine.close()
        sharing.close()
