"""Lanes on a fake GPU: who may capture when, what happens when a capture fails, and what is reserved at the start."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engines.clip import Clip
from engines.device.capture_gate import CaptureGate
from engines.device.torch_device import torch_device
from engines.engine import Engine
from engines.options import MIB, EngineOptions
from engines.preprocessing.resampling import frame_axes
from engines.runtimes.registry import load_engine
from engines.runtimes.torch_attention import KERNELS, use_attention, use_fastest_attention
from engines.storage.bundle import Bundle, open_bundle
from tests.fakes.cuda import WORKSPACE_BYTES, FakeCuda
from tests.fakes.plan_bundle import write_plan_bundle

OPTIONS = EngineOptions(max_clip_bytes=MIB, page_locked_bytes=4 * MIB)
# The longest that a test waits for what must not happen: a thread that passes a gate that is shut.
_NOT_WITHIN_S = 0.3


@pytest.fixture
def bundle(tmp_path: Path, tensorrt: Any) -> Bundle:
    return write_plan_bundle(tmp_path / "plan", "tensorrt")


def _clip(engine: Engine, size: tuple[int, int] = (40, 48), seed: int = 0) -> Clip:
    frames = engine.allocate(*size)
    frames[:] = np.random.default_rng(seed).integers(0, 256, frames.shape, np.uint8)
    return Clip(frames, "BGR")


def test_other_lanes_submit_nothing_while_one_captures(bundle: Bundle, cuda: FakeCuda) -> None:
    engine = load_engine(bundle, OPTIONS)
    clips = [_clip(engine, (40, 48 + 8 * number), number) for number in range(3)]
    expected = [engine.infer([clip]).probabilities for clip in clips]
    with ThreadPoolExecutor(1) as other:
        begun: list[Any] = []

        def disturb() -> None:
            """The other lane gets a batch in the middle of a capture, which must not reach the device."""
            if not begun:
                begun.append(other.submit(engine.infer, [clips[2]]))
                threading.Event().wait(_NOT_WITHIN_S)
                assert not begun[0].done()

        cuda.on_capture = disturb
        for _ in range(3):
            for clip, answer in zip(clips, expected, strict=True):
                np.testing.assert_allclose(engine.infer([clip]).probabilities, answer, atol=1e-3)
        np.testing.assert_allclose(begun[0].result().probabilities, expected[2], atol=1e-3)
    engine.close()


def test_engine_is_loaded_and_closed_while_another_one_captures(bundle: Bundle, tmp_path: Path, cuda: FakeCuda) -> None:
    """As in a reload. Captures wait for no load, and no load waits for the whole device."""
    engine, stop = load_engine(bundle, OPTIONS), threading.Event()
    cuda.on_capture = lambda: stop.wait(0.01) and None

    def serve() -> int:
        sizes = 0
        while not stop.is_set():
            clip = _clip(engine, (40, 40 + sizes % 60))
            for _ in range(4):
                engine.infer([clip])
            sizes += 1
        return sizes

    with ThreadPoolExecutor(engine.lanes) as threads:
        serving = [threads.submit(serve) for _ in range(engine.lanes)]
        fresh = write_plan_bundle(tmp_path / "fresh", "tensorrt")
        for _ in range(3):
            load_engine(fresh, OPTIONS).close()
        stop.set()
        assert all(served.result() for served in serving)
    assert cuda.device_wide_waits == 0
    engine.close()


@pytest.mark.parametrize("kind", ["preprocessing", "network"])
def test_failed_capture_is_recovered_from(
    bundle: Bundle, cuda: FakeCuda, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """The other kind of work is still captured, the answers are right, and the engine can be closed and replaced."""
    engine = load_engine(bundle, OPTIONS)
    clip = _clip(engine)
    expected = engine.infer([clip]).probabilities
    captures = iter(("preprocessing", "network"))

    def fail_one() -> None:
        failing = next(captures, None) == kind
        cuda.fail_capture = "CUDA error: operation failed due to a previous error during capture" if failing else None

    cuda.on_capture = fail_one
    with caplog.at_level(logging.WARNING):
        for _ in range(6 * engine.lanes):
            np.testing.assert_allclose(engine.infer([clip]).probabilities, expected, atol=1e-3)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [warning.of for warning in warnings] == [kind]
    assert "previous error" in warnings[0].why
    assert not cuda.recording, "the allocator still records into the pool of the capture that failed"
    caplog.clear()
    engine.close()
    again = load_engine(bundle, OPTIONS)
    np.testing.assert_allclose(again.infer([_clip(again)]).probabilities, expected, atol=1e-3)
    again.close()
    assert not caplog.records


def test_error_of_the_captured_work_is_the_one_reported(
    bundle: Bundle, cuda: FakeCuda, tensorrt: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A capture whose work fails also fails at its end; only the first error says why."""
    engine = load_engine(bundle, OPTIONS)
    clip = _clip(engine)
    execute = tensorrt.ExecutionContext.execute_async_v3

    def refuse(context: Any, stream: int) -> bool:
        if cuda.capturing_here:
            cuda.capturing_here.broken = "failed"
            return bool(context._error("enqueueV3: a layer needs to allocate"))
        return bool(execute(context, stream))

    monkeypatch.setattr(tensorrt.ExecutionContext, "execute_async_v3", refuse)
    for _ in range(2 * engine.lanes):
        engine.infer([clip])
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "a layer needs to allocate" in warning.why
    engine.close()


def test_engine_closes_although_a_capture_was_left_behind(
    bundle: Bundle, cuda: FakeCuda, caplog: pytest.LogCaptureFixture
) -> None:
    engine = load_engine(bundle, OPTIONS)
    cuda.recording.add(99)  # of other code in the process, which this engine cannot end
    engine.close()
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "INTERNAL ASSERT" in warning.why


def test_graph_pools_are_reserved_at_the_start(bundle: Bundle, cuda: FakeCuda) -> None:
    """The first clip of a large size takes no device memory that was not counted."""
    engine = load_engine(bundle, OPTIONS)
    reserved = sorted(cuda.reserved_bytes.values())
    assert reserved == [WORKSPACE_BYTES] * engine.lanes
    clip = _clip(engine, (200, 300))
    for _ in range(3 * engine.lanes):
        engine.infer([clip])
    preparation = [cuda.reserved_bytes[capture.pool] for capture in cuda.captures[: engine.lanes]]
    assert len(cuda.captures) > engine.lanes
    assert preparation == reserved
    engine.close()


def test_networks_of_engines_that_serve_on_one_device_follow_each_other(bundle: Bundle, cuda: FakeCuda) -> None:
    """Those of an engine that warms up do not: its first runs may take long."""
    options = EngineOptions(max_clip_bytes=MIB, page_locked_bytes=4 * MIB, lanes=1)
    one, other = load_engine(bundle, options), load_engine(bundle, options)
    cuda.followed.clear()
    for engine in (one, other, one, other):
        engine.infer([_clip(engine)])
    apart = list(cuda.followed)
    assert all(stream == before for stream, before in apart)
    for engine in (one, other):
        assert engine.share is not None
        assert engine.share.device == "cuda:0"
        engine.share.take_turns()
    cuda.followed.clear()
    for engine in (one, other, one, other):
        engine.infer([_clip(engine)])
    assert len(cuda.followed) >= 3
    assert all(stream != before for stream, before in cuda.followed[-3:])
    one.close()
    other.close()


def test_lanes_share_the_tables_of_a_frame_size(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[tuple[int, int]] = []

    def counted(height: int, width: int, preprocessing: Any, *, cropped: bool) -> Any:
        computed.append((height, width))
        return frame_axes(height, width, preprocessing, cropped=cropped)

    monkeypatch.setattr("engines.preprocessing.device.frame_axes", counted)
    engine = load_engine(bundle, OPTIONS)
    sizes = [(40, 48), (60, 44)]
    for size in sizes:
        clips = [_clip(engine, size) for _ in range(2 * engine.lanes)]
        with ThreadPoolExecutor(engine.lanes) as threads:
            list(threads.map(lambda clip: engine.infer([clip]), clips))
    assert engine.lanes > 1
    assert computed == sizes
    engine.close()


def test_captures_are_put_off_and_not_waited_for_during_a_load() -> None:
    gate = CaptureGate()
    loaded, tried = threading.Event(), threading.Event()

    def load() -> None:
        with gate.submitting(long=True):
            tried.wait()
        loaded.set()

    with ThreadPoolExecutor(1) as threads:
        loading = threads.submit(load)
        while True:
            with gate.submitting(), gate.capturing() as alone:
                if not alone:
                    break
        tried.set()
        loading.result()
    with gate.capturing() as alone:
        assert alone
        assert loaded.is_set()


def test_captures_of_two_lanes_do_not_wait_for_each_other_forever() -> None:
    gate, both = CaptureGate(), threading.Barrier(2)
    captured = []

    def lane(number: int) -> None:
        with gate.submitting():
            both.wait()
            with gate.capturing():
                captured.append(number)

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(lane, number) for number in range(2)]:
            done.result(timeout=30)
    assert sorted(captured) == [0, 1]


def test_attention_kernel_is_chosen_for_one_engine_only(
    odd_torch_bundle: Path, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's switches of kernels are for the process, and would change the engine in service during a swap."""
    operation = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    calls = []

    def flash(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None = None) -> torch.Tensor:
        calls.append(len(query))
        attended: torch.Tensor = operation(query, key, value, scale=scale)[0]
        return attended

    def unsupported(*tensors: torch.Tensor, scale: float | None = None) -> torch.Tensor:
        raise RuntimeError("No available kernel. Aborting execution.")

    monkeypatch.setitem(KERNELS, "flash", flash)
    monkeypatch.setitem(KERNELS, "cudnn", unsupported)
    monkeypatch.setitem(KERNELS, "efficient", unsupported)
    switches = _switches()
    bundle = open_bundle(odd_torch_bundle)
    one, other = (torch.export.load(bundle.file(".pt2")).module() for _ in range(2))
    pixels = torch.rand(2, *bundle.manifest.network_input.clip_shape)
    with torch.inference_mode():
        expected = other(pixels)
        assert use_fastest_attention(one, bundle.manifest.network_input, torch.device("cpu")) == "flash"
        calls.clear()
        torch.testing.assert_close(one(pixels), expected, atol=1e-5, rtol=0)
        assert calls
        calls.clear()
        other(pixels)
        assert not calls
        use_attention(one, None)
        one(pixels)
        assert not calls
    assert _switches() == switches


def test_torch_engines_switch_tf32_off(odd_torch_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NVIDIA's containers switch it on by an environment variable."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    try:
        load_engine(open_bundle(odd_torch_bundle), EngineOptions(device="cpu")).close()
        assert torch.get_float32_matmul_precision() == "highest"
        assert torch.backends.cudnn.allow_tf32 is False
    finally:
        torch.set_float32_matmul_precision(before)


def test_fake_gpu_is_the_default_device(cuda: FakeCuda) -> None:
    assert torch_device(None) == torch.device("cuda", 0)


def _switches() -> tuple[bool, ...]:
    backends = torch.backends.cuda
    return backends.flash_sdp_enabled(), backends.cudnn_sdp_enabled(), backends.mem_efficient_sdp_enabled()
