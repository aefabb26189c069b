"""Runs all stages of an export, from the checkpoint to the verified bundle."""

from __future__ import annotations

import datetime
import functools
import json
import os
import platform
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from engines.errors import BundleError, BundleUnsupportedError, ExportError
from engines.manifest import FILE_NAME, FORMAT_VERSION, Manifest, Source, StageError
from engines.options import EngineOptions
from engines.runtimes.registry import open_engine
from engines.storage.bundle import Bundle, open_bundle, replace_manifest
from engines.storage.reference import FILE_NAME as REFERENCE_FILE_NAME
from engines.storage.reference import Reference
from engines.storage.verification import check_network, verify
from engines.storage.writers import check_writers
from export.architectures.base import Checkpoint, StagedNetwork
from export.architectures.registry import find_checkpoint
from export.bundling.stage_cache import StageCache, digest_of, link_files, origin_of, versions
from export.bundling.staging import check_replaceable, staged, write_manifest
from export.catalog import described_values
from export.compilers.calibration import calibration, calibration_digest
from export.compilers.compile import Compiled, compile_network
from export.network.estimate import check_room, describe, outline
from export.network.fp8 import Fp8, calibrate, convert
from export.network.graph import features_output, input_tensor, probabilities_output, trace, write_onnx, write_program
from export.network.precision_probe import DTYPES, probe
from export.network.references import ask_checkpoint, normalised
from export.progress import say, stage
from export.settings import CALIBRATED, ExportSettings
from export.targets import check_head_size, network_precision


@dataclass(frozen=True)
class Exported:
    """``reused``: the bundle already existed, built from the same checkpoint with the same options."""

    bundle: Bundle
    reused: bool


def export_bundle(settings: ExportSettings) -> Exported:
    """Build the bundle for ``settings``, or return it if it exists already.

    Raises:
        CheckpointError, ExportError, EngineError, BundleError: no bundle is written, but the results of finished
            stages are kept for the next attempt.
    """
    # Bundles and the results of stages contain code, so nobody else may write them.
    os.umask(os.umask(0o022) | 0o022)
    checkpoint = find_checkpoint(
        settings.model,
        random_weights=settings.random_weights,
        ignore_unknown=settings.ignore_unknown_fields,
        frames=settings.frames,
    )
    _check_precision(settings, checkpoint)
    output = settings.output_for(checkpoint.model)
    check_replaceable(output)
    with stage("hash checkpoint"):
        origin = origin_of(
            checkpoint.sha256, checkpoint.random_weights, checkpoint.preprocessing, checkpoint.clip_shape[0]
        )
    videos = calibration_digest(settings.calibration)
    options = (settings.precision, settings.max_batch, settings.plan, settings.verify, settings.inductor, videos)
    recipe = digest_of(origin, settings.target, *options)
    built = None if settings.force else _built(output, recipe)
    if built is not None:
        return Exported(built, reused=True)
    cache = StageCache(output.parent, origin)
    if settings.runs_code and not settings.trust_writable_bundles:
        check_writers([cache.directory])
    network = checkpoint.sizes()
    if settings.needs_onnx:
        check_head_size(network.head_size, settings.plan.opset)
    sizes = outline(network, settings)
    say(describe(sizes, settings, checkpoint.model, output))
    check_room(sizes, output)
    return Exported(_Export(settings, checkpoint, cache, recipe, output).run(), reused=False)


def _check_precision(settings: ExportSettings, checkpoint: Checkpoint) -> None:
    """Raises ExportError for precisions whose loss is measured by answers, which a pretrained encoder does not give."""
    if settings.precision in CALIBRATED and not checkpoint.labels:
        raise ExportError(
            f"--precision {settings.precision}: {checkpoint.model} is a pretrained encoder without labels, so what it"
            " would lose cannot be told",
            help="accepted: fp16, bf16 and fp32, as the target has them",
        )


def _built(output: Path, recipe: str) -> Bundle | None:
    """The bundle in ``output`` if it is intact and was built from ``recipe``, else None."""
    if not (output / FILE_NAME).is_file():
        return None
    try:
        bundle = open_bundle(output)
    except BundleError:
        return None
    return bundle if bundle.manifest.recipe == recipe else None


class _Export:
    """One export. Its stages keep their results in ``cache``, so that finished ones are not repeated."""

    def __init__(
        self, settings: ExportSettings, checkpoint: Checkpoint, cache: StageCache, recipe: str, output: Path
    ) -> None:
        self._settings, self._checkpoint, self._cache = settings, checkpoint, cache
        self._recipe, self._output = recipe, output
        self._precision = network_precision(settings.target, settings.precision)
        self._input = input_tensor(checkpoint.clip_shape, self._precision)

    def run(self) -> Bundle:
        with self._cache.locked(), staged(self._output) as directory:
            if self._settings.force:
                self._cache.clear()
            if self._settings.verify:
                link_files(self._reference(), directory)
            errors = self._probe() if self._settings.verify and self._settings.precision != "fp32" else ()
            link_files(self._graph(), directory)
            compiled = compile_network(
                self._settings, self._input, self._checkpoint.preprocessing, directory, self._output.parent
            )
            with stage("hash bundle"):
                write_manifest(directory, self._manifest(compiled, errors))
            if self._settings.verify:
                _verify(open_bundle(directory), self._settings)
            self._cache.clear()
        return open_bundle(self._output)

    @functools.cached_property
    def _model(self) -> Any:
        with stage("load weights"):
            return self._checkpoint.load()

    @functools.cached_property
    def _network(self) -> StagedNetwork:
        """In FP32 until it is traced. It takes over the modules of the model, which is therefore forgotten."""
        model = self._model
        del self._model
        settings = self._settings
        fused_attention = not settings.needs_onnx or settings.plan.opset >= 23
        stacked = settings.target != "openvino"
        return self._checkpoint.network(model, fused_attention=fused_attention, stacked=stacked)

    def _reference(self) -> Path:
        def build(directory: Path) -> None:
            model = self._model
            with stage("ask checkpoint"):
                ask_checkpoint(self._checkpoint, model).write(directory / REFERENCE_FILE_NAME)

        return self._cache.product("reference", build)

    def _reference_pixels(self) -> dict[str, str]:
        """What prepared the reference clips, for the manifest."""
        return {"reference_preprocessing": self._checkpoint.processor.described} if self._settings.verify else {}

    def _probe(self) -> tuple[StageError, ...]:
        """Check the network in FP32, which the engine is not, and measure the errors of its stages in its precision.

        OpenVINO lowers a network in FP32 by itself, so nothing is measured for it.
        """

        def build(directory: Path) -> None:
            reference = Reference.read(self._reference() / REFERENCE_FILE_NAME)
            network, checkpoint = self._network, self._checkpoint
            with stage("check network" if self._precision == "fp32" else f"probe {self._precision}"):
                pixels = [normalised(clip, checkpoint.preprocessing) for clip in reference.clips]
                probed = probe(network, pixels, self._precision)
            check_network(probed.probabilities.numpy(), probed.features.numpy(), reference, checkpoint.feature_parts)
            (directory / "errors.json").write_bytes(msgspec.json.encode(probed.errors))

        found = (self._cache.product(f"probe-{self._precision}", build) / "errors.json").read_bytes()
        errors = msgspec.json.decode(found, type=tuple[StageError, ...])
        if errors:
            say(f"{'values':<16} {described_values(errors, self._precision)}")
        return errors

    def _graph(self) -> Path:
        fp8 = self._fp8

        def build(directory: Path) -> None:
            network = self._network.to(DTYPES[self._precision])
            if fp8 is not None:
                convert(network, fp8.largest_inputs, for_onnx=self._settings.needs_onnx)
            # Drop the reference, because compilers need the memory.
            del self._network
            with stage("trace"):
                program = trace(network, self._input)
            if self._settings.needs_onnx:
                with stage("write ONNX"):
                    write_onnx(program, directory, self._settings.plan.opset, self._properties())
            else:
                write_program(program, directory)

        kind = f"onnx{self._settings.plan.opset}" if self._settings.needs_onnx else "program"
        kind = f"{kind}-separate" if self._settings.target == "openvino" else kind
        kind = f"{kind}-{self._precision}"
        return self._cache.product(kind if fp8 is None else f"{kind}-{self._fp8_kind}", build)

    @property
    def _fp8_kind(self) -> str:
        """The name of what FP8 takes from these calibration clips, in the cache."""
        return f"fp8-{digest_of(calibration_digest(self._settings.calibration))[:16]}"

    @functools.cached_property
    def _fp8(self) -> Fp8 | None:
        """The scales of a network in FP8, and what it loses on clips that were held out; None in other precisions."""
        if self._settings.precision != "fp8":
            return None

        def build(directory: Path) -> None:
            network, checkpoint = self._network, self._checkpoint
            with stage("find clips"):
                clips = calibration(self._settings.calibration, checkpoint.clip_shape[0], checkpoint.preprocessing)
            # The frames are already cropped, so the resize must keep their size.
            cropped = replace(checkpoint.preprocessing, resize=checkpoint.preprocessing.crop)
            learned, held_out = (
                [normalised(clip, cropped) for clip in some] for some in (clips.learned, clips.held_out)
            )
            with stage("calibrate fp8"):
                found = calibrate(network, learned, held_out)
            (directory / "fp8.json").write_bytes(msgspec.json.encode(found))

        found = msgspec.json.decode((self._cache.product(self._fp8_kind, build) / "fp8.json").read_bytes(), type=Fp8)
        say(f"{'fp8':<16} {found.loss} (held-out clips, compared with the network before quantization)")
        return found

    def _fp8_options(self) -> dict[str, bool | int | str]:
        fp8 = self._fp8
        return {} if fp8 is None else {"calibration_clips": fp8.calibration_clips, "held_out": fp8.loss}

    def _properties(self) -> dict[str, str]:
        """Metadata that explains the ONNX file when it is found without its bundle."""
        checkpoint = self._checkpoint
        return {
            "model": checkpoint.model,
            "source_sha256": checkpoint.sha256,
            "labels": json.dumps(checkpoint.labels),
            "preprocessing": json.dumps(asdict(checkpoint.preprocessing)),
        }

    def _manifest(self, compiled: Compiled, errors: tuple[StageError, ...]) -> Manifest:
        settings, checkpoint = self._settings, self._checkpoint
        return Manifest(
            format_version=FORMAT_VERSION,
            name=self._output.name,
            source=_source(checkpoint),
            labels=checkpoint.labels,
            frames=checkpoint.clip_shape[0],
            preprocessing=checkpoint.preprocessing,
            target=settings.target,
            precision=settings.precision,
            max_batch=settings.max_batch,
            network_input=self._input,
            network_output=probabilities_output(len(checkpoint.labels)),
            features=features_output(checkpoint.feature_parts),
            device=compiled.device,
            built_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            built_with={"python": platform.python_version()}
            | versions()
            | compiled.built_with
            | self._reference_pixels(),
            recipe=self._recipe,
            options=compiled.options | self._fp8_options(),
            verification=None,
            stage_errors=errors,
        )


def _verify(bundle: Bundle, settings: ExportSettings) -> None:
    """Compare the engine's answers with the reference answers, if this machine can run the bundle."""
    try:
        engine = open_engine(bundle, EngineOptions(trust_writable_bundles=settings.trust_writable_bundles))
    except BundleUnsupportedError:
        say("verify           skipped here: the server verifies the bundle when it first loads it on its device")
        return
    try:
        with stage("verify"):
            found = verify(engine, Reference.read(bundle.path / REFERENCE_FILE_NAME))
    finally:
        engine.close()
    replace_manifest(bundle, verification=found)


def _source(checkpoint: Checkpoint) -> Source:
    return Source(
        model=checkpoint.model,
        revision=checkpoint.revision,
        sha256=checkpoint.sha256,
        random_weights=checkpoint.random_weights,
        ignored=checkpoint.ignored or msgspec.UNSET,
    )
