"""What has been run, and in which thread, before the first client comes."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from engines.clip import Clip
from engines.engine import Engine, Inference
from engines.errors import EngineError
from engines.options import EngineOptions
from engines.storage.bundle import DEMO, open_bundle
from server.batching.device_turns import Devices, ModelShares
from server.config.model_sources import source_of
from server.config.settings import Settings
from server.limits.throughput import Throughput
from server.serving.deployment import Deployment, LoadEngine, deploy, load_bundle
from server.telemetry.metrics import Metrics

MAX_BATCH, LANES = 4, 2


class Recorded:
    """Answers at once, and remembers the thread and the size of each batch; fails on batches of ``broken``."""

    def __init__(self, *, compiles: bool, broken: int = 0) -> None:
        self.compiles_each_batch, self.lanes, self._broken = compiles, LANES, broken
        self.runs: list[tuple[str, int]] = []
        self.closed = False
        self.share = None
        self.device_name, self.precision = "recorder", "fp32"
        self.manifest = msgspec.structs.replace(open_bundle(DEMO).manifest, max_batch=MAX_BATCH)

    def allocate(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        return np.zeros((2, height, width, 3), np.uint8)

    def infer(self, clips: Sequence[Clip]) -> Inference:
        self.runs.append((threading.current_thread().name, len(clips)))
        if len(clips) == self._broken:
            raise EngineError(f"no batches of {self._broken}")
        return Inference(probabilities=np.full((len(clips), 2), 0.5, np.float32), preprocess_ms=1, network_ms=1)

    def close(self) -> None:
        self.closed = True


async def _deployed(load: LoadEngine, bundle: Path = DEMO) -> Deployment:
    source = source_of(bundle)
    settings = Settings(models=(source,), max_inflight_bytes=8 * 2**20, max_clip_bytes=2**20)
    return await deploy(
        settings,
        source,
        load,
        Throughput(),
        Metrics(["healthy"]).of_model("a"),
        ModelShares(Devices(), 1),
        lambda deployment, error: None,
    )


async def test_every_batch_size_is_run_in_every_thread_of_the_engine(caplog: pytest.LogCaptureFixture) -> None:
    """CUDA's libraries prepare themselves for each thread, so other threads would not do."""
    engine = Recorded(compiles=True)
    with caplog.at_level(logging.INFO):
        deployment = await _deployed(lambda path, options: engine)
    threads = {thread for thread, _ in engine.runs}
    assert len(threads) == LANES
    assert set(engine.runs) == {(thread, batch) for thread in threads for batch in range(1, MAX_BATCH + 1)}
    progress = [record.sizes for record in caplog.records if record.message == "warming up"]
    assert progress == [f"{number} of {MAX_BATCH}" for number in range(1, MAX_BATCH + 1)]
    engine.runs.clear()
    clip = Clip(engine.allocate(8, 8), "BGR")
    await asyncio.gather(*(deployment.batcher.classify(clip, time.monotonic() + 60) for _ in range(16)))
    assert {thread for thread, _ in engine.runs} <= threads
    await deployment.close(5)


@pytest.mark.parametrize("compiles", [True, False])
async def test_slow_warm_up_leaves_sizes_out_only_where_nothing_is_compiled(
    monkeypatch: pytest.MonkeyPatch, compiles: bool
) -> None:
    monkeypatch.setattr("server.batching.warm_up._MAX_WARM_UP_S", -1)  # as if each batch took longer
    engine = Recorded(compiles=compiles)
    await (await _deployed(lambda path, options: engine)).close(5)
    assert {batch for _, batch in engine.runs} == ({1, 2, 3, 4} if compiles else {1, 4})


async def test_engines_are_closed_when_the_warm_up_fails() -> None:
    engine = Recorded(compiles=True, broken=3)
    with pytest.raises(EngineError, match="no batches of 3"):
        await _deployed(lambda path, options: engine)
    assert engine.closed


async def test_nothing_is_compiled_or_captured_for_the_network_in_service(tmp_path: Path, rtx: Any, cuda: Any) -> None:
    """On the fake GPU: each kernel of RTX and each graph of the network exists before ready."""
    from tests.fakes.plan_bundle import MAX_BATCH, write_plan_bundle

    engines: list[Engine] = []

    def load(path: Path, options: EngineOptions) -> Engine:
        engines.append(load_bundle(path, options))
        return engines[-1]

    deployment = await _deployed(load, write_plan_bundle(tmp_path / "plan", "tensorrt-rtx").path)
    assert sorted(batch for _, batch in rtx.compiled) == list(range(1, MAX_BATCH + 1))
    rtx.compiled.clear()
    captures = len(cuda.captures)
    clip = Clip(engines[0].allocate(240, 240), "BGR")  # a size that the warm-up knows
    for clips in (1, 2, 3, 4, 7, 8):
        jobs = (deployment.batcher.classify(clip, time.monotonic() + 60) for _ in range(clips))
        await asyncio.gather(*jobs)
    assert (rtx.compiled, len(cuda.captures)) == ([], captures)
    await deployment.close(5)
