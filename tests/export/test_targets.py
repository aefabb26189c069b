"""Every target that this machine can build, from the command line to the answers of the engine."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from engines.device.cuda_driver import cuda_devices
from engines.engine import Engine
from engines.errors import BundleUnsupportedError
from engines.manifest import Device
from engines.options import EngineOptions
from engines.runtimes.registry import load_engine
from engines.storage.bundle import open_bundle, replace_manifest
from engines.storage.reference import FILE_NAME, Reference
from export.pipeline import export_bundle
from export.preflight import settled
from export.settings import parse_settings
from tests.checkpoints import ODD, write_checkpoint
from tests.in_process import run_here
from tests.live_server import ROOT, run_module

needs_rtx = pytest.mark.skipif(not importlib.util.find_spec("tensorrt_rtx"), reason="tensorrt-rtx is not installed")


def _export(tmp_path: Path, model: str, *flags: str) -> Path:
    """Run the export in this process, which saves the seconds of importing torch again."""
    settings = settled(parse_settings([model, "--output", str(tmp_path / "bundle"), *flags]))
    return export_bundle(settings).bundle.path


def _answers(path: Path) -> tuple[Engine, np.ndarray, np.ndarray]:
    """Return the closed engine, its answers to the reference clips, and those of the checkpoint."""
    engine, reference = load_engine(open_bundle(path)), Reference.read(path / FILE_NAME)
    answers = np.concatenate([engine.infer([clip]).probabilities for clip in reference.clips])
    engine.close()
    return engine, answers, reference.probabilities


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 2e-2), ("fp16", 5e-3)])
def test_torch_program_gives_the_answers_of_the_checkpoint(
    odd_checkpoint: Path, tmp_path: Path, precision: str, tolerance: float
) -> None:
    bundle = _export(tmp_path, str(odd_checkpoint), "--target", "torch", "--precision", precision)
    manifest = open_bundle(bundle).manifest
    assert (manifest.target, manifest.precision) == ("torch", precision)
    assert manifest.verification is not None
    assert bool(manifest.stage_errors) == (precision != "fp32")
    engine, answers, expected = _answers(bundle)
    assert engine.precision == precision
    assert np.abs(answers - expected).max() <= tolerance


@pytest.mark.timeout(900)
@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler")
def test_compiled_torch_program_is_correct_and_bound_to_its_device(odd_checkpoint: Path, tmp_path: Path) -> None:
    flags = ("--target", "torch", "--precision", "fp32", "--max-batch", "3", "--inductor", "default")
    path = _export(tmp_path, str(odd_checkpoint), *flags)
    bundle = open_bundle(path)
    assert bundle.manifest.options == {"inductor": "default"}
    assert [file.name for file in bundle.manifest.files if file.name.endswith(".pt2")] == ["compiled.pt2"]
    _, answers, expected = _answers(path)
    np.testing.assert_allclose(answers, expected, atol=1e-5)
    together = load_engine(bundle, EngineOptions(lanes=2))
    clips = Reference.read(path / FILE_NAME).clips[:3]
    np.testing.assert_allclose(together.infer(clips).probabilities, expected[:3], atol=1e-5)
    together.close()
    other = replace_manifest(bundle, built_with=bundle.manifest.built_with | {"torch": "2.0.0"})
    with pytest.raises(BundleUnsupportedError, match=r"compiled by torch 2\.0\.0"):
        load_engine(other)
    elsewhere = replace_manifest(bundle, device=Device(name="NVIDIA H200", compute_capabilities=("9.0",)))
    with pytest.raises(BundleUnsupportedError, match=r"compiled for NVIDIA H200 9\.0"):
        load_engine(elsewhere, EngineOptions(device="cpu"))


def test_demo_as_torch_program_gives_the_answers_of_the_checkpoint(tmp_path: Path) -> None:
    _, answers, expected = _answers(_export(tmp_path, "demo", "--target", "torch", "--precision", "fp32"))
    np.testing.assert_allclose(answers, expected, atol=1e-5)


def test_torch_program_contains_no_paths_of_the_build_machine(odd_torch_bundle: Path) -> None:
    assert b"site-packages" not in (odd_torch_bundle / "model.pt2").read_bytes()


@needs_rtx
@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32"])
def test_rtx_plan_is_built_without_a_gpu(odd_checkpoint: Path, tmp_path: Path, precision: str) -> None:
    flags = ("--target", "tensorrt-rtx", "--precision", precision, "--max-batch", "3", "--compute-capability", "12.0")
    bundle = open_bundle(_export(tmp_path, str(odd_checkpoint), *flags))
    assert bundle.file(".plan").stat().st_size > 100_000
    assert bundle.manifest.device.compute_capabilities == ("12.0",)
    assert bundle.manifest.network_input.dtype == ("float32" if precision == "fp32" else "float16")
    assert bundle.manifest.built_with["tensorrt-rtx"].startswith("1.")
    assert (bundle.manifest.verification is None) == (not cuda_devices())
    assert bundle.manifest.options["fused_attentions"] == (0 if precision == "fp32" else 4)
    assert {"model.onnx", "model.plan", "reference.npz"} <= {file.name for file in bundle.manifest.files}


@needs_rtx
def test_plan_tells_its_fused_attentions_without_a_gpu(odd_rtx_bundle: Path) -> None:
    """The odd checkpoint has two blocks in the encoder and two in the pooler."""
    options = open_bundle(odd_rtx_bundle).manifest.options
    assert (options["fused_attentions"], options["attentions"]) == (4, 4)


@needs_rtx
def test_demo_rtx_plan_supports_several_gpus(tmp_path: Path) -> None:
    flags = ("--target", "tensorrt-rtx", "--compute-capability", "8.9", "--compute-capability", "12.0", "--opset", "23")
    bundle = open_bundle(_export(tmp_path, "demo", *flags, "--opt-batch", "4", "--optimization-level", "2"))
    assert bundle.manifest.device.compute_capabilities == ("8.9", "12.0")
    assert (bundle.manifest.options["opset"], bundle.manifest.options["opt_batch"]) == (23, 4)
    operators = Counter(node.op_type for node in onnx.load(bundle.file(".onnx")).graph.node)
    # Once for both GPUs.
    assert bundle.manifest.options["fused_attentions"] == operators["Attention"] > 0


@needs_rtx
def test_unsupported_rtx_gpu_error_lists_supported_gpus(odd_checkpoint: Path, tmp_path: Path) -> None:
    flags = ("--target", "tensorrt-rtx", "--compute-capability", "9.0", "--no-verify")
    refused = run_here("export", str(odd_checkpoint), "--output", str(tmp_path / "bundle"), *flags)
    assert refused.returncode == 1
    assert "9.0" in refused.stderr
    assert "8.9" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "bundle").exists()


@needs_rtx
def test_attention_of_opset_23_is_refused_in_fp32() -> None:
    refused = run_here("export", "demo", "--target", "tensorrt-rtx", "--precision", "fp32", "--opset", "23")
    assert refused.returncode == 2
    assert "use --opset 20" in refused.stderr
    assert "load weights" not in refused.stderr


@needs_rtx
def test_attention_of_opset_23_is_refused_for_odd_heads(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path / "model", {**ODD, "hidden_size": 99})
    flags = ("--target", "tensorrt-rtx", "--precision", "fp16", "--opset", "23", "--output", str(tmp_path / "bundle"))
    refused = run_here("export", str(model), *flags)
    assert refused.returncode == 1
    assert "this model has 33" in refused.stderr
    assert "use --opset 20" in refused.stderr
    assert "load weights" not in refused.stderr


@pytest.mark.skipif(bool(cuda_devices()), reason="this machine has a GPU")
@pytest.mark.parametrize("flags", [("--target", "tensorrt"), ("--target", "tensorrt", "--via", "torch-tensorrt")])
def test_unbuildable_target_is_refused_before_torch_is_imported(tmp_path: Path, flags: tuple[str, ...]) -> None:
    refused = run_module("export", "demo", "--output", str(tmp_path / "bundle"), *flags)
    assert refused.returncode == 1
    assert "help:" in refused.stderr
    assert "import torch" not in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list(tmp_path.iterdir())


def test_preflight_and_settings_do_not_import_torch() -> None:
    program = "import sys, export.preflight, export.__main__; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"


def test_onnx_metadata_contains_model_labels_and_preprocessing(odd_bundle: Path) -> None:
    model = onnx.load(odd_bundle / "model.onnx")
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert properties["model"] == "odd"
    assert json.loads(properties["labels"]) == [f"LABEL_{index}" for index in range(5)]
    assert json.loads(properties["preprocessing"])["crop"] == 96


def test_onnx_nodes_are_named_after_modules(odd_bundle: Path) -> None:
    nodes = onnx.load(odd_bundle / "model.onnx").graph.node
    names = [node.name for node in nodes]
    assert len(set(names)) == len(names)
    assert {"patches.projection/MatMul", "blocks.1.attention.query/MatMul", "classifier/Gemm"} <= set(names)
    # The last softmax, and what gathers the features, belong to no module.
    outside = [node.op_type for node in nodes if "/" not in node.name]
    assert sorted(outside) == ["Concat", "ReduceMax", "ReduceMean", *["Reshape"] * 3, "Softmax"]


@needs_rtx
def test_command_builds_an_rtx_plan(odd_checkpoint: Path, tmp_path: Path) -> None:
    flags = ("--target", "tensorrt-rtx", "--output", str(tmp_path / "bundle"), "--no-verify")
    exported = run_module("export", str(odd_checkpoint), *flags)
    assert exported.returncode == 0, exported.stderr
    assert "compile" in exported.stderr
    assert "never (--no-verify)" in exported.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
