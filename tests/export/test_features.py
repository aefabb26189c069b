"""The features of exported networks, beside those of transformers, and that they change no answer."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
from transformers import VJEPA2Model

from engines import manifest as manifests
from engines.clip import Clip
from engines.engine import Engine
from engines.errors import CheckpointError, ExportError
from engines.manifest import Manifest
from engines.runtimes.registry import load_engine
from engines.storage.bundle import DEMO, open_bundle
from export.bundling.staging import write_manifest
from export.network.references import normalised
from export.pipeline import export_bundle
from export.settings import parse_settings
from tests.checkpoints import ODD, write_encoder

FRAMES = 8


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder") / "encoder", ODD)


@contextlib.contextmanager
def _exported(encoder: Path, path: Path, *flags: str) -> Iterator[Engine]:
    settings = parse_settings([str(encoder), "--precision", "fp32", "--output", str(path), *flags])
    with contextlib.closing(load_engine(export_bundle(settings).bundle)) as engine:
        yield engine


def _clips(manifest: Manifest, count: int = 2) -> list[Clip]:
    rng = np.random.default_rng(0)
    return [Clip(rng.integers(0, 256, (manifest.frames, 60, 80, 3), np.uint8), "RGB") for _ in range(count)]


@pytest.mark.parametrize(("target", "frames"), [("openvino", FRAMES), ("torch", 16)])
def test_encoder_alone_gives_the_features_of_transformers_tokens(
    encoder: Path, tmp_path: Path, target: str, frames: int
) -> None:
    model = VJEPA2Model.from_pretrained(encoder).eval()
    with _exported(encoder, tmp_path / "bundle", "--target", target, "--frames", str(frames)) as engine:
        manifest = engine.manifest
        assert (manifest.labels, manifest.frames, manifest.network_output) == ((), frames, None)
        assert manifest.verification is not None
        assert manifest.verification.features_error < 1e-4
        for clip in _clips(manifest):
            with torch.inference_mode():
                pixels = normalised(clip, manifest.preprocessing)
                tokens = model(pixels, skip_predictor=True).last_hidden_state
            by_tubelet = tokens.view(1, frames // 2, -1, ODD["hidden_size"])
            expected = torch.cat([by_tubelet.mean(2).flatten(1), by_tubelet.amax(2).flatten(1)], 1).numpy()
            inference = engine.infer([clip])
            assert inference.probabilities.shape == (1, 0)
            assert np.linalg.norm(inference.features - expected) <= 1e-4 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    ("flags", "error", "words"),
    [
        (["--precision", "int8"], ExportError, "cannot be told"),
        (["--frames", "9"], CheckpointError, "takes frames by 2"),
    ],
)
def test_what_an_encoder_cannot_do_is_refused(
    encoder: Path, tmp_path: Path, flags: list[str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        export_bundle(parse_settings([str(encoder), "--target", "openvino", "--output", str(tmp_path / "b"), *flags]))
    assert not (tmp_path / "b").exists()


def test_classifier_takes_only_its_own_number_of_frames(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="trained on clips of 16 frames"):
        export_bundle(parse_settings(["demo", "--frames", "32", "--output", str(tmp_path / "bundle")]))


def _without_features(path: Path) -> Path:
    """The demo as it was exported before there were features."""
    shutil.copytree(DEMO, path)
    network = onnx.load(path / "model.onnx")
    (kept,) = (output for output in network.graph.output if output.name == "probabilities")
    del network.graph.output[:]
    network.graph.output.append(kept)
    onnx.save(network, path / "model.onnx")
    manifest = manifests.decode((path / "engine.json").read_bytes())
    write_manifest(path, msgspec.structs.replace(manifest, features=msgspec.UNSET))
    return path


def test_features_change_no_bit_of_the_probabilities_and_bundles_without_them_still_serve(tmp_path: Path) -> None:
    with contextlib.ExitStack() as closing:
        former, present = (
            closing.enter_context(contextlib.closing(load_engine(open_bundle(path))))
            for path in (_without_features(tmp_path / "former"), DEMO)
        )
        assert former.manifest.features_identity() is None
        for clip in _clips(former.manifest, 8):
            before, after = former.infer([clip]), present.infer([clip])
            assert before.features is None
            assert after.features is not None
            np.testing.assert_array_equal(before.probabilities, after.probabilities)
