"""The demo in FP8: its answers, its graph, its plan, and what is refused."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import export.compilers.inductor as inductor
from engines.errors import BundleUnsupportedError, ExportError
from engines.runtimes.registry import load_engine
from engines.storage.bundle import Bundle, open_bundle
from engines.storage.reference import FILE_NAME, Reference
from export.network.references import normalised
from export.pipeline import export_bundle
from export.preflight import settled
from export.settings import parse_settings
from tests.checkpoints import ODD, write_checkpoint
from tests.conftest import written_once
from tests.in_process import run_here

needs_rtx = pytest.mark.skipif(not importlib.util.find_spec("tensorrt_rtx"), reason="tensorrt-rtx is not installed")


def _export(output: Path, *flags: str, model: str = "demo") -> Bundle:
    return export_bundle(settled(parse_settings([model, "--output", str(output), "--precision", "fp8", *flags]))).bundle


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    flags = ("--target", "torch", "--max-batch", "2")
    return open_bundle(written_once(tmp_path_factory, "fp8-torch", lambda path: _export(path, *flags)))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    flags = ("--target", "tensorrt-rtx", "--compute-capability", "8.9", "--compute-capability", "12.0", "--no-verify")
    return open_bundle(written_once(tmp_path_factory, "fp8-plan", lambda path: _export(path, *flags)))


def test_program_is_verified_and_records_its_loss(program: Bundle) -> None:
    manifest = program.manifest
    assert (manifest.precision, manifest.network_input.dtype) == ("fp8", "float16")
    assert manifest.options["calibration_clips"] == 32
    assert "of 8 clips" in str(manifest.options["held_out"])
    assert manifest.verification is not None
    assert manifest.verification.top1_agreement == 1.0
    weights = torch.export.load(program.file(".pt2")).state_dict
    assert Counter(weight.dtype for weight in weights.values())[torch.float8_e4m3fn] == 22


@needs_rtx
def test_rtx_plan_for_two_gpus_is_built_from_quantized_products(plan: Bundle) -> None:
    operators = Counter(node.op_type for node in onnx.load(plan.file(".onnx")).graph.node)
    assert (operators["QuantizeLinear"], operators["DequantizeLinear"]) == (22, 44)
    assert plan.manifest.device.compute_capabilities == ("8.9", "12.0")
    assert plan.manifest.options["fused_attentions"] == plan.manifest.options["attentions"]
    assert "of 8 clips" in str(plan.manifest.options["held_out"])


@needs_rtx
def test_onnx_graph_and_torch_program_give_the_same_answers(plan: Bundle, program: Bundle) -> None:
    session = onnxruntime.InferenceSession(plan.file(".onnx"))
    engine, reference = load_engine(program), Reference.read(program.path / FILE_NAME)
    clips = reference.clips[:4]
    pixels = [normalised(clip, plan.manifest.preprocessing).half().numpy() for clip in clips]
    graph = np.concatenate([np.asarray(session.run(None, {"pixels": clip})[0]) for clip in pixels])
    answers = np.concatenate([engine.infer([clip]).probabilities for clip in clips])
    engine.close()
    np.testing.assert_allclose(graph, answers, atol=2e-2)


def test_network_without_suitable_layers_is_refused(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path / "model", {**ODD, "hidden_size": 99})
    with pytest.raises(ExportError, match="multiples of 16"):
        _export(tmp_path / "bundle", "--target", "torch", "--no-verify", model=str(model))


@needs_rtx
def test_gpu_without_fp8_is_refused_at_export() -> None:
    refused = run_here(
        "export", "demo", "--target", "tensorrt-rtx", "--precision", "fp8", "--compute-capability", "8.6"
    )
    assert refused.returncode == 1
    assert "accepted: 8.9 and later" in refused.stderr


def test_gpu_without_fp8_does_not_load_the_program(program: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.runtimes.torch_program.compute_capability", lambda device: "8.6")
    with pytest.raises(BundleUnsupportedError, match=r"accepted: 8\.9 and later"):
        load_engine(program)


def test_inductor_compiles_the_fastest_attention_of_the_gpu(
    odd_torch_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel of a compiled program is fixed; the GPU, its timing and the compiler are stand-ins."""
    bundle, compiled = open_bundle(odd_torch_bundle), list[Any]()
    monkeypatch.setattr(inductor, "move_to_device_pass", lambda program, device: program)
    monkeypatch.setattr(inductor, "fastest_attention", lambda program, tensor, device: "cudnn")
    monkeypatch.setattr(inductor, "aoti_compile_and_package", lambda program, **options: compiled.append(program))
    options = inductor.compile_with_inductor(
        bundle.file(".pt2"), tmp_path / "compiled.pt2", "cuda:0", "default", bundle.manifest.network_input
    )
    assert options == {"inductor": "default", "attention": "cudnn"}
    called = {getattr(node.target, "__name__", "") for node in compiled[0].module().graph.nodes}
    assert "_cudnn" in called
    assert not any("scaled_dot_product_attention" in name for name in called)
