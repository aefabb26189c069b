"""Models on one device take turns: one network at a time, each with a share of the device by its weight."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.clip import Clip
from engines.engine import DeviceShare, Engine, Inference
from engines.errors import MemoryShortError
from engines.options import MIB, EngineOptions
from engines.storage.bundle import open_bundle
from server.batching.batcher import Batcher
from server.batching.device_turns import Devices, ModelShares
from server.config.model_sources import ModelSource
from server.config.settings import Settings
from server.limits.admission import Admission
from server.limits.throughput import Throughput
from server.serving.loader import Loader
from server.serving.service import Service, State
from server.telemetry.metrics import Metrics
from tests.live_server import LiveServer, serving
from tests.percentile import percentile
from tests.server.demo_bundles import demo_copy
from tests.server.echo import FAR_S, Echo, no_loss, small_clip
from tests.server.peers import clients, metrics, send
from tests.server.requests import Sent, octet_request

MAX_BATCH = 4
WEIGHTS = {"light": 1, "usual": 2, "heavy": 4}


class _Device:
    """A device on which the networks of all its engines are counted in the order of their begins."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, float]] = []
        self.running = self.most_running = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def busy(self, model: str, ms: float) -> object:
        with self._lock:
            self.batches.append((model, ms))
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        yield
        with self._lock:
            self.running -= 1

    def shares(self, model: str, batches: int) -> dict[str, float]:
        """The share of each model in the device's time until ``model`` has had that many batches."""
        total: dict[str, float] = {}
        seen = 0
        for name, ms in self.batches:
            total[name] = total.get(name, 0.0) + ms
            seen += name == model
            if seen == batches:
                break
        return {name: ms / sum(total.values()) for name, ms in total.items()}


class _Metered(Echo):
    """Answers at once, and says that its network took ``ms`` for each clip."""

    def __init__(self, model: str, ms: float, device: _Device, lanes: int = 1) -> None:
        super().__init__(MAX_BATCH, lanes)
        self.share = DeviceShare("a device", 0, lambda: None)
        self._model, self._ms, self._device = model, ms, device

    def infer(self, clips: Sequence[Clip]) -> Inference:
        ms = self._ms * len(clips)
        with self._device.busy(self._model, ms):
            inference = super().infer(clips)
        return Inference(probabilities=inference.probabilities, preprocess_ms=0, network_ms=ms)


async def _served(weights: Sequence[float], ms: Sequence[float], clips: int) -> _Device:
    """Every model has ``clips`` clips waiting from the beginning, until the first has none."""
    device, devices = _Device(), Devices()
    batchers = [
        Batcher(
            [_Metered(str(index), one_ms, device)],
            60,
            Throughput(),
            Metrics(["healthy"]).of_model("a"),
            shares=ModelShares(devices, weight),
        )
        for index, (weight, one_ms) in enumerate(zip(weights, ms, strict=True))
    ]
    asked = [
        [asyncio.create_task(batcher.classify(small_clip(0), FAR_S)) for _ in range(clips)] for batcher in batchers
    ]
    await asyncio.sleep(0)
    for batcher in batchers:
        batcher.start(no_loss)
    await asyncio.gather(*(task for tasks in asked for task in tasks))
    for batcher in batchers:
        await batcher.stop(60)
    return device


@given(
    weights=st.lists(st.sampled_from([1.0, 1.5, 2.0, 3.0]), min_size=3, max_size=3),
    ms=st.lists(st.sampled_from([5.0, 10.0, 15.0]), min_size=3, max_size=3),
)
@settings(max_examples=8, deadline=None)
def test_shares_of_the_devices_time_follow_the_weights_whatever_the_batches_take(
    weights: list[float], ms: list[float]
) -> None:
    clips = 160
    device = asyncio.run(_served(weights, ms, clips))
    assert device.most_running == 1
    # All have clips waiting until the first has had all of its own.
    ends = {name: max(at for at, (one, _) in enumerate(device.batches) if one == name) for name in ("0", "1", "2")}
    first = min(ends, key=lambda name: ends[name])
    shares = device.shares(first, clips // MAX_BATCH)
    for index, weight in enumerate(weights):
        assert shares[str(index)] == pytest.approx(weight / sum(weights), rel=0.15)


async def test_a_model_without_clips_takes_nothing_and_gets_its_turn_at_once() -> None:
    device, devices = _Device(), Devices()
    busy, idle = (
        Batcher(
            [_Metered(name, 10, device)],
            60,
            Throughput(),
            Metrics(["healthy"]).of_model("a"),
            shares=ModelShares(devices, 1),
        )
        for name in ("busy", "idle")
    )
    for batcher in (busy, idle):
        batcher.start(no_loss)
    await asyncio.gather(*(busy.classify(small_clip(0), FAR_S) for _ in range(80)))
    assert {name for name, _ in device.batches} == {"busy"}
    waiting = [asyncio.create_task(busy.classify(small_clip(0), FAR_S)) for _ in range(80)]
    # It was idle for 200 ms of the device's time, for which it gets no credit: they take turns from now on.
    waiting += [asyncio.create_task(idle.classify(small_clip(0), FAR_S)) for _ in range(40)]
    await asyncio.gather(*waiting)
    after = [name for name, _ in device.batches[20:]]
    assert after.index("idle") <= 1
    assert 8 <= after[:20].count("idle") <= 12
    for batcher in (busy, idle):
        await batcher.stop(60)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models")
    for name in WEIGHTS:
        demo_copy(directory / name, name)
    return directory


@contextlib.asynccontextmanager
async def _asking(session: aiohttp.ClientSession, model: str, count: int, times_ms: list[float]) -> AsyncIterator[None]:
    """``count`` clients of ``model`` that send one clip after the other while the block runs."""
    ended = False
    sent: Sent = octet_request(np.zeros((16, 24, 24, 3), np.uint8), model=model)

    async def ask() -> None:
        while not ended:
            answer = await send(session, sent)
            assert answer.status == 200
            times_ms.append(answer.body["timings_ms"]["total"])

    tasks = [asyncio.create_task(ask()) for _ in range(count)]
    try:
        yield
    finally:
        ended = True
        await asyncio.gather(*tasks)


def _stand_in(bundles: Path, *flags: str, pace: str) -> contextlib.AbstractContextManager[LiveServer]:
    environment = {"STAND_IN": pace, "STAND_IN_DEVICE": bundles.parent.name}
    return serving(bundles, *flags, module="tests.latency.stand_in", environment=environment)


async def test_three_models_on_a_stand_in_gpu_get_shares_by_weight_at_overload(bundles: Path) -> None:
    weights = ",".join(f"{name}={weight}" for name, weight in WEIGHTS.items())
    with _stand_in(bundles, "--model-weights", weights, "--canary-s", "off", pace="gpu") as server:
        async with clients(server) as session, contextlib.AsyncExitStack() as load:
            for name in WEIGHTS:
                await load.enter_async_context(_asking(session, name, 24, []))
            before = await _clips_after(session, dict.fromkeys(WEIGHTS, 0.0), batches=14)
            after = await _clips_after(session, before, batches=140)
        assert await asyncio.to_thread(server.stop) == 0
    grown = {name: after[name] - before[name] for name in WEIGHTS}
    for name, weight in WEIGHTS.items():
        assert grown[name] / sum(grown.values()) == pytest.approx(weight / sum(WEIGHTS.values()), rel=0.15), grown


async def _clips_after(session: aiohttp.ClientSession, before: dict[str, float], batches: int) -> dict[str, float]:
    """The clips of each model when all of them together had so many batches more than ``before``."""
    async with asyncio.timeout(120):
        while sum((now := await _clips(session)).values()) - sum(before.values()) < batches * 8:
            await asyncio.sleep(0.05)
    return now


async def _clips(session: aiohttp.ClientSession) -> dict[str, float]:
    counted = await metrics(session, sums=False)
    return {name: counted[f'vjepa_batch_clips_sum{{model="{name}"}}'] for name in WEIGHTS}


@pytest.mark.alone
async def test_a_swap_of_one_model_keeps_the_answers_and_the_times_of_another(
    bundles: Path, record_property: Callable[[str, object], None]
) -> None:
    before, during, others = [], [], []  # type: ignore[var-annotated]
    with _stand_in(bundles, "--bundle-poll-s", "1", pace="gpu") as server:
        async with clients(server) as session, _asking(session, "usual", 16, others):
            async with _asking(session, "heavy", 16, before):
                await asyncio.sleep(2)
            async with _asking(session, "heavy", 16, during):
                await asyncio.to_thread(demo_copy, bundles / "usual", "swapped")
                await asyncio.to_thread(server.wait_for, "engine swapped")
                await asyncio.sleep(1)
        assert await asyncio.to_thread(server.stop) == 0
    ratio = percentile(sorted(during), 99) / percentile(sorted(before), 99)
    record_property("p99_ratio", round(ratio, 2))
    if ratio > 1.3:
        warnings.warn(f"p99 during the swap of another model is {ratio:.2f} of that before", stacklevel=1)


class _Sized(Echo):
    """An engine that takes as many MiB of a device as its model's name says, if ``room`` has them."""

    compiles_each_batch = False

    def __init__(self, path: Path, room: dict[str, int]) -> None:
        super().__init__(1)
        self._mib, self._room = {"light": 1200, "usual": 3100, "heavy": 900}[path.name], room
        if self._mib > room["mib"]:
            raise MemoryShortError(f"cuda:0 is out of memory: tried to allocate {self._mib} MiB")
        room["mib"] -= self._mib
        self.share = DeviceShare("cuda:0", self._mib, lambda: None)
        self.manifest = open_bundle(path).manifest

    def close(self) -> None:
        self._room["mib"] += self._mib


async def test_models_that_do_not_fit_together_are_told_in_one_line_and_leave_nothing_open(bundles: Path) -> None:
    room = {"mib": 5000}

    def load(path: Path, options: EngineOptions) -> Engine:
        # The models share what all requests may hold.
        assert options.page_locked_bytes == 100 * MIB
        return _Sized(path, room)

    sources = tuple(ModelSource(name, bundles / name) for name in WEIGHTS)
    settings = Settings(models=sources, max_inflight_bytes=300 * MIB, max_clip_bytes=50 * MIB, canary_s=0)
    service = Service(settings, Metrics(one.value for one in State), Admission(4, settings.max_inflight_bytes))
    with pytest.raises(MemoryShortError) as refused:
        await Loader(service, load).start()
    await service.close()
    for told in ("light takes 1200 MiB", "usual takes 3100 MiB", "heavy finds no room", "help:"):
        assert told in str(refused.value)
    assert "\n" not in str(refused.value)
    assert (room, service.state) == ({"mib": 5000}, State.LOADING)
