"""Engines with a fault are refused, on models from flat to sharp; sound engines are accepted."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from engines import manifest as manifests
from engines.clip import Clip
from engines.errors import VerificationError
from engines.manifest import Precision
from engines.runtimes.registry import open_engine
from engines.storage.bundle import DEMO, open_bundle
from engines.storage.log_odds import Scale, errors
from engines.storage.reference import Floats, Reference
from engines.storage.verification import check_network, verify
from export.architectures.registry import find_checkpoint
from export.architectures.vjepa2.checkpoint import VJepa2Checkpoint
from export.architectures.vjepa2.network import LeanClassifier
from export.bundling.staging import write_manifest
from export.network.precision_probe import DTYPES, TensorCores
from export.network.references import CLIPS, ask_checkpoint, candidate_clips, normalised
from export.pipeline import export_bundle
from export.preflight import settled
from export.settings import parse_settings

# Labels, and the standard deviation of the weights of the classifier on top of the odd checkpoint; None is the demo.
MODELS: dict[str, tuple[int, float] | None] = {
    "flat with 174 labels": (174, 0.002),
    "flat": (5, 0.01),
    "trained": None,
    "spread": (5, 0.5),
    "sharp with 174 labels": (174, 3.0),
}


@dataclasses.dataclass(frozen=True)
class Model:
    """A bundle for OpenVINO in fp32, the answers of transformers, and the lean network."""

    bundle: Path
    reference: Reference
    network: LeanClassifier
    checkpoint: VJepa2Checkpoint


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    bundle, head = tmp_path_factory.mktemp("sound") / "bundle", MODELS[request.param]
    if head is None:
        checkpoint = find_checkpoint("demo")
        loaded, origin = checkpoint.load(), DEMO
    else:
        origin = request.getfixturevalue("odd_bundle")
        checkpoint = find_checkpoint(str(request.getfixturevalue("odd_checkpoint")))
        loaded = checkpoint.load()
        loaded.classifier = _head(*head)
        config = copy.deepcopy(checkpoint.config)
        config.num_labels = head[0]
        checkpoint = dataclasses.replace(checkpoint, config=config)
    assert isinstance(checkpoint, VJepa2Checkpoint)
    reference = ask_checkpoint(checkpoint, loaded)
    network = LeanClassifier(loaded)
    _write_changed(origin, bundle, lambda graph: _set_head(graph, network.classifier), checkpoint.labels)
    return Model(bundle, reference, network, checkpoint)


def _head(labels: int, spread: float) -> nn.Linear:
    torch.manual_seed(3)
    head = nn.Linear(96, labels)
    nn.init.normal_(head.weight, 0, spread)
    nn.init.zeros_(head.bias)
    return head


Change = Callable[[onnx.GraphProto], None]


def _write_changed(origin: Path, path: Path, change: Change, labels: tuple[str, ...]) -> None:
    """Copy the bundle ``origin`` with a changed network and with ``labels``, sealed, so that only answers tell."""
    shutil.copytree(origin, path)
    network = onnx.load(path / "model.onnx")
    change(network.graph)
    onnx.save(network, path / "model.onnx")
    manifest = manifests.decode((path / "engine.json").read_bytes())
    outputs = msgspec.structs.replace(manifest.network_output, clip_shape=(len(labels),))
    write_manifest(path, msgspec.structs.replace(manifest, labels=labels, network_output=outputs))


def _change_constant(
    graph: onnx.GraphProto, name: str, change: Callable[[np.ndarray], np.ndarray], place: int = 0
) -> None:
    """Change the constant input number ``place`` of the node ``name`` alone: nodes with equal constants share them."""
    (node,) = (node for node in graph.node if node.name == name)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    index = [index for index, given in enumerate(node.input) if given in constants][place]
    _replace(graph, node, index, change(numpy_helper.to_array(constants[node.input[index]])))


def _replace(graph: onnx.GraphProto, node: onnx.NodeProto, index: int, values: np.ndarray) -> None:
    node.input[index] = f"{node.name}.{index}.{len(graph.initializer)}"
    graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), node.input[index]))


def _set_head(graph: onnx.GraphProto, head: nn.Linear) -> None:
    (node,) = (node for node in graph.node if node.name == "classifier/Gemm")
    _replace(graph, node, 1, head.weight.detach().numpy())
    node.input.extend([""] * (3 - len(node.input)))  # The exporter drops a bias of zeros.
    _replace(graph, node, 2, head.bias.detach().numpy())
    graph.output[0].type.tensor_type.shape.dim[1].dim_value = head.out_features
    del graph.value_info[:]


def _other_weights(graph: onnx.GraphProto) -> None:
    """Shuffle the values of every matrix, so that the network is unrelated and its values have the same sizes."""
    shuffled = np.random.default_rng(0)
    for node in [node.name for node in graph.node if node.op_type in ("MatMul", "Gemm")]:
        with contextlib.suppress(IndexError):  # The products of attention have no constants.
            _change_constant(graph, node, lambda values: shuffled.permuted(values.ravel()).reshape(values.shape))


def _scaled_norm(name: str) -> Change:
    return lambda graph: _change_constant(graph, f"{name}/LayerNormalization", lambda weight: 1.02 * weight)


def _left_out(block: str) -> Change:
    """Without the outputs of its attention and its MLP, a block returns its input."""

    def change(graph: onnx.GraphProto) -> None:
        for layer in ("attention.output", "mlp.fc2"):
            for part in ("MatMul", "Add"):
                _change_constant(graph, f"{block}.{layer}/{part}", np.zeros_like)

    return change


def _exchanged_outputs(graph: onnx.GraphProto) -> None:
    for place in (0, 1):
        _change_constant(graph, "classifier/Gemm", lambda rows: np.concatenate((rows[1::-1], rows[2:])), place)


FAULTS: dict[str, Change] = {
    "other weights": _other_weights,
    "last norm of the encoder's blocks x 1.02": _scaled_norm("blocks.1.norm2"),
    "norm of the pooler's block x 1.02": _scaled_norm("pooler_blocks.0.norm2"),
    "block left out": _left_out("blocks.1"),
    "pooler's block left out": _left_out("pooler_blocks.0"),
    "outputs exchanged": _exchanged_outputs,
}


def _verify(path: Path, reference: Reference) -> None:
    engine = open_engine(open_bundle(path))
    try:
        verify(engine, reference)
    finally:
        engine.close()


def test_sound_engine_is_accepted(model: Model) -> None:
    _verify(model.bundle, model.reference)


@pytest.mark.parametrize("fault", FAULTS)
def test_engine_with_a_fault_is_refused(model: Model, tmp_path: Path, fault: str) -> None:
    path = tmp_path / "bundle"
    _write_changed(model.bundle, path, FAULTS[fault], model.reference.labels)
    with pytest.raises(VerificationError, match=r"log-odds are up to .* from the checkpoint's"):
        _verify(path, model.reference)


def test_exchanged_red_and_blue_are_refused(model: Model) -> None:
    other = {"RGB": "BGR", "BGR": "RGB"}
    exchanged = tuple(Clip(clip.frames, other[clip.pixel_format]) for clip in model.reference.clips)  # type: ignore[arg-type]
    with pytest.raises(VerificationError, match="from the checkpoint's"):
        _verify(model.bundle, dataclasses.replace(model.reference, clips=exchanged))


def test_exchanged_labels_are_refused(model: Model, tmp_path: Path) -> None:
    first, second, *others = model.reference.labels
    _write_changed(model.bundle, tmp_path / "bundle", lambda graph: None, (second, first, *others))
    with pytest.raises(VerificationError, match=r"output 0 is .* in the bundle and .* in the checkpoint"):
        _verify(tmp_path / "bundle", model.reference)


def _answers(network: nn.Module, model: Model, precision: Precision) -> Floats:
    """The answers of ``network`` in ``precision`` to the reference clips, as tensor cores compute them."""
    return _outputs(network, model, precision)[0]


def _outputs(network: nn.Module, model: Model, precision: Precision) -> list[Floats]:
    """Probabilities and features."""
    lowered = copy.deepcopy(network).to(DTYPES[precision])
    with torch.inference_mode(), TensorCores():  # type: ignore[no-untyped-call]
        pixels = (normalised(clip, model.checkpoint.preprocessing) for clip in model.reference.clips)
        answers = [lowered(one.to(DTYPES[precision])) for one in pixels]
        return [torch.cat(output).numpy() for output in zip(*answers, strict=True)]


def _check(network: nn.Module, model: Model) -> None:
    check_network(*_outputs(network, model, "fp32"), model.reference, model.checkpoint.feature_parts)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_lower_precisions_use_a_third_of_their_tolerance_and_see_a_missing_block(
    model: Model, precision: Precision
) -> None:
    scale, expected = Scale.of(model.reference.probabilities, precision), model.reference.probabilities
    assert errors(_answers(model.network, model, precision), expected).max() < scale.tolerance / 3
    broken = copy.deepcopy(model.network)
    broken.pooler_blocks[0] = nn.Identity()
    assert errors(_answers(broken, model, precision), expected).max() > scale.tolerance


def test_network_with_a_fault_is_refused_in_fp32_before_it_is_lowered(model: Model) -> None:
    _check(model.network, model)
    broken = copy.deepcopy(model.network)
    with torch.no_grad():
        broken.blocks[1].norm2.weight.mul_(1.02)
    with pytest.raises(VerificationError, match="before it is compiled"):
        _check(broken, model)


@pytest.mark.parametrize("target", ["torch", "openvino"])
def test_export_in_bf16_refuses_a_network_with_a_fault(
    odd_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    right = VJepa2Checkpoint.network

    def faulty(self: VJepa2Checkpoint, *arguments: object, **options: bool) -> LeanClassifier:
        network = right(self, *arguments, **options)  # type: ignore[arg-type]
        with torch.no_grad():
            network.blocks[1].norm2.weight.mul_(1.02)
        return network

    monkeypatch.setattr(VJepa2Checkpoint, "network", faulty)
    flags = ("--target", target, "--precision", "bf16", "--output", str(tmp_path / "bundle"))
    with pytest.raises(VerificationError, match="before it is compiled"):
        export_bundle(settled(parse_settings([str(odd_checkpoint), *flags])))
    assert not (tmp_path / "bundle").exists()


def test_references_are_the_candidates_that_differ_most(model: Model) -> None:
    kinds = candidate_clips(model.checkpoint.clip_shape[0])
    assert len(model.reference.clips) == CLIPS
    for kind in kinds:
        assert any(np.array_equal(mine.frames, one.frames) for mine in model.reference.clips for one in kind)
    assert sum(map(len, kinds)) > CLIPS
    first = Reference(model.reference.clips[:2], model.reference.probabilities[:2])
    assert Scale.of(first.probabilities, "fp32").spread >= Scale.of(model.reference.probabilities, "fp32").spread / 2


@pytest.mark.parametrize("frames", [1, 2, 12])
def test_candidates_have_the_frames_of_the_model(frames: int) -> None:
    clips = [clip for kind in candidate_clips(frames) for clip in kind]
    assert {len(clip.frames) for clip in clips} == {frames}
    assert all(clip.frames.flags.c_contiguous for clip in clips)
