"""The ONNX network in 8-bit integers for OpenVINO: calibrated by NNCF, and compared with what it was before."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from engines.manifest import Preprocessing
from engines.preprocessing.cpu import CpuPreprocessor
from engines.runtimes.openvino import floats, load_openvino
from export.compilers.calibration import Calibration

if TYPE_CHECKING:
    import openvino as ov

NETWORK_FILE_NAME = "model.xml"
# SmoothQuant's own default (arXiv 2211.10438); NNCF's 0.95 is for language models: see docs/export.md.
_SMOOTHING = 0.5


@dataclass(frozen=True)
class Cost:
    """What the held-out clips lost: how many kept their best label, and how far a probability moved at most."""

    clips: int
    same_top1: int
    max_abs_probability_error: float


def quantize(onnx: Path, directory: Path, clips: Calibration, preprocessing: Preprocessing) -> Cost:
    """Write ``model.xml`` and ``model.bin`` into ``directory``: products in int8, the rest as the CPU likes it best.

    Weights are symmetric and of their own scale for each output channel, activations of one scale a tensor.
    """
    # Before NNCF, which starts the same telemetry; its import takes three seconds.
    ov = load_openvino()
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedSmoothQuantParameters

    smoothing = AdvancedSmoothQuantParameters(matmul=_SMOOTHING)
    nncf.set_log_level(logging.ERROR)
    network = ov.Core().read_model(onnx)
    # The frames are cropped already.
    preprocess = CpuPreprocessor(replace(preprocessing, resize=preprocessing.crop), threads=1)
    # NNCF draws its bars where results are printed.
    with contextlib.closing(preprocess), contextlib.redirect_stdout(sys.stderr):
        quantized = nncf.quantize(
            network,
            nncf.Dataset(clips.learned, lambda clip: preprocess.batch([clip])),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(clips.learned),
            advanced_parameters=nncf.AdvancedQuantizationParameters(smooth_quant_alphas=smoothing),
        )
        ov.save_model(quantized, directory / NETWORK_FILE_NAME, compress_to_fp16=False)
        held_out = [preprocess.batch([clip]) for clip in clips.held_out]
        return _cost(_answers(network, held_out), _answers(quantized, held_out))


def _answers(network: ov.Model, inputs: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Probabilities, float32 [clips, labels]."""
    compiled = load_openvino().Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": floats("int8")})
    return np.concatenate([compiled([clip])[0] for clip in inputs])


def _cost(before: npt.NDArray[np.float32], after: npt.NDArray[np.float32]) -> Cost:
    same = before.argmax(axis=1) == after.argmax(axis=1)
    return Cost(len(same), int(same.sum()), float(np.abs(after - before).max()))
