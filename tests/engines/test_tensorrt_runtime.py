"""How plans are loaded and run, on a fake TensorRT that refuses and spoils what the real one does."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.clip import Clip
from engines.engine import Engine
from engines.errors import BundleDamagedError, EngineError
from engines.options import MIB, EngineOptions
from engines.runtimes.registry import load_engine
from tests.fakes.cuda import FakeCuda
from tests.fakes.plan_bundle import CLIP_SHAPE, FEATURES, MAX_BATCH, write_plan_bundle

OPTIONS = EngineOptions(max_clip_bytes=MIB, page_locked_bytes=4 * MIB)


def _clips(engine: Engine, count: int, size: tuple[int, int] = (40, 48)) -> list[Clip]:
    clips = []
    for seed in range(count):
        frames = engine.allocate(*size)
        frames[:] = np.random.default_rng(seed).integers(0, 256, frames.shape, np.uint8)
        clips.append(Clip(frames, "BGR"))
    return clips


def _answers(engine: Engine, batches: Sequence[int]) -> None:
    """Each batch size, in any order and several times, gives each clip the answer that it gets alone."""
    clips = _clips(engine, MAX_BATCH)
    alone = np.concatenate([engine.infer([clip]).probabilities for clip in clips])
    assert np.ptp(alone, axis=0).max() > 0.01, "clips that all look alike cannot show a mistake"
    for batch in batches:
        np.testing.assert_allclose(engine.infer(clips[:batch]).probabilities, alone[:batch], atol=1e-3)


def test_answers_stay_right_when_all_batch_sizes_are_captured(tmp_path: Path, tensorrt: Any, cuda: FakeCuda) -> None:
    engine = load_engine(write_plan_bundle(tmp_path / "plan", "tensorrt"), OPTIONS)
    _answers(engine, [1, 2, 3, 4, 4, 3, 2, 1] * 6)
    assert len(cuda.captures) > MAX_BATCH
    contexts = [made for made in (reference() for reference in tensorrt.contexts) if made is not None]
    # For each lane and batch size one, all in one block of memory, as networks take turns.
    assert len(contexts) == engine.lanes * MAX_BATCH
    assert {len(context.shapes) for context in contexts} == {1}
    assert len({context.memory for context in contexts}) == 1
    engine.close()


def test_plan_with_features_gives_each_clip_its_own(tmp_path: Path, tensorrt: Any) -> None:
    features = {"name": "features", "dtype": "FLOAT", "shape": [-1, FEATURES]}
    with contextlib.closing(
        load_engine(write_plan_bundle(tmp_path / "plan", "tensorrt", {"features": features}), OPTIONS)
    ) as engine:
        clips = _clips(engine, MAX_BATCH)
        alone = np.concatenate([engine.infer([clip]).features for clip in clips])
        assert alone.shape == (MAX_BATCH, FEATURES)
        assert np.ptp(alone, axis=0).min() > 0.01
        for batch in [1, 2, 3, 4] * 4:
            np.testing.assert_allclose(engine.infer(clips[:batch]).features, alone[:batch], atol=1e-3)


def test_networks_side_by_side_have_their_own_memory(tmp_path: Path, tensorrt: Any) -> None:
    options = EngineOptions(max_clip_bytes=MIB, page_locked_bytes=4 * MIB, side_by_side=True)
    engine = load_engine(write_plan_bundle(tmp_path / "plan", "tensorrt"), options)
    _answers(engine, [1, 2, 1, 2] * 4)
    assert len({made.memory for made in (reference() for reference in tensorrt.contexts) if made is not None}) == 2
    engine.close()


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        (
            {"output": {"name": "output0", "dtype": "FLOAT", "shape": [-1, 7]}},
            r"its output is FLOAT \[N, 7\].*\[N, 5\]",
        ),
        ({"output": {"name": "output0", "dtype": "HALF", "shape": [-1, 5]}}, r"its output is HALF .*says FLOAT"),
        ({"input": {"name": "pixels", "dtype": "FLOAT", "shape": [-1, *CLIP_SHAPE]}}, "its input is FLOAT .*says HALF"),
        ({"input": {"name": "pixels", "dtype": "HALF", "shape": [-1, 4, 3, 64, 64]}}, "its input is .*64, 64.*32, 32"),
        ({"output": None}, "its output is missing"),
        ({"profiles": [[1, 1, 1], [2, 2, 2]]}, "takes no batch of 3.*1 to 4"),
    ],
)
def test_plan_that_does_not_fit_its_manifest_is_refused(
    tmp_path: Path, tensorrt: Any, plan: dict[str, Any], why: str
) -> None:
    with pytest.raises(BundleDamagedError, match=why) as raised:
        load_engine(write_plan_bundle(tmp_path / "plan", "tensorrt", plan), OPTIONS)
    assert "\n" not in raised.value.message
    assert raised.value.help


@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx"])
def test_host_code_of_a_plan_runs_only_if_its_bundle_says_so(
    tmp_path: Path, tensorrt: Any, rtx: Any, target: str
) -> None:
    host_code = {"host_code": True}
    load_engine(write_plan_bundle(tmp_path / "told", target, host_code, version_compatible=True), OPTIONS).close()
    with pytest.raises(EngineError, match="host code"):
        load_engine(write_plan_bundle(tmp_path / "untold", target, host_code), OPTIONS)


def test_kernels_of_rtx_are_compiled_once_and_kept_beside_the_bundle(tmp_path: Path, rtx: Any) -> None:
    bundle = write_plan_bundle(tmp_path / "plan", "tensorrt-rtx")
    engine = load_engine(bundle, OPTIONS)
    _answers(engine, [1, 2, 3, 4] * 6)
    engine.close()
    # Two lanes have a context each for every size, but a kernel is compiled once.
    assert sorted(batch for _, batch in rtx.compiled) == [1, 2, 3, 4]
    rtx.compiled.clear()
    again = load_engine(bundle, OPTIONS)
    _answers(again, [1, 2, 3, 4] * 6)
    again.close()
    assert rtx.compiled == []


def test_kernels_go_into_the_users_cache_when_the_bundle_is_read_only(
    tmp_path: Path, rtx: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle = write_plan_bundle(tmp_path / "plan", "tensorrt-rtx")
    write = Path.write_bytes

    def write_elsewhere(path: Path, data: bytes) -> int:
        if path.parent == bundle.path:
            raise PermissionError(13, "Permission denied")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_elsewhere)  # root may write anywhere
    for compiled in (True, False):
        rtx.compiled.clear()
        load_engine(bundle, OPTIONS).close()
        assert bool(rtx.compiled) == compiled
    assert [path.parent.name for path in (tmp_path / "cache").rglob("*kernels*")] == ["vjepa2-server"]
    assert not caplog.records
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    load_engine(bundle, OPTIONS).close()
    (warning,) = caplog.records
    assert "each start compiles them" in warning.message


@pytest.mark.parametrize("content", [b"damaged", b'["1.2.0", [1, 2, 3, 4]]'])
def test_damaged_or_old_kernels_are_compiled_again(tmp_path: Path, rtx: Any, content: bytes) -> None:
    bundle = write_plan_bundle(tmp_path / "plan", "tensorrt-rtx")
    load_engine(bundle, OPTIONS).close()
    (kept,) = bundle.path.glob(".kernels*")
    right = kept.read_bytes()
    kept.write_bytes(content)
    rtx.compiled.clear()
    load_engine(bundle, OPTIONS).close()
    assert rtx.compiled
    assert kept.read_bytes() == right


def test_rtx_plan_that_cannot_be_captured_is_launched_plainly(
    tmp_path: Path, rtx: Any, cuda: FakeCuda, caplog: pytest.LogCaptureFixture
) -> None:
    engine = load_engine(write_plan_bundle(tmp_path / "plan", "tensorrt-rtx", {"capturable": False}), OPTIONS)
    with caplog.at_level(logging.WARNING):
        _answers(engine, [1, 2, 3, 4] * 4)
    (warning,) = [record for record in caplog.records if "no CUDA graphs" in record.message]
    assert "says that batches of 1 cannot be captured" in warning.why
    engine.close()


def test_plan_file_is_mapped_and_not_read(tmp_path: Path, tensorrt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_plan_bundle(tmp_path / "plan", "tensorrt")
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} is read whole"))
    load_engine(bundle, OPTIONS).close()


def test_release_of_rtx_without_the_needed_names_is_refused(
    tmp_path: Path, rtx: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtx, "__version__", "1.1.0")
    with pytest.raises(EngineError, match=r"1\.1\.0 is not supported") as raised:
        load_engine(write_plan_bundle(tmp_path / "plan", "tensorrt-rtx"), OPTIONS)
    assert raised.value.help == "install 1.2 to 1.x"
