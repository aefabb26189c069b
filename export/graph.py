"""From the lean network to the ONNX graph that the engines run: normalised pixels in, probabilities out."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir
import torch
from transformers import VJEPA2Config

from engines.errors import ExportError
from engines.manifest import Tensor
from export.lean import LeanClassifier

OPSET = 20
INPUT_NAME = "pixels"
OUTPUT_NAME = "probabilities"

_MODULE_NAMES = "pkg.torch.onnx.name_scopes"


def network_tensors(config: VJEPA2Config) -> tuple[Tensor, Tensor]:
    """The network's input and output as the manifest describes them."""
    pixels = (config.frames_per_clip, config.in_chans, config.crop_size, config.crop_size)
    network_input = Tensor(name=INPUT_NAME, dtype="float32", clip_shape=pixels)
    return network_input, Tensor(name=OUTPUT_NAME, dtype="float32", clip_shape=(config.num_labels,))


def write_onnx(network: LeanClassifier, network_input: Tensor, path: Path, max_batch: int) -> None:
    """Trace ``network`` for batches up to ``max_batch`` into ``path``; weights over 2 GiB go into a file beside it."""
    # Two clips, because torch takes a batch of one for a constant.
    example = torch.zeros(2, *network_input.clip_shape)
    batch = torch.export.Dim("batch", min=1, max=max(2, max_batch))
    with warnings.catch_warnings(), _quiet_exporter(), torch.inference_mode():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(),
            (example,),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes=({0: batch},),
        )
    if program is None:
        raise ExportError("torch's exporter gave no program")
    _keep_module_names_only(program.model)
    program.save(path)
    onnx.checker.check_model(path, full_check=True)


def _keep_module_names_only(model: onnx_ir.Model) -> None:
    """Of what torch notes on each node, its module's name stays; stack traces of the building machine go."""
    for node in model.graph.all_nodes():
        for key in node.metadata_props.keys() - {_MODULE_NAMES}:
            del node.metadata_props[key]


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """torch warns of every optional package that it could register operators for."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
