"""Memory that several processes write clips into: never two at one place, none lost, bounds kept together."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engines.bundle import DEMO, open_bundle
from engines.clip import Clip
from engines.engine import Inference
from engines.errors import OverloadedError
from engines.manifest import Precision
from server.admission import Admission
from server.batcher import Batcher
from server.deployment import Deployment
from server.http_workers.engine_link import EngineLink
from server.http_workers.messages import Answer, Deploy, Done, Message, Submit
from server.http_workers.remote_engine import RemoteBatcher, RemoteEngine
from server.http_workers.segment import GRANULE_BYTES, Segment
from server.http_workers.slots import Slots
from server.http_workers.worker_clips import WorkerClips
from server.ledger import Figure, SharedLedger
from server.metrics import Metrics
from server.service_rate import ServiceRate

GRANULES = 32
PROCESSES = 3


class Places(RuleBasedStateMachine):
    """Several processes allocate, keep views of parts, let go and die, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.segment = Segment.created(GRANULES * GRANULE_BYTES)
        self.slots = {owner: self._mapped(owner) for owner in range(1, PROCESSES + 1)}
        self.held: list[tuple[int, int, np.ndarray]] = []
        self.number = 0

    def _mapped(self, owner: int) -> Slots:
        """As a process that got the descriptor maps it: at another address."""
        return Slots(Segment(self.segment.fd), owner)

    @rule(owner=st.integers(1, PROCESSES), count=st.integers(1, GRANULES // 3 * GRANULE_BYTES))
    def allocate(self, owner: int, count: int) -> None:
        place = self.slots[owner].allocate(count)
        if place is None:
            return
        assert place.shape == (count,)
        self.number = (self.number + 1) % 251
        place[:] = self.number
        self.held.append((owner, self.number, place))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def keep_only_a_view(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.held) - 1))
        owner, number, place = self.held[index]
        self.held[index] = (owner, number, place.reshape(1, -1)[:, len(place) // 2 :].reshape(-1))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        del self.held[data.draw(st.integers(0, len(self.held) - 1))]

    @rule(owner=st.integers(1, PROCESSES))
    def die(self, owner: int) -> None:
        self.held = [held for held in self.held if held[0] != owner]
        self.segment.forget(owner)
        assert not (self.segment.owners == owner).any()

    @invariant()
    def nobody_writes_into_anothers_place(self) -> None:
        for _, number, place in self.held:
            assert (place == number).all()

    def teardown(self) -> None:
        self.held.clear()
        assert not self.segment.owners.any()
        assert self.slots[1].allocate(GRANULES * GRANULE_BYTES) is not None


Places.TestCase.settings = settings(max_examples=15, stateful_step_count=40, deadline=None)
TestPlaces = Places.TestCase


def _write_and_check(fd: int, owner: int, failures: multiprocessing.SimpleQueue[str]) -> None:
    slots = Slots(Segment(fd), owner)
    rng = np.random.default_rng(owner)
    for _ in range(200):
        place = slots.allocate(int(rng.integers(1, 4 * GRANULE_BYTES)))
        if place is not None:
            place[:] = owner
            if (place != owner).any():
                failures.put(f"another wrote into a place of {owner}")
    failures.put("")


def test_real_processes_do_not_meet() -> None:
    segment = Segment.created(8 * GRANULE_BYTES)
    context = multiprocessing.get_context("fork")
    failures = context.SimpleQueue()
    processes = [context.Process(target=_write_and_check, args=(segment.fd, owner, failures)) for owner in (1, 2)]
    for process in processes:
        process.start()
    assert [failures.get() for _ in processes] == ["", ""]
    for process in processes:
        process.join()
    assert not segment.owners.any()


@pytest.mark.parametrize("frames_bytes", [1, GRANULE_BYTES, 10**6, 576 * 2**20, 2**36])
def test_there_is_room_for_what_was_asked(frames_bytes: int) -> None:
    segment = Segment.created(frames_bytes)
    assert 0 <= len(segment.frames) - frames_bytes < GRANULE_BYTES
    assert len(segment.owners) * GRANULE_BYTES == len(segment.frames)
    with pytest.raises(ValueError, match="not in the segment"):
        segment.view(len(segment.frames) - 10, 11, lambda: None)
    assert segment.offset_of(segment.view(0, 1, lambda: None)) == 0
    assert segment.offset_of(np.zeros(10, np.uint8)) is None


def test_bounds_are_those_of_all_together() -> None:
    segment = Segment.created(1)
    rate = ServiceRate(segment.rate)
    first, second = (
        Admission(places=2, max_bytes=100, rate=rate, ledger=SharedLedger(segment.figures, owner)) for owner in (1, 2)
    )
    with first.place(), second.place(), first.holding() as holding:
        assert first.clips == second.clips == 2
        for admission in (first, second):
            with pytest.raises(OverloadedError, match="2 clips"), admission.place():
                pass
        holding.add(60)
        with pytest.raises(OverloadedError, match="60 of 100 bytes"), second.holding() as other:
            other.add(41)
        assert second.held_bytes == 60
        segment.rate[0] = 5.0
        with pytest.raises(OverloadedError) as refused:
            second.check_place()
        assert refused.value.retry_after_s == 10
    assert not segment.figures.any()


def test_what_a_dead_process_held_is_free() -> None:
    segment = Segment.created(4 * GRANULE_BYTES)
    dead = SharedLedger(segment.figures, 1)
    dead[Figure.CLIPS], dead[Figure.BYTES] = 3, 1000
    alive = Slots(segment, 2).allocate(1)
    place = Slots(segment, 1).allocate(3 * GRANULE_BYTES)
    assert Slots(segment, 2).allocate(1) is None
    segment.forget(1)
    assert dead.total(Figure.BYTES) == dead.total(Figure.CLIPS) == 0
    assert segment.owners.tolist() == [2, 0, 0, 0]
    del alive, place


async def test_half_is_left_for_complete_clips_and_when_that_is_full_it_is_503() -> None:
    segment = Segment.created(4 * GRANULE_BYTES)
    slots, rate, link = Slots(segment, 1), ServiceRate(segment.rate), EngineLink()
    engine = RemoteEngine(Deploy(1, open_bundle(DEMO).manifest, "cpu", "fp32"), slots)
    batcher = RemoteBatcher(1, segment, slots, Admission(1, 1, rate), link)
    clips = [engine.allocate(32, 32) for _ in range(5)]
    assert [segment.offset_of(clip) for clip in clips] == [0, GRANULE_BYTES, None, None, None]
    clips[2][:] = 7
    classified = [asyncio.create_task(batcher.classify(Clip(clip, "RGB"), 1e9)) for clip in clips[2:4]]
    async with asyncio.timeout(30):
        while not segment.owners.all():
            await asyncio.sleep(0)
    assert (segment.frames[2 * GRANULE_BYTES : 2 * GRANULE_BYTES + clips[2].nbytes] == 7).any()
    with pytest.raises(OverloadedError, match="no place for a clip of 49152 bytes") as refused:
        await batcher.classify(Clip(clips[4], "RGB"), 1e9)
    assert refused.value.retry_after_s == 1
    for task in classified:
        task.cancel()


class _Held:
    """An engine that keeps every batch until it is let go."""

    def __init__(self) -> None:
        self.manifest = msgspec.structs.replace(open_bundle(DEMO).manifest, max_batch=1)
        self.device_name, self.lanes = "held", 1
        self.precision: Precision = "fp32"
        self.entered = threading.Semaphore(0)
        self.free = threading.Event()

    def allocate(self, height: int, width: int) -> np.ndarray:
        return np.zeros((1, height, width, 3), np.uint8)

    def infer(self, clips: Sequence[Clip]) -> Inference:
        self.entered.release()
        self.free.wait()
        probabilities = np.zeros((len(clips), 2), np.float32)
        probabilities[:, clips[0].frames.flat[0] % 2] = 1
        return Inference(probabilities, 0, 0)

    def close(self) -> None:
        pass


async def test_a_clip_keeps_its_place_until_the_engine_has_read_it() -> None:
    segment, engine, sent = Segment.created(4 * GRANULE_BYTES), _Held(), list[Message]()
    batcher = Batcher([engine], 60, ServiceRate(), Metrics(["healthy"]))
    batcher.start(lambda error: pytest.fail(str(error)))
    deployment = Deployment(engine, batcher)
    clips = WorkerClips(segment, sent.append)
    segment.frames[0], segment.frames[GRANULE_BYTES] = 1, 1
    clips.submit(Submit(7, 1, 0, (1, 2, 2, 3), "RGB", 1e9, "normal"), deployment)
    await asyncio.to_thread(engine.entered.acquire)
    clips.submit(Submit(8, 1, GRANULE_BYTES, (1, 2, 2, 3), "RGB", 1e9, "normal"), deployment)
    clips.submit(Submit(9, 1, 2 * GRANULE_BYTES, (1, 2, 2, 3), "RGB", 1e9, "normal"), deployment)
    clips.cancel(7)
    clips.cancel(9)
    async with asyncio.timeout(30):
        while Done(9) not in sent:
            await asyncio.sleep(0)
    assert sent == [Done(9)], "the engine still reads the one and waits for the other"
    engine.free.set()
    await clips.until_nobody_looks()
    assert {type(message) for message in sent} == {Answer, Done}
    assert sorted(message.clip for message in sent if isinstance(message, Done)) == [7, 8, 9]
    assert [message.clip for message in sent if isinstance(message, Answer)] == [8]
    assert await batcher.stop(60)
