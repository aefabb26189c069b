"""What the export asks of TensorRT's builder, on a fake that keeps its rules."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import onnx
import pytest

from engines.manifest import Preprocessing, Tensor
from export.compilers.compile import compile_network
from export.compilers.tensorrt import PLAN_FILE_NAME
from export.compilers.torch_tensorrt import compile_with_torch_tensorrt
from export.network.graph import ONNX_FILE_NAME
from export.settings import ExportSettings, parse_settings
from tests.fakes.cuda import FakeCuda

INPUT = Tensor(name="pixels", dtype="float32", clip_shape=(4, 3, 32, 32))


def _settings(*flags: str) -> ExportSettings:
    return parse_settings(["demo", "--precision", "fp32", *flags])


def _compile(directory: Path, *flags: str) -> dict[str, Any]:
    """Compile a network without nodes as the export does; returns the fake's plan."""
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], [])), directory / ONNX_FILE_NAME)
    compile_network(_settings(*flags), INPUT, Preprocessing(resize=36, crop=32), directory, directory)
    plan: dict[str, Any] = json.loads((directory / PLAN_FILE_NAME).read_bytes())
    return plan


@pytest.mark.parametrize(
    ("flags", "profiles"),
    [
        (("--max-batch", "8"), [[1, 1, 1], [2, 8, 8]]),
        (("--max-batch", "8", "--opt-batch", "4"), [[1, 1, 1], [2, 4, 8]]),
        (("--max-batch", "2"), [[1, 1, 1], [2, 2, 2]]),
        (("--max-batch", "1"), [[1, 1, 1]]),
    ],
)
def test_single_clips_and_batches_have_their_own_profile(
    tmp_path: Path, tensorrt: Any, flags: tuple[str, ...], profiles: list[list[int]]
) -> None:
    assert _compile(tmp_path, "--target", "tensorrt", *flags)["profiles"] == profiles


def test_plans_compute_fp32_without_tf32(tmp_path: Path, tensorrt: Any) -> None:
    _compile(tmp_path, "--target", "tensorrt")
    (config,) = tensorrt.configs
    assert {flag.name for flag in config.flags} == set()


def test_rtx_plans_are_built_for_capture(tmp_path: Path, rtx: Any) -> None:
    _compile(tmp_path, "--target", "tensorrt-rtx", "--compute-capability", "9.0")
    (config,) = rtx.configs
    assert {flag.name for flag in config.flags} == {"REQUIRE_USER_ALLOCATION"}


@pytest.mark.parametrize("content", [b"", b"damaged", b"timings of this GPU"])
def test_damaged_timings_are_measured_again(tmp_path: Path, tensorrt: Any, content: bytes) -> None:
    _compile(tmp_path, "--target", "tensorrt")
    (timings,) = tmp_path.glob(".timings*")
    timings.write_bytes(content)
    _compile(tmp_path, "--target", "tensorrt")
    assert tensorrt.configs[-1].timing_cache is not None
    assert timings.read_bytes() == b"timings of this GPU"
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(("capabilities", "loaded"), [(("9.0",), True), (("8.9", "12.0"), False)])
def test_layers_are_listed_only_on_a_gpu_that_the_plan_is_for(
    tmp_path: Path, rtx: Any, cuda: FakeCuda, capabilities: tuple[str, ...], loaded: bool
) -> None:
    flags = [part for capability in capabilities for part in ("--compute-capability", capability)]
    _compile(tmp_path, "--target", "tensorrt-rtx", *flags)
    assert bool(rtx.layer_tables) == loaded
    assert (tmp_path / "layers.json").exists() == loaded


def test_layers_of_a_version_compatible_plan_are_listed(tmp_path: Path, tensorrt: Any) -> None:
    """Such a plan holds host code, which the library runs only when it is told to."""
    assert _compile(tmp_path, "--target", "tensorrt", "--version-compatible")["host_code"]
    assert (tmp_path / "layers.json").exists()


def test_torch_tensorrt_is_asked_for_exact_fp32_and_this_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def convert(program: Any, **options: Any) -> bytes:
        asked.update(options)
        return b"plan"

    library = types.SimpleNamespace(
        dynamo=types.SimpleNamespace(convert_exported_program_to_serialized_trt_engine=convert),
        Input=lambda **options: options,
    )
    monkeypatch.setitem(sys.modules, "torch_tensorrt", library)
    monkeypatch.setattr("export.compilers.torch_tensorrt.move_to_device_pass", lambda program, device: program)
    settings = _settings("--target", "tensorrt", "--max-batch", "8", "--via", "torch-tensorrt")
    program: Any = object()
    compile_with_torch_tensorrt(program, tmp_path / "model.plan", INPUT, 8, settings.plan)
    assert asked["disable_tf32"] is True
    assert [asked["arg_inputs"][0][f"{size}_shape"][0] for size in ("min", "opt", "max")] == [1, 8, 8]
    assert (tmp_path / "model.plan").read_bytes() == b"plan"
