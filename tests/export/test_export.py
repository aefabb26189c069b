"""``python -m export`` with a checkpoint of unusual sizes, and with invalid checkpoints."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import aiohttp
import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file
from transformers import VJEPA2Config, VJEPA2ForVideoClassification

from engines.errors import CheckpointError
from engines.storage.bundle import open_bundle
from export.architectures.registry import find_checkpoint
from export.demo.rendering.clips import render_clip
from tests.checkpoints import ODD
from tests.in_process import run_here
from tests.live_server import ROOT, run_module, serving
from tests.server.requests import raw_body

IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def _transformers_probabilities(checkpoint: Path, frames: np.ndarray) -> np.ndarray:
    """Preprocess with torch and classify with transformers only, independently of the code under test."""
    model = VJEPA2ForVideoClassification.from_pretrained(checkpoint).eval()
    crop = model.config.crop_size
    height, width = frames.shape[1:3]
    scale = int(crop * 256 / 224) / min(height, width)
    size = (int(height * scale + 1e-6), int(width * scale + 1e-6))
    video = torch.from_numpy(frames).permute(0, 3, 1, 2)
    video = torch.nn.functional.interpolate(video, size, mode="bilinear", antialias=True)
    top, left = (size[0] - crop) // 2, (size[1] - crop) // 2
    pixels = (video[:, :, top : top + crop, left : left + crop] / 255 - IMAGENET_MEAN) / IMAGENET_STD
    with torch.inference_mode():
        return model(pixels[None]).logits.softmax(-1)[0].numpy()


async def _served_probabilities(url: str, frames: np.ndarray, labels: tuple[str, ...]) -> np.ndarray:
    async with aiohttp.ClientSession(url) as session:
        body = raw_body(frames, "BGR", top_k=len(labels))
        async with session.post("/api/v1/infer", json=body) as response:
            answer = await response.json()
    confidences = {prediction["label"]: prediction["confidence"] for prediction in answer["predictions"]}
    return np.array([confidences[label] for label in labels])


@pytest.mark.parametrize("size", [(96, 128), (240, 240), (333, 150)])
async def test_service_gives_the_probabilities_of_transformers(
    odd_checkpoint: Path, odd_bundle: Path, size: tuple[int, int]
) -> None:
    labels = open_bundle(odd_bundle).manifest.labels
    with serving(odd_bundle) as server:
        for seed in range(3):
            frames = render_clip(34_000_000 + seed, frames=12, size=size).frames
            expected = _transformers_probabilities(odd_checkpoint, frames)
            served = await _served_probabilities(server.url, frames, labels)
            assert np.abs(served - expected).max() <= 2e-3
            assert served.argmax() == expected.argmax()


def test_manifest_describes_the_bundle(odd_checkpoint: Path, odd_bundle: Path) -> None:
    manifest = open_bundle(odd_bundle).manifest
    assert (manifest.frames, manifest.preprocessing.crop, manifest.preprocessing.resize) == (12, 96, 109)
    assert manifest.labels == tuple(f"LABEL_{index}" for index in range(5))
    assert (manifest.source.model, manifest.source.random_weights, manifest.max_batch) == ("odd", False, 4)
    assert manifest.network_input.clip_shape == (12, 3, 96, 96)
    assert manifest.verification is not None
    assert manifest.verification.max_abs_probability_error <= manifest.verification.tolerance == 2e-3
    assert (manifest.verification.top1_agreement, manifest.verification.top5_agreement) == (1, 1)
    assert {"torch", "transformers", "onnx", "openvino"} <= manifest.built_with.keys()


def test_onnx_file_contains_no_paths_of_the_build_machine(odd_bundle: Path) -> None:
    content = (odd_bundle / "model.onnx").read_bytes()
    assert str(ROOT).encode() not in content
    assert b"site-packages" not in content


def test_onnx_file_is_valid_and_its_dynamic_axis_is_named_batch(odd_bundle: Path) -> None:
    onnx.checker.check_model(odd_bundle / "model.onnx", full_check=True)
    model = onnx.load(odd_bundle / "model.onnx")
    (pixels,), (probabilities, features) = model.graph.input, model.graph.output
    assert [dim.dim_value for dim in pixels.type.tensor_type.shape.dim[1:]] == [12, 3, 96, 96]
    names = {value.type.tensor_type.shape.dim[0].dim_param for value in (pixels, probabilities, features)}
    assert names == {"batch"}
    assert {dim.dim_param for value in model.graph.value_info for dim in value.type.tensor_type.shape.dim} <= {
        "",
        "batch",
    }
    assert probabilities.type.tensor_type.shape.dim[1].dim_value == 5


def test_onnx_graph_reads_positions_from_tables(odd_bundle: Path) -> None:
    operators = {node.op_type for node in onnx.load(odd_bundle / "model.onnx").graph.node}
    assert not operators & {"Sin", "Cos", "Tile", "Expand", "Einsum", "Range", "Loop", "If"}
    assert {"LayerNormalization", "Softmax", "MatMul", "Gelu"} <= operators


def test_onnx_runtime_agrees_with_transformers(odd_checkpoint: Path, odd_bundle: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(odd_bundle / "model.onnx")
    pixels = np.random.default_rng(0).standard_normal((3, 12, 3, 96, 96)).astype(np.float32)
    answer, _ = session.run(None, {"pixels": pixels})
    model = VJEPA2ForVideoClassification.from_pretrained(odd_checkpoint).eval()
    with torch.inference_mode():
        expected = model(torch.from_numpy(pixels)).logits.softmax(-1).numpy()
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_random_weights_need_only_a_config_and_are_reported(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    VJEPA2Config(**ODD, pred_hidden_size=24, pred_num_attention_heads=1, pred_num_hidden_layers=1).save_pretrained(
        tmp_path / "model"
    )
    output = tmp_path / "bundle"
    exported = run_here("export", str(tmp_path / "model"), "--random-weights", "--no-verify", "--output", str(output))
    assert exported.returncode == 0, exported.stderr
    assert "random weights" in exported.stdout
    manifest = open_bundle(output).manifest
    assert manifest.source.random_weights
    assert manifest.verification is None


def _config(path: Path, **changes: object) -> None:
    content = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(content | changes))


def _drop_shard(path: Path) -> None:
    max(path.glob("*.safetensors")).unlink()


def _drop_all_shards(path: Path) -> None:
    for shard in path.glob("*.safetensors"):
        shard.unlink()


def _truncate_shard(path: Path) -> None:
    shard = min(path.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:100])


def _pickle_weights(path: Path) -> None:
    """Leave the weights in the format that is a pickle, and a file of safetensors that nothing refers to."""
    weights = {name: value for shard in path.glob("*.safetensors") for name, value in load_file(shard).items()}
    torch.save(weights, path / "pytorch_model.bin")
    for file in path.glob("model*.safetensors*"):
        file.rename(path / "other.safetensors")


BAD_CHECKPOINTS = {
    "no config": (lambda path: (path / "config.json").unlink(), "no config.json"),
    "config cut off": (lambda path: (path / "config.json").write_text('{"model_type"'), "not JSON"),
    "other architecture": (lambda path: _config(path, model_type="videomae"), "VJEPA2ForVideoClassification"),
    "shard missing": (_drop_shard, "weights"),
    "no weights": (_drop_all_shards, "--random-weights"),
    "weights in a pickle": (_pickle_weights, "contains no weights in model.safetensors"),
    "shard truncated": (_truncate_shard, "weights"),
    "other label count": (lambda path: _config(path, id2label={"0": "a", "1": "b"}), "classifier"),
    "crops differ": (
        lambda path: (path / "preprocessor_config.json").write_text('{"crop_size": {"height": 64, "width": 64}}'),
        "64 pixels",
    ),
}


@pytest.mark.parametrize("name", BAD_CHECKPOINTS)
def test_invalid_checkpoint_error_has_a_help_text(odd_checkpoint: Path, tmp_path: Path, name: str) -> None:
    damage, words = BAD_CHECKPOINTS[name]
    checkpoint = Path(shutil.copytree(odd_checkpoint, tmp_path / "checkpoint"))
    damage(checkpoint)
    with pytest.raises(CheckpointError, match=words) as raised:
        find_checkpoint(str(checkpoint)).load()
    assert raised.value.help


@pytest.mark.parametrize("name", ["other architecture", "shard missing"])
def test_command_reports_invalid_checkpoint_in_one_line_and_writes_nothing(
    odd_checkpoint: Path, tmp_path: Path, name: str
) -> None:
    damage, words = BAD_CHECKPOINTS[name]
    checkpoint = Path(shutil.copytree(odd_checkpoint, tmp_path / "checkpoint"))
    damage(checkpoint)
    output = tmp_path / "bundles" / "bundle"
    refused = run_here("export", str(checkpoint), "--output", str(output))
    _assert_refused(refused, words)
    assert not list(tmp_path.glob("bundles/*"))


def test_hub_id_is_resolved_with_its_revision(odd_checkpoint: Path, tmp_path: Path) -> None:
    revision = "0123456789abcdef0123456789abcdef01234567"
    model = tmp_path / "models--someone--odd"
    shutil.copytree(odd_checkpoint, model / "snapshots" / revision)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(revision)
    show = (
        "from export.architectures.registry import find_checkpoint\n"
        "found = find_checkpoint('someone/odd')\n"
        "print(found.model, found.revision, len(found.labels), found.load().num_labels, len(found.sha256))"
    )
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    shown = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert shown.stdout.split() == ["someone/odd", revision, "5", "5", "64"], shown.stderr


def test_unreachable_hub_is_reported_in_one_line(tmp_path: Path) -> None:
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "export", "someone/some-model"]
    refused = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=240)
    _assert_refused(refused, "cannot download someone/some-model")


def test_directory_without_a_bundle_is_not_overwritten(odd_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    refused = run_here("export", str(odd_checkpoint), "--output", str(tmp_path))
    assert refused.returncode == 1
    assert "is not a bundle" in refused.stderr
    assert (tmp_path / "precious.txt").read_text() == "mine"


BAD_FLAGS = [
    ("--precision", "fp16", "--target", "openvino"),
    ("--target", "abacus"),
    ("--max-batch", "0"),
    ("--opset", "20", "--target", "openvino"),
    ("--opt-batch", "9", "--target", "tensorrt-rtx", "--max-batch", "8"),
    ("--compute-capability", "9.0", "--target", "tensorrt"),
    ("--via", "torch-tensorrt", "--target", "tensorrt-rtx"),
]


@pytest.mark.parametrize("flags", BAD_FLAGS, ids=" ".join)
def test_invalid_flag_is_explained(flags: tuple[str, ...]) -> None:
    refused = run_module("export", "demo", *flags)
    assert refused.returncode == 2
    assert flags[0] in refused.stderr
    assert flags[1] in refused.stderr
    assert "Traceback" not in refused.stderr


def _assert_refused(refused: subprocess.CompletedProcess[str], words: str) -> None:
    assert refused.returncode == 2, refused.stderr
    last = refused.stderr.strip().splitlines()[-1]
    assert words in last
    assert "help:" in last
    assert "Traceback" not in refused.stderr
