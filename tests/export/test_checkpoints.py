"""Checkpoints that would export wrongly are refused before their weights are read; those that only look odd export."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from engines.clip import Clip
from engines.engine import Engine
from engines.errors import CheckpointError, VerificationError
from engines.manifest import Precision
from engines.storage.bundle import DEMO, open_bundle
from engines.storage.verification import reference_of, verify
from export.architectures.registry import find_checkpoint
from export.architectures.vjepa2.config_fields import CLASSIFIER
from export.catalog import print_list
from export.compilers.calibration import calibration
from tests.in_process import run_here
from tests.live_server import serving

Weights = dict[str, torch.Tensor]
PUBLISHED = sorted((Path(__file__).parent / "published").glob("*.json"))
HEAD, LAYER = "classifier.weight", "vjepa2.encoder.layer.{}."


@pytest.fixture(scope="module")
def weights(odd_checkpoint: Path) -> Weights:
    found: Weights = {}
    for shard in odd_checkpoint.glob("*.safetensors"):
        found.update(load_file(shard))
    return found


@pytest.fixture(scope="module")
def config(odd_checkpoint: Path) -> dict[str, Any]:
    return dict(json.loads((odd_checkpoint / "config.json").read_text()))


@pytest.fixture
def checkpoint(tmp_path: Path, odd_checkpoint: Path, weights: Weights, config: dict[str, Any]) -> Checkpoint:
    return Checkpoint(tmp_path / "model", weights, config)


class Checkpoint:
    """The odd checkpoint in one file, to be changed; ``None`` removes a field or a weight."""

    def __init__(self, path: Path, weights: Weights, config: dict[str, Any]) -> None:
        self.path, self._weights, self._config = path, weights, config
        path.mkdir()
        self.write_weights()
        self.write_config()

    def write_config(self, **changes: Any) -> None:
        (self.path / "config.json").write_text(json.dumps(self._config | changes))

    def write_weights(self, **changes: torch.Tensor | None) -> None:
        changed = {name: weight for name, weight in (self._weights | changes).items() if weight is not None}
        save_file(changed, self.path / "model.safetensors", {"format": "pt"})

    def write_file(self, name: str, content: dict[str, Any]) -> None:
        (self.path / name).write_text(json.dumps(content))

    def without(self, *prefixes: str, **more: torch.Tensor) -> None:
        self.write_weights(**dict.fromkeys(name for name in self._weights if name.startswith(prefixes)), **more)

    def weight(self, name: str) -> torch.Tensor:
        return self._weights[name]

    def names(self, prefix: str) -> list[str]:
        return [name for name in self._weights if name.startswith(prefix)]

    def export(self, *flags: str) -> subprocess.CompletedProcess[str]:
        output = str(self.path.parent / "bundle")
        return run_here(
            "export", str(self.path), "--output", output, "--target", "torch", "--precision", "fp32", *flags
        )


def _fields(**changes: Any) -> Callable[[Checkpoint], None]:
    return lambda checkpoint: checkpoint.write_config(**changes)


def _preprocessor(**content: Any) -> Callable[[Checkpoint], None]:
    return lambda checkpoint: checkpoint.write_file("video_preprocessor_config.json", content)


def _extra(name: str, shape: tuple[int, ...] = (3, 96)) -> Callable[[Checkpoint], None]:
    return lambda checkpoint: checkpoint.write_weights(**{name: torch.zeros(shape)})


def _third_layer(checkpoint: Checkpoint) -> None:
    prefix = LAYER.format(0)
    copies = {
        LAYER.format(2) + name[len(prefix) :]: checkpoint.weight(name).clone() for name in checkpoint.names(prefix)
    }
    checkpoint.write_weights(**copies)


def _int8(checkpoint: Checkpoint) -> None:
    name = f"{LAYER.format(0)}mlp.fc1.weight"
    checkpoint.write_weights(**{name: (checkpoint.weight(name) * 100).to(torch.int8)})


def _as_encoder(checkpoint: Checkpoint) -> None:
    encoder = {name.removeprefix("vjepa2."): checkpoint.weight(name) for name in checkpoint.names("vjepa2.")}
    checkpoint.write_weights(**dict.fromkeys(checkpoint.names("")), **encoder)


GAPS = {"0": "a", "1": "b", "2": "c", "3": "d", "5": "e"}
# What is done to the checkpoint, and words of the error and of its help.
REFUSED: dict[str, tuple[Callable[[Checkpoint], None], str, str]] = {
    "unknown fields": (
        _fields(use_rope_interleave=True, n_registers=4),
        "use_rope_interleave: true, n_registers: 4",
        "--ignore-unknown-fields",
    ),
    "unknown field with control characters": (_fields(**{"\x1b[31mred": 1}), r"\x1b[31mred", "--ignore-unknown-fields"),
    "other activation block": (_fields(use_SiLU=True), "use_SiLU: true", "--ignore-unknown-fields"),
    "causal attention": (_fields(is_causal=True), "is_causal: true", "--ignore-unknown-fields"),
    "no rotation": (_fields(use_rope=False), "use_rope: false", "--ignore-unknown-fields"),
    "other image size": (_fields(image_size=112), "image_size: 112", "--ignore-unknown-fields"),
    "code of its own": (_fields(auto_map={"AutoModel": "m.M"}), "auto_map", "--ignore-unknown-fields"),
    "registers": (_extra("vjepa2.encoder.registers"), "vjepa2.encoder.registers", "--ignore-unknown-fields"),
    "lora": (_extra("lora.A"), "lora.A", "--ignore-unknown-fields"),
    "layer scale": (_extra(LAYER.format(0) + "layer_scale1.gamma", (96,)), "layer_scale1.gamma", "--ignore-unknown"),
    "layer more in the files": (_third_layer, "contain 3 layers", "num_hidden_layers"),
    "too few layers in the config": (_fields(num_hidden_layers=1), "contain 2 layers", "num_hidden_layers"),
    "too few pooler layers": (_fields(num_pooler_layers=1), "contain 2 layers", "num_pooler_layers"),
    "too many layers in the config": (_fields(num_hidden_layers=3), "contain 2 layers", "num_hidden_layers"),
    "biases that the config denies": (_fields(qkv_bias=False), "6 biases", "qkv_bias"),
    "foreign architecture": (_fields(architectures=["VideoMAEForPreTraining"]), "VideoMAEForPreTraining", CLASSIFIER),
    "encoder's weights": (_as_encoder, "no weights of a classifier", "VJEPA2Model"),
    "multi-label": (_fields(problem_type="multi_label_classification"), "problem_type", "single_label"),
    "regression": (_fields(problem_type="regression"), "problem_type", "single_label"),
    "int8 weights": (_int8, "stored as I8", "before its quantization"),
    "quantized": (_fields(quantization_config={"quant_method": "bitsandbytes"}), "quantized", "made from"),
    "adapter": (
        lambda checkpoint: checkpoint.write_file("adapter_config.json", {"base_model_name_or_path": "a/b"}),
        "PEFT adapter for a/b",
        "merge",
    ),
    "labels with a gap": (_fields(id2label=GAPS), "none for 4", "0 to 4"),
    "labels that are no table": (_fields(id2label=["a", "b"]), "id2label", "accepted"),
    "labels that are numbers": (_fields(id2label={"0": 1}), "id2label", "accepted"),
    "other number of labels": (_fields(num_labels=7), "num_labels: 7", "correct"),
    "fewer labels than outputs": (
        _fields(id2label={"0": "a"}, label2id=None),
        "classifier.weight is [5, 96]",
        "5 labels",
    ),
    "other width": (_fields(hidden_size=192), "other shapes", "belongs to these weights"),
    "weight missing": (lambda checkpoint: checkpoint.without(HEAD), "classifier.weight", "complete"),
    "short mean": (_preprocessor(image_mean=[0.5]), "image_mean is [0.5]", "3 channels"),
    "std of zero": (_preprocessor(image_std=[0.2, 0, 0.2]), "image_std", "positive"),
    "crop by its shortest edge": (_preprocessor(crop_size={"shortest_edge": 96}), "shortest_edge", "square"),
    "unknown activation": (_fields(hidden_act="gelish"), 'hidden_act: "gelish"', "gelu"),
    "heads that do not divide": (_fields(num_attention_heads=5), "divided into 5 heads", "num_attention_heads"),
    "predictor's heads": (_fields(pred_num_attention_heads=5), "divided into 5 heads", "pred_num_attention_heads"),
    "patch as a list": (_fields(patch_size=[16, 16]), "patch_size: [16, 16]", "whole number"),
    "patch of zero": (_fields(patch_size=0), "patch_size: 0", "whole number"),
    "patch larger than the crop": (_fields(patch_size=128), "larger than crop_size", "at least one patch"),
    "tubelet of zero": (_fields(tubelet_size=0), "tubelet_size: 0", "whole number"),
    "no frames": (_fields(frames_per_clip=0), "frames_per_clip: 0", "whole number"),
    "grey frames": (_fields(in_chans=1), "in_chans: 1", "accepted: 3"),
    "negative width": (_fields(hidden_size=-96), "hidden_size: -96", "whole number"),
    "fraction of a layer": (_fields(num_hidden_layers=1.5), "num_hidden_layers: 1.5", "whole number"),
    "true as a number": (_fields(num_pooler_layers=True), "num_pooler_layers: true", "whole number"),
    "boolean as text": (_fields(qkv_bias="true"), 'qkv_bias: "true"', "true or false"),
    "no features": (_fields(mlp_ratio=0), "mlp_ratio: 0", "above 0"),
    "eps of NaN": (_fields(layer_norm_eps=float("nan")), "layer_norm_eps: NaN", "above 0"),
    "infinite eps": (_fields(layer_norm_eps=float("inf")), "layer_norm_eps: Infinity", "above 0"),
    "tuples as answers": (_fields(return_dict=False), "return_dict: false", "true"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unsuitable_checkpoint_is_refused_in_one_line_before_its_weights_are_read(
    checkpoint: Checkpoint, name: str
) -> None:
    change, words, cure = REFUSED[name]
    change(checkpoint)
    refused = checkpoint.export()
    *stages, last = refused.stderr.strip().splitlines()
    assert refused.returncode == 2, refused.stderr
    error, _, help_text = last.partition("; help: ")
    assert last.startswith("export failed: ")
    assert words in error
    assert cure in help_text
    assert "download" not in help_text
    assert not [line for line in stages if line.startswith(("hash checkpoint", "load weights"))]
    assert not (checkpoint.path.parent / "bundle").exists()


def _small_predictor(checkpoint: Checkpoint) -> None:
    checkpoint.write_config(pred_hidden_size=12, pred_num_hidden_layers=2)


def _bf16(checkpoint: Checkpoint) -> None:
    checkpoint.write_weights(**{name: checkpoint.weight(name).bfloat16() for name in checkpoint.names("vjepa2.enc")})
    checkpoint.write_config(torch_dtype="bfloat16", _attn_implementation="flash_attention_2")


def _without_prefix(checkpoint: Checkpoint) -> None:
    encoder = {name.removeprefix("vjepa2."): checkpoint.weight(name) for name in checkpoint.names("vjepa2.")}
    checkpoint.without("vjepa2.", **encoder)


ODD_BUT_RIGHT: dict[str, Callable[[Checkpoint], None]] = {
    "without the predictor": lambda checkpoint: checkpoint.without("vjepa2.predictor."),
    "other predictor": _small_predictor,
    "predictor with weights of its own": _extra("vjepa2.predictor.registers"),
    "fields without effect": _fields(hidden_dropout_prob=0.1, image_size=[96, 96], use_sdpa=False, bos_token_id=None),
    "architectures left out": _fields(architectures=None),
    "names as in the encoder": _without_prefix,
}


@pytest.mark.parametrize("name", ODD_BUT_RIGHT)
def test_what_changes_no_answer_is_accepted(checkpoint: Checkpoint, weights: Weights, name: str) -> None:
    ODD_BUT_RIGHT[name](checkpoint)
    found = find_checkpoint(str(checkpoint.path))
    assert found.ignored == ()
    loaded = found.load().state_dict()
    used = [name for name in weights if not name.startswith("vjepa2.predictor.")]
    assert all(torch.equal(loaded[name], weights[name]) for name in used)


def test_precision_of_the_checkpoint_does_not_change_that_of_the_reference(checkpoint: Checkpoint) -> None:
    _bf16(checkpoint)
    for random_weights in (False, True):
        model = find_checkpoint(str(checkpoint.path), random_weights=random_weights).load()
        assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_checkpoint_without_pooler_layers_is_accepted(checkpoint: Checkpoint) -> None:
    checkpoint.without("pooler.self_attention_layers.")
    checkpoint.write_config(num_pooler_layers=0)
    assert find_checkpoint(str(checkpoint.path)).load().config.num_pooler_layers == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(checkpoint: Checkpoint, value: float) -> None:
    broken = checkpoint.weight(HEAD).clone()
    broken[1, 2] = value
    checkpoint.write_weights(**{HEAD: broken})
    refused = checkpoint.export()
    assert refused.returncode == 2
    error, _, cure = refused.stderr.strip().splitlines()[-1].partition("; help: ")
    assert HEAD in error
    assert "the checkpoint itself is broken" in cure


def test_answers_that_are_no_numbers_are_the_fault_of_the_checkpoint(checkpoint: Checkpoint) -> None:
    checkpoint.write_config(frames_per_clip=1)
    checkpoint.write_weights(**{HEAD: torch.full_like(checkpoint.weight(HEAD), 3e38)})
    refused = checkpoint.export()
    assert refused.returncode == 2, refused.stderr
    last = refused.stderr.strip().splitlines()[-1]
    assert "answers with NaN in FP32" in last
    assert "--target" not in last


@pytest.fixture(scope="module")
def odd_looking(
    tmp_path_factory: pytest.TempPathFactory, weights: Weights, config: dict[str, Any]
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A bundle of a checkpoint with one frame for each clip, without predictor, with unknown fields and weights."""
    checkpoint = Checkpoint(tmp_path_factory.mktemp("odd-looking") / "model", weights, config)
    checkpoint.write_config(frames_per_clip=1, n_registers=4)
    checkpoint.without("vjepa2.predictor.", **{"lora.A": torch.zeros(3, 96)})
    return checkpoint.path.parent / "bundle", checkpoint.export("--max-batch", "1", "--ignore-unknown-fields")


def test_one_frame_per_clip_exports_without_the_predictor(
    odd_looking: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    bundle, exported = odd_looking
    assert exported.returncode == 0, exported.stderr
    manifest = open_bundle(bundle).manifest
    assert manifest.frames == 1
    assert manifest.verification is not None


def test_int8_is_calibrated_with_clips_of_one_frame(odd_checkpoint: Path) -> None:
    clips = calibration(None, 1, find_checkpoint(str(odd_checkpoint)).preprocessing)
    assert all(clip.frames.shape == (1, 96, 96, 3) for clip in (*clips.learned, *clips.held_out))


def test_ignored_fields_and_weights_are_recorded_and_shown(
    odd_looking: tuple[Path, subprocess.CompletedProcess[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, exported = odd_looking
    assert open_bundle(bundle).manifest.source.ignored == ("n_registers: 4", "lora.A")
    assert "ignoring n_registers: 4, lora.A" in exported.stdout
    print_list(bundle.parent)
    assert "ignoring n_registers: 4, lora.A" in capsys.readouterr().out
    with serving(bundle) as server:
        assert server.entries("engine ready")[0]["ignored"] == "n_registers: 4, lora.A"


def test_bundle_without_ignored_fields_has_the_manifest_of_before(odd_bundle: Path) -> None:
    content = msgspec.json.decode((odd_bundle / "engine.json").read_bytes())
    assert content["source"].keys() == {"model", "revision", "sha256", "random_weights"}


def test_contradictions_are_not_ignored(checkpoint: Checkpoint) -> None:
    checkpoint.write_config(qkv_bias=False)
    with pytest.raises(CheckpointError, match="qkv_bias"):
        find_checkpoint(str(checkpoint.path), ignore_unknown=True)


class _Wrong:
    """An engine of a precision that is sure of the last label, whatever it sees."""

    def __init__(self, precision: Precision) -> None:
        self.manifest, self.precision, self.device_name = open_bundle(DEMO).manifest, precision, "CPU"

    def infer(self, clips: Sequence[Clip]) -> Any:
        answers = np.zeros((len(clips), len(self.manifest.labels)), np.float32)
        answers[:, -1] = 1
        return SimpleNamespace(probabilities=answers)


@pytest.mark.parametrize("precision", get_args(Precision))
def test_cure_of_a_failed_verification_is_another_precision(precision: Precision) -> None:
    reference = reference_of(open_bundle(DEMO))
    assert reference is not None
    with pytest.raises(VerificationError) as raised:
        verify(cast(Engine, _Wrong(precision)), reference)
    cure = str(raised.value.help)
    assert f"--precision {precision}" not in cure
    assert ("fp32" in cure) == (precision != "fp32")


def _published(path: Path, file: Path) -> dict[str, Any]:
    content = json.loads(file.read_text())
    labels = content.pop("num_labels", None)
    if labels:
        content["id2label"] = {str(index): f"LABEL_{index}" for index in range(labels)}
    path.mkdir()
    (path / "config.json").write_text(json.dumps(content))
    return dict(content)


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.stem)
def test_published_configurations_are_accepted(tmp_path: Path, file: Path) -> None:
    content = _published(tmp_path / "model", file)
    found = find_checkpoint(str(tmp_path / "model"), random_weights=True)
    assert found.ignored == ()
    assert found.clip_shape == (content["frames_per_clip"], 3, content["crop_size"], content["crop_size"])


def _linear(name: str, outputs: int, *inputs: int) -> dict[str, list[int]]:
    return {f"{name}.weight": [outputs, *inputs], f"{name}.bias": [outputs]}


def _published_layout(width: int, depth: int, mlp: int, labels: int) -> dict[str, list[int]]:
    """Names and shapes as the conversion of the published classifiers writes them, without the predictor.

    ``mlp`` is the width of the encoder's hidden layers; that of the pooler's is always four times ``width``.
    """
    layout = _linear("vjepa2.encoder.embeddings.patch_embeddings.proj", width, 3, 2, 16, 16)
    blocks = [
        (f"vjepa2.encoder.layer.{at}", "norm", "attention.", ("query", "key", "value", "proj")) for at in range(depth)
    ]
    projections = ("q_proj", "k_proj", "v_proj", "out_proj")
    blocks += [(f"pooler.self_attention_layers.{at}", "layer_norm", "self_attn.", projections) for at in range(3)]
    blocks += [("pooler.cross_attention_layer", "layer_norm", "cross_attn.", projections[:3])]
    for name, norm, attention, parts in blocks:
        layout |= _linear(f"{name}.{norm}1", width) | _linear(f"{name}.{norm}2", width)
        for part in parts:
            layout |= _linear(f"{name}.{attention}{part}", width, width)
        hidden = mlp if name.startswith("vjepa2.") else 4 * width
        layout |= _linear(f"{name}.mlp.fc1", hidden, width) | _linear(f"{name}.mlp.fc2", width, hidden)
    layout |= _linear("vjepa2.encoder.layernorm", width) | {"pooler.query_tokens": [1, 1, width]}
    return layout | _linear("classifier", labels, width)


def _write_hollow(file: Path, layout: dict[str, list[int]]) -> None:
    """A file of weights whose data takes no space on disk: all zeros, never written."""
    header, end = {}, 0
    for name, shape in layout.items():
        start, end = end, end + 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with file.open("wb") as content:
        content.write(len(text).to_bytes(8, "little") + text)
        content.truncate(8 + len(text) + end)


SIZES = {"vitl": (1024, 24, 4096), "vitg": (1408, 40, 6144)}
CLASSIFIERS = [file for file in PUBLISHED if "num_labels" in file.read_text()]


@pytest.mark.parametrize("file", CLASSIFIERS, ids=lambda file: file.stem)
def test_published_weights_have_the_expected_names_and_shapes(tmp_path: Path, file: Path) -> None:
    content = _published(tmp_path / "model", file)
    width, depth, mlp = SIZES[file.stem.split("-")[1]]
    layout = _published_layout(width, depth, mlp, len(content["id2label"]))
    _write_hollow(tmp_path / "model" / "model.safetensors", layout)
    assert find_checkpoint(str(tmp_path / "model")).ignored == ()
    _write_hollow(tmp_path / "model" / "model.safetensors", dict(islice(layout.items(), len(layout) - 2)))
    with pytest.raises(CheckpointError, match=r"lacks 2 .* classifier\.bias"):
        find_checkpoint(str(tmp_path / "model"))


def test_index_that_names_a_missing_file_is_reported_with_the_file(odd_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = Path(shutil.copytree(odd_checkpoint, tmp_path / "checkpoint"))
    gone = max(checkpoint.glob("*.safetensors"))
    gone.unlink()
    with pytest.raises(CheckpointError, match=gone.name):
        find_checkpoint(str(checkpoint))
