"""Quantizes the ONNX network to int8 for OpenVINO with NNCF, and compares it with the original network."""

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
    """The loss on held-out clips: how many kept their top label, and the largest change of a probability."""

    clips: int
    same_top1: int
    max_abs_probability_error: float


def quantize(onnx: Path, directory: Path, clips: Calibration, preprocessing: Preprocessing) -> Cost:
    """Write ``model.xml`` and ``model.bin`` into ``directory``: matrix products in int8, the rest in floating point.

    Weights are symmetric with one scale per output channel; activations have one scale per tensor.
    """
    # Before NNCF, which starts the same telemetry; its import takes three seconds.
    ov = load_openvino()
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedSmoothQuantParameters, OverflowFix

    smoothing = AdvancedSmoothQuantParameters(matmul=_SMOOTHING)
    nncf.set_log_level(logging.ERROR)
    network = ov.Core().read_model(onnx)
    # The frames are already cropped, so the resize must keep their size.
    preprocess = CpuPreprocessor(replace(preprocessing, resize=preprocessing.crop), threads=1)
    # NNCF draws its progress bars on stdout, which is for results.
    with contextlib.closing(preprocess), contextlib.redirect_stdout(sys.stderr):
        quantized = nncf.quantize(
            network,
            nncf.Dataset(clips.learned, lambda clip: preprocess.batch([clip])),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(clips.learned),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                # Without VNNI, sums of two products saturate at 16 bits, unless the weights leave room for them.
                overflow_fix=OverflowFix.FIRST_LAYER if _has_vnni() else OverflowFix.ENABLE,
                smooth_quant_alphas=smoothing,
            ),
        )
        ov.save_model(quantized, directory / NETWORK_FILE_NAME, compress_to_fp16=False)
        held_out = [preprocess.batch([clip]) for clip in clips.held_out]
        return _cost(_answers(network, held_out), _answers(quantized, held_out))


def _has_vnni() -> bool:
    """Whether the CPU sums products of bytes in 32 bits; False where the system does not tell."""
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def _answers(network: ov.Model, inputs: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Probabilities, float32 [clips, labels]."""
    compiled = load_openvino().Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": floats("int8")})
    return np.concatenate([compiled([clip])[0] for clip in inputs])


def _cost(before: npt.NDArray[np.float32], after: npt.NDArray[np.float32]) -> Cost:
    same = before.argmax(axis=1) == after.argmax(axis=1)
    return Cost(len(same), int(same.sum()), float(np.abs(after - before).max()))
