"""The whole way from a checkpoint to a verified bundle, stage by stage."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path

import msgspec
import openvino as ov
from transformers import VJEPA2ForVideoClassification

from engines.bundle import Bundle, open_bundle
from engines.clip import Clip
from engines.manifest import FORMAT_VERSION, Device, Manifest, Precision, Source
from engines.openvino_runtime import usable_precision
from engines.runtimes import load_engine
from export.checkpoint import Checkpoint, find_checkpoint
from export.graph import network_tensors, write_onnx
from export.lean import LeanClassifier
from export.settings import ExportSettings
from export.staging import staged, write_manifest
from export.verification import Floats, reference_clips, reference_probabilities, verify

Stage = Callable[[str], AbstractContextManager[None]]
Reference = tuple[list[Clip], Floats]

_BUILDERS = ("torch", "transformers", "onnx", "onnxscript", "openvino")


def export_bundle(settings: ExportSettings, stage: Stage) -> Bundle:
    """Build the bundle that ``settings`` ask for; ``stage`` wraps each stage to show it.

    Raises:
        CheckpointError, ExportError, EngineError: nothing is left behind.
    """
    with stage("find checkpoint"):
        checkpoint = find_checkpoint(settings.model, random_weights=settings.random_weights)
    with stage("load weights"):
        model = checkpoint.load()
    precision = settings.precision or usable_precision(ov.Core(), "bf16")
    output = settings.output_for(checkpoint.model, precision)
    with staged(output) as directory:
        reference = _reference(settings, checkpoint, model, stage)
        with stage("trace to ONNX"):
            network_input, _ = network_tensors(checkpoint.config)
            write_onnx(LeanClassifier(model), network_input, directory / "model.onnx", settings.max_batch)
        with stage("hash"):
            manifest = write_manifest(directory, _manifest(settings, checkpoint, precision, output.name))
        if reference is not None:
            with stage("verify"):
                _verify(directory, manifest, reference)
    return open_bundle(output)


def _reference(
    settings: ExportSettings, checkpoint: Checkpoint, model: VJEPA2ForVideoClassification, stage: Stage
) -> Reference | None:
    """The checkpoint's own answers, asked before its weights go into the lean network; None if nobody wants them."""
    if not settings.verify:
        return None
    with stage("ask checkpoint"):
        clips = reference_clips(checkpoint.config.frames_per_clip)
        return clips, reference_probabilities(model, checkpoint.preprocessing, clips)


def _verify(directory: Path, manifest: Manifest, reference: Reference) -> None:
    engine = load_engine(open_bundle(directory))
    try:
        verification = verify(engine, *reference)
    finally:
        engine.close()
    write_manifest(directory, msgspec.structs.replace(manifest, verification=verification))


def _manifest(settings: ExportSettings, checkpoint: Checkpoint, precision: Precision, name: str) -> Manifest:
    network_input, network_output = network_tensors(checkpoint.config)
    return Manifest(
        format_version=FORMAT_VERSION,
        name=name,
        source=_source(checkpoint),
        labels=checkpoint.labels,
        frames=checkpoint.config.frames_per_clip,
        preprocessing=checkpoint.preprocessing,
        target=settings.target,
        precision=precision,
        max_batch=settings.max_batch,
        network_input=network_input,
        network_output=network_output,
        device=Device(name=str(ov.Core().get_property("CPU", "FULL_DEVICE_NAME")).strip()),
        built_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        built_with={"python": platform.python_version()} | {name: version(name) for name in _BUILDERS},
        verification=None,
        files=(),
    )


def _source(checkpoint: Checkpoint) -> Source:
    return Source(
        model=checkpoint.model,
        revision=checkpoint.revision,
        sha256=checkpoint.sha256(),
        random_weights=checkpoint.random_weights,
    )
