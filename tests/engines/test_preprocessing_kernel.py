"""The Triton kernel, mostly interpreted on the CPU: its levels, its bytes, its launches, and when it is used."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from engines.clip import Clip, PixelFormat
from engines.engine import Engine
from engines.manifest import Preprocessing
from engines.options import MIB, EngineOptions
from engines.preprocessing.cpu import crop_clip
from engines.preprocessing.fused import FusedPreprocessor
from engines.preprocessing.resampling import resized_axes
from engines.runtimes.registry import load_engine
from engines.storage.bundle import Bundle
from tests.fakes.cuda import FakeCuda
from tests.fakes.plan_bundle import write_plan_bundle

triton = pytest.importorskip("triton", reason="Triton is not installed")

KERNEL = "engines.preprocessing.kernel"
golden_files = sorted((Path(__file__).parents[2].parent / "shared" / "golden").glob("preprocess_*.npz"))
CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")])


def _imported_anew(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setitem(sys.modules, KERNEL, None)
    del sys.modules[KERNEL]
    return importlib.import_module(KERNEL)


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The kernel's module, whose functions Triton interprets."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    return _imported_anew(monkeypatch)


def _use_tiles(monkeypatch: pytest.MonkeyPatch, tile: int, block: int) -> None:
    """Larger tiles and blocks, where theirs are not tested: the interpreter takes 20 ms for each block."""
    for name, size in (("HEIGHT", tile), ("WIDTH", tile), ("_ROWS", block), ("_COLUMNS", block)):
        monkeypatch.setattr(sys.modules[KERNEL], name, triton.language.constexpr(size))


def _plain(crop: int) -> Preprocessing:
    return Preprocessing(crop * 256 // 224, crop, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def _levels(frames: np.ndarray, crop: int, pixel_format: PixelFormat = "RGB", device: str = "cpu") -> np.ndarray:
    """The network's input without its normalisation, in 8-bit levels [T, crop, crop, 3]."""
    preprocess = FusedPreprocessor(_plain(crop), torch.device(device))
    out = torch.full((len(frames), 3, crop, crop), torch.nan, device=device)
    tables = preprocess.tables(*frames.shape[1:3])
    preprocess(torch.from_numpy(np.ascontiguousarray(frames)).to(device), pixel_format, out, tables)
    return (out.cpu().numpy() * 255).transpose(0, 2, 3, 1)


def _noise(height: int, width: int, count: int = 1) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (count, height, width, 3), np.uint8)


@pytest.mark.skipif(not golden_files, reason="no reference data beside this checkout")
@pytest.mark.parametrize("path", golden_files, ids=lambda path: path.stem)
def test_kernel_crop_is_the_reference_crop(
    path: Path, interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = np.load(path)
    frames, crop = golden["frames"][:1, ..., ::-1], golden["crop"].shape[1]
    _use_tiles(monkeypatch, 512 if crop > 256 else 256, min(1024, 1 << max(frames.shape[1:3]).bit_length()))
    assert np.abs(_levels(frames, crop, "BGR") - golden["crop"][:1]).max() <= 1e-3


# Sizes that end within a tile or a block, shrink much, grow much, or have a used part of one pixel.
@pytest.mark.parametrize(
    ("size", "crop"), [((67, 101), 40), ((120, 500), 16), ((9, 5), 33), ((1, 30), 16), ((16, 16), 14)]
)
def test_kernel_equals_the_resize_of_the_cpu(interpreted: ModuleType, size: tuple[int, int], crop: int) -> None:
    frames = _noise(*size) // 128 * 255
    assert np.abs(_levels(frames, crop) - crop_clip(frames, _plain(crop))).max() <= 1e-3


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(height=st.integers(1, 90), width=st.integers(1, 90), crop=st.sampled_from([7, 16, 20]))
def test_kernel_equals_the_resize_of_the_cpu_for_any_frame_size(
    interpreted: ModuleType, height: int, width: int, crop: int
) -> None:
    assume(max(height, width) <= 30 * min(height, width))
    frames = _noise(height, width)
    assert np.abs(_levels(frames, crop) - crop_clip(frames, _plain(crop))).max() <= 1e-3


@pytest.mark.parametrize("device", [CUDA])
@pytest.mark.parametrize("size", [(240, 240), (1080, 1920), (2160, 3840), (64, 700), (101, 67)])
def test_compiled_kernel_equals_the_resize_of_the_cpu(size: tuple[int, int], device: str) -> None:
    frames = _noise(*size, count=2)
    for crop in (256, 384):
        assert np.abs(_levels(frames, crop, "RGB", device) - crop_clip(frames, _plain(crop))).max() <= 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_kernel_normalises_in_the_type_of_the_network(interpreted: ModuleType, dtype: torch.dtype) -> None:
    frames = torch.empty((2, 10, 16, 3), dtype=torch.uint8)
    frames[..., 0], frames[..., 1], frames[..., 2] = 10, 120, 250
    preprocessing = Preprocessing(16, 14)
    out = torch.empty(2, 3, 14, 14, dtype=dtype)
    preprocess = FusedPreprocessor(preprocessing, torch.device("cpu"))
    preprocess(frames, "BGR", out, preprocess.tables(10, 16))
    levels = torch.tensor([250.0, 120.0, 10.0]) / 255
    expected = (levels - torch.tensor(preprocessing.mean)) / torch.tensor(preprocessing.std)
    torch.testing.assert_close(out.float(), expected.view(1, 3, 1, 1).expand(2, 3, 14, 14), atol=2e-3, rtol=0)


class _Traffic:
    """What each program of an interpreted kernel reads and writes: the same byte is counted once for each program."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from triton.runtime.interpreter import interpreter_builder

        self._builder = interpreter_builder
        self._touched: dict[tuple[Any, bool], set[int]] = {}
        for name, reads in (("create_masked_load", True), ("create_masked_store", False)):
            monkeypatch.setattr(interpreter_builder, name, self._counted(getattr(interpreter_builder, name), reads))

    def _counted(self, access: Callable[..., Any], reads: bool) -> Callable[..., Any]:
        mask_at = 1 if reads else 2

        def counted(pointers: Any, *rest: Any) -> Any:
            addresses = np.unique(pointers.data[rest[mask_at - 1].data].reshape(-1))
            places = self._touched.setdefault((self._builder.grid_idx, reads), set())
            width = pointers.dtype.element_ty.primitive_bitwidth // 8
            places.update((addresses[:, None] + np.arange(width, dtype=addresses.dtype)).reshape(-1).tolist())
            return access(pointers, *rest)

        return counted

    def count_bytes(self, *, reads: bool) -> int:
        return sum(len(places) for (_, read), places in self._touched.items() if read == reads)


# A quarter of 1080p and of 240 x 240, with a quarter of the crop: the scale is theirs, and so is what tiles overlap.
@pytest.mark.parametrize(("size", "crop"), [((270, 480), 64), ((60, 60), 64)])
def test_kernel_moves_little_more_than_the_least_bytes(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], crop: int
) -> None:
    traffic = _Traffic(monkeypatch)
    preprocess = FusedPreprocessor(_plain(crop), torch.device("cpu"))
    out = torch.empty(1, 3, crop, crop, dtype=torch.float16)
    preprocess(torch.from_numpy(_noise(*size)), "BGR", out, preprocess.tables(*size))
    used = [axis.weights.shape[1] for axis in resized_axes(*size, _plain(crop))]
    read, written = traffic.count_bytes(reads=True), traffic.count_bytes(reads=False)
    assert written == out.nbytes
    assert used[0] * used[1] * 3 <= read
    assert read + written <= 1.3 * (used[0] * used[1] * 3 + out.nbytes)


class _Operations(TorchDispatchMode):
    """Counts what torch would launch; the interpreter's own operations are left out."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


def test_clip_takes_one_launch(interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    launches, run = [], interpreted.crop_frames.run

    def counted(*args: Any, **options: Any) -> Any:
        launches.append(options["grid"])
        with _disable_current_modes():
            return run(*args, **options)

    monkeypatch.setattr(interpreted.crop_frames, "run", counted)
    preprocess = FusedPreprocessor(_plain(14), torch.device("cpu"))
    frames, out = torch.from_numpy(_noise(20, 16, count=4)), torch.empty(4, 3, 14, 14)
    tables = preprocess.tables(20, 16)
    with _Operations() as operations:
        preprocess(frames, "BGR", out, tables)
    assert launches == [(1, 1, 4)]
    assert operations.seen == []


def test_kernel_compiles_without_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The interpreter accepts what the compiler does not."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = _imported_anew(monkeypatch).crop_frames
    signature = dict.fromkeys(kernel.arg_names, "i32") | {"crop": "constexpr", "frames": "*u8", "out": "*fp16"}
    signature |= {"normal": "*fp32", "row_weights": "*i16", "column_weights": "*i16"}
    signature |= {"row_starts": "*i32", "column_starts": "*i32"}
    source = ASTSource(kernel, signature, constexprs={"crop": 256})
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"maxnreg": 128})
    # Four programs of 128 threads and 128 registers fill a multiprocessor's registers, and not its shared memory.
    assert 4 * compiled.metadata.shared <= 48 * 1024
    assert compiled.asm["cubin"]


@pytest.fixture
def bundle(tmp_path: Path, tensorrt: Any) -> Bundle:
    return write_plan_bundle(tmp_path / "plan", "tensorrt")


@pytest.fixture
def loaded(bundle: Bundle, cuda: FakeCuda, caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], Engine]]:
    """Loads the bundle on a fake GPU. The fake replays operations of torch alone, so preprocessing is not captured."""
    engines: list[Engine] = []

    def load() -> Engine:
        caplog.clear()
        with caplog.at_level(logging.INFO):
            engines.append(load_engine(bundle, EngineOptions(max_clip_bytes=MIB, graphs="network")))
        return engines[-1]

    yield load
    for engine in engines:
        engine.close()


def _answer(engine: Engine) -> np.ndarray:
    frames = engine.allocate(20, 30)
    frames[:] = _noise(20, 30, count=len(frames))
    return engine.infer([Clip(frames, "BGR")]).probabilities


def _told(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [(one.levelno, one.message) for one in caplog.records if one.message.startswith("preprocessing")]


def test_engine_answers_the_same_with_the_kernel_and_without(
    loaded: Callable[[], Engine], caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    expected = _answer(loaded())
    assert _told(caplog) == [(logging.INFO, "preprocessing by operations of torch")]
    request.getfixturevalue("interpreted")
    _use_tiles(request.getfixturevalue("monkeypatch"), 32, 128)
    engine = loaded()
    assert _told(caplog) == [(logging.INFO, "preprocessing by one kernel")]
    np.testing.assert_allclose(_answer(engine), expected, atol=1e-3)


@pytest.mark.parametrize("fault", ["cannot be compiled", "answers otherwise"])
def test_kernel_that_does_not_work_is_not_used(
    loaded: Callable[[], Engine], caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest, fault: str
) -> None:
    expected = _answer(loaded())
    kernel, monkeypatch = request.getfixturevalue("interpreted"), request.getfixturevalue("monkeypatch")
    _use_tiles(monkeypatch, 32, 128)
    run = kernel.crop_frames.run

    def faulty(*args: Any, **options: Any) -> Any:
        if fault == "cannot be compiled":
            raise RuntimeError("Failed to find C compiler.")
        return run(*args, **{**options, "step": -options["step"], "first_channel": 2 - options["first_channel"]})

    monkeypatch.setattr(kernel.crop_frames, "run", faulty)
    engine = loaded()
    assert _told(caplog) == [(logging.WARNING, "preprocessing by operations of torch")]
    np.testing.assert_allclose(_answer(engine), expected, atol=1e-3)
