"""The demo in int8, calibrated with videos: its answers, its loss of accuracy, and invalid calibration data."""

from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np
import pytest

from engines.clip import Clip
from engines.errors import ExportError
from engines.runtimes.registry import load_engine
from engines.storage.bundle import DEMO, Bundle, open_bundle
from engines.storage.reference import FILE_NAME, Reference
from export.compilers.calibration import calibration, calibration_digest
from export.demo.labels import LABELS
from export.demo.rendering.clips import render_clip
from export.pipeline import export_bundle
from export.preflight import settled
from export.settings import parse_settings
from tests.conftest import written_once
from tests.live_server import run_module

VIDEOS = 10


def _write_video(path: Path, seed: int, frames: int = 16, fps: int = 3) -> None:
    """Write a rendered motion as MPEG-4."""
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for picture in render_clip(seed, LABELS[seed % len(LABELS)], frames=frames, size=(120, 160)).frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def write(directory: Path) -> None:
        directory.mkdir()
        for index in range(VIDEOS):
            # Videos at 6 frames per second contain one clip after sampling, those at 3 frames per second two.
            _write_video(directory / f"{index}.mp4", 77_000 + index, *((32, 3) if index % 2 else (32, 6)))

    return written_once(tmp_path_factory, "int8-videos", write)


@pytest.fixture(scope="module")
def bundle(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    def export(output: Path) -> None:
        flags = ("--target", "openvino", "--precision", "int8", "--max-batch", "3", "--calibration", str(videos))
        export_bundle(settled(parse_settings(["demo", "--output", str(output), *flags])))

    return open_bundle(written_once(tmp_path_factory, "int8", export))


def test_manifest_records_calibration_and_loss(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert (manifest.target, manifest.precision) == ("openvino", "int8")
    assert {file.name for file in manifest.files} == {"model.bin", "model.xml", "reference.npz"}
    assert manifest.built_with["nncf"] > "3"
    # Five videos give one clip each and five give two. Every fifth of these 15 clips is held out.
    assert manifest.options["calibration_clips"] == 12
    assert "of 3 clips" in str(manifest.options["held_out"])
    assert manifest.verification is not None
    assert manifest.verification.precision == "int8"
    assert manifest.verification.max_abs_probability_error <= 0.1
    assert manifest.verification.top1_agreement == 1.0


def test_int8_weights_are_small_and_answers_stay_close_to_fp32(bundle: Bundle) -> None:
    integers, floats = load_engine(bundle), load_engine(open_bundle(DEMO))
    assert integers.precision == "int8"
    clips = [Clip(np.ascontiguousarray(render_clip(78_000 + index).frames), "RGB") for index in range(66)]
    answers = [[engine.infer([clip]).probabilities[0] for clip in clips] for engine in (integers, floats)]
    integers.close()
    floats.close()
    best = np.argmax(answers, axis=2)
    assert (best[0] == best[1]).mean() >= 0.95
    assert np.abs(np.subtract(*answers)).mean() <= 0.01
    weights = bundle.file(".bin").stat().st_size
    assert weights < 0.35 * (DEMO / "model.onnx").stat().st_size


def test_batch_answers_keep_the_order_of_the_clips(bundle: Bundle) -> None:
    engine, reference = load_engine(bundle), Reference.read(bundle.path / FILE_NAME)
    alone = np.concatenate([engine.infer([clip]).probabilities for clip in reference.clips[:3]])
    together = engine.infer(reference.clips[:3]).probabilities
    engine.close()
    np.testing.assert_allclose(together, alone, atol=2e-2)
    np.testing.assert_allclose(together, reference.probabilities[:3], atol=0.1)


def test_bundle_is_reused_for_the_same_videos_only(bundle: Bundle, videos: Path) -> None:
    flags = ["demo", "--output", str(bundle.path), "--target", "openvino", "--precision", "int8", "--max-batch", "3"]
    again = export_bundle(settled(parse_settings([*flags, "--calibration", str(videos)])))
    assert again.reused
    assert again.bundle.manifest == bundle.manifest
    assert calibration_digest(videos) not in (calibration_digest(videos / "0.mp4"), calibration_digest(None))


def test_calibration_takes_distinct_clips_from_all_videos(videos: Path) -> None:
    found = calibration(videos, 16, open_bundle(DEMO).manifest.preprocessing)
    assert (len(found.learned), len(found.held_out)) == (12, 3)
    crops = [clip.frames for clip in (*found.learned, *found.held_out)]
    assert {crop.shape for crop in crops} == {(16, 64, 64, 3)}
    assert len({crop.tobytes() for crop in crops}) == len(crops)


def test_unreadable_video_is_named(tmp_path: Path, videos: Path) -> None:
    (tmp_path / "notes.txt").write_text("no video")
    with pytest.raises(ExportError, match=r"notes\.txt cannot be read as a video"):
        calibration(tmp_path, 16, open_bundle(DEMO).manifest.preprocessing)


def test_too_few_clips_are_refused_with_the_needed_duration(tmp_path: Path) -> None:
    _write_video(tmp_path / "short.mp4", 1, frames=20)
    with pytest.raises(ExportError, match="1 clips of 16 frames; 5 are the least") as refused:
        calibration(tmp_path, 16, open_bundle(DEMO).manifest.preprocessing)
    assert "5 s of video" in str(refused.value.help)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--precision", "int8", "--calibration", "nowhere"), "nowhere: no videos there"),
        (("--precision", "fp32", "--calibration", "."), "only --precision int8 and fp8 are calibrated"),
        (("--target", "torch", "--precision", "int8"), "torch runs in fp16, bf16, fp32"),
    ],
)
def test_invalid_calibration_is_refused_before_torch_is_imported(flags: tuple[str, ...], words: str) -> None:
    refused = run_module("export", "demo", "--target", "openvino", *flags)
    assert refused.returncode in (1, 2)
    assert words in refused.stderr
    assert "import torch" not in refused.stderr


def test_missing_nncf_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ExportError, match="NNCF, which is not installed") as refused:
        settled(parse_settings(["demo", "--target", "openvino", "--precision", "int8"]))
    assert "pip install" in str(refused.value.help)
