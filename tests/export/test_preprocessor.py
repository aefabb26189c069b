"""Preprocessor files of checkpoints: built as the checkpoint's own processor does it, or refused by name."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import VJEPA2Config

from engines.clip import Clip
from engines.errors import CheckpointError, ExportError
from engines.manifest import Preprocessing
from engines.preprocessing.cpu import crop_clip
from engines.storage.bundle import open_bundle
from export.architectures.registry import find_checkpoint
from export.architectures.vjepa2.checkpoint import VJepa2Checkpoint
from export.network.references import ask_checkpoint, normalised
from tests.checkpoints import ODD
from tests.in_process import run_here
from tests.live_server import ROOT

WRITTEN = sorted((Path(__file__).parent / "preprocessors").glob("*.json"))
NESTED, VIDEO, IMAGE = "processor_config.json", "video_preprocessor_config.json", "preprocessor_config.json"


def _checkpoint(path: Path, preprocessor: dict[str, Any] | None, *, crop: int = 96, name: str = VIDEO) -> Any:
    """The checkpoint of a config without weights, with this preprocessor file."""
    VJEPA2Config(**ODD | {"crop_size": crop}).save_pretrained(path)
    if preprocessor is not None:
        (path / name).write_text(json.dumps(preprocessor))
    return find_checkpoint(str(path), random_weights=True)


REFUSED: list[tuple[str, Any, str]] = [
    ("do_resize", False, "true"),
    ("do_center_crop", False, "true"),
    ("do_rescale", "no", "true or false"),
    ("do_rescale", None, "true or false"),
    ("resample", None, "2 (bilinear)"),
    ("do_normalize", 1, "true or false"),
    ("resample", 3, "2 (bilinear)"),
    ("resample", True, "2 (bilinear)"),
    ("rescale_factor", 0, "positive"),
    ("rescale_factor", "1/255", "positive"),
    ("crop_size", {"height": 96, "width": 128}, "square"),
    ("crop_size", {"shortest_edge": 96}, "square"),
    ("crop_size", [96, 96], "square"),
    ("image_mean", [0.5, 0.5], "3 channels"),
    ("image_mean", "imagenet", "3 channels"),
    ("image_mean", [0.5, 0.5, float("nan")], "3 channels"),
    ("image_std", [0.2, 0.2, 0.0], "positive"),
    ("video_processor_type", "VideoMAEVideoProcessor", "VJEPA2VideoProcessor"),
    ("auto_map", {"AutoVideoProcessor": "processing.Mine"}, "no code"),
]


@pytest.mark.parametrize(("field", "value", "accepted"), REFUSED)
def test_field_that_cannot_be_built_is_refused_by_name(tmp_path: Path, field: str, value: Any, accepted: str) -> None:
    with pytest.raises(CheckpointError) as raised:
        _checkpoint(tmp_path, {"crop_size": 96, field: value})
    assert f"{VIDEO}: {field} is {json.dumps(value)}" in str(raised.value)
    assert accepted in str(raised.value.help)


def test_processors_of_other_models_and_unknown_fields_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match='image_processor_type is "VideoMAEImageProcessor"'):
        _checkpoint(tmp_path / "other", {"image_processor_type": "VideoMAEImageProcessor", "crop_size": 96})
    with pytest.raises(CheckpointError, match="no field do_flip, gamma"):
        _checkpoint(tmp_path / "unknown", {"crop_size": 96, "gamma": 2.2, "do_flip": True, "unset": None})
    with pytest.raises(CheckpointError, match="crops to 256 pixels, but the model takes 96"):
        _checkpoint(tmp_path / "default crop", {"do_resize": True})


def test_command_refuses_a_field_in_one_line(tmp_path: Path) -> None:
    _checkpoint(tmp_path / "model", None)
    (tmp_path / "model" / IMAGE).write_text('{"crop_size": 96, "do_resize": false}')
    refused = run_here("export", str(tmp_path / "model"), "--random-weights", "--output", str(tmp_path / "bundle"))
    assert refused.returncode == 2
    last = refused.stderr.strip().splitlines()[-1]
    assert f"{IMAGE}: do_resize is false" in last
    assert "accepted: true" in last


BUILT: list[tuple[dict[str, Any], float, list[float], list[float]]] = [
    ({"do_rescale": False}, 1, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ({"rescale_factor": 1 / 127.5}, 1 / 127.5, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ({"do_normalize": False}, 1 / 255, [0, 0, 0], [1, 1, 1]),
    ({"do_normalize": False, "do_rescale": False}, 1, [0, 0, 0], [1, 1, 1]),
    ({"image_mean": 0.5, "image_std": [0.5, 0.25, 0.125]}, 1 / 255, [0.5, 0.5, 0.5], [0.5, 0.25, 0.125]),
    ({"do_convert_rgb": None, "do_pad": True, "size": 7}, 1 / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
]


@pytest.mark.parametrize(("fields", "factor", "mean", "std"), BUILT)
def test_scale_and_normalisation_are_built_as_the_processor_does_them(
    tmp_path: Path, fields: dict[str, Any], factor: float, mean: list[float], std: list[float]
) -> None:
    checkpoint = _checkpoint(tmp_path, {"crop_size": 96, "video_processor_type": "VJEPA2VideoProcessor"} | fields)
    frames = np.random.default_rng(0).integers(0, 256, (2, 150, 101, 3), np.uint8)
    levels = crop_clip(frames, Preprocessing(109, 96)).astype(np.float64)
    expected = ((levels * factor - mean) / std).transpose(0, 3, 1, 2)
    pixels = normalised(Clip(frames, "RGB"), checkpoint.preprocessing)[0].numpy()
    theirs = checkpoint.processor.prepare(torch.from_numpy(frames).permute(0, 3, 1, 2))[0].numpy()
    np.testing.assert_allclose(pixels, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(theirs, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("file", WRITTEN, ids=lambda file: file.stem)
@pytest.mark.parametrize("name", [NESTED, VIDEO, IMAGE])
def test_files_as_transformers_writes_them_are_accepted(tmp_path: Path, file: Path, name: str) -> None:
    content = json.loads(file.read_text())
    nested = {"processor_class": "VJEPA2Processor", "video_processor": content}
    checkpoint = _checkpoint(tmp_path, nested if name == NESTED else content, crop=256, name=name)
    assert checkpoint.preprocessing == Preprocessing(292, 256)


def test_preprocessor_files_are_read_in_the_order_of_transformers(tmp_path: Path) -> None:
    """The nested file is read first, then that for videos, then that for images; all are part of the hash."""
    means, hashes = [], []
    for mean, name in ((0.1, IMAGE), (0.2, VIDEO), (0.3, NESTED)):
        content: dict[str, Any] = {"crop_size": 96, "image_mean": mean}
        checkpoint = _checkpoint(tmp_path, {"video_processor": content} if name == NESTED else content, name=name)
        means.append(checkpoint.preprocessing.mean[0])
        hashes.append(checkpoint.sha256)
    assert means == pytest.approx([0.1, 0.2, 0.3])
    assert len(set(hashes)) == 3
    (tmp_path / NESTED).write_text('{"processor_class": "VJEPA2Processor"}')
    assert find_checkpoint(str(tmp_path), random_weights=True).preprocessing.mean[0] == pytest.approx(0.2)
    (tmp_path / NESTED).write_text('{"video_processor": [1]}')
    with pytest.raises(CheckpointError, match=r"video_processor is \[1\]"):
        find_checkpoint(str(tmp_path), random_weights=True)


@dataclass(frozen=True)
class _OtherPixels(VJepa2Checkpoint):
    """A checkpoint that the engines' preprocessing would do wrong."""

    wrong: Preprocessing = field(kw_only=True)

    @property
    def preprocessing(self) -> Preprocessing:
        return self.wrong


WRONG = [
    {"resize": 111},
    {"mean": (0.406, 0.456, 0.485)},
    {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
]


@pytest.mark.parametrize("changes", WRONG, ids=str)
def test_export_sees_pixels_that_differ_from_those_of_the_processor(
    odd_checkpoint: Path, changes: dict[str, Any]
) -> None:
    found = find_checkpoint(str(odd_checkpoint))
    assert isinstance(found, VJepa2Checkpoint)
    wrong = replace(found.preprocessing, **changes)
    damaged = _OtherPixels(found.model, found.path, None, found.config, found.preprocessor, False, wrong=wrong)
    with pytest.raises(ExportError, match="levels of 8 bits from those of"):
        ask_checkpoint(damaged, None)


def test_export_with_a_nested_preprocessor_is_verified_and_says_what_prepared_the_clips(tmp_path: Path) -> None:
    fields = {"crop_size": 96, "do_rescale": False, "do_normalize": False, "video_processor_type": None}
    _checkpoint(tmp_path / "model", {"video_processor": fields}, name=NESTED)
    output = tmp_path / "bundle"
    flags = ("--random-weights", "--target", "openvino", "--precision", "fp32", "--output", str(output))
    exported = run_here("export", str(tmp_path / "model"), *flags)
    assert exported.returncode == 0, exported.stderr
    manifest = open_bundle(output).manifest
    assert manifest.preprocessing == Preprocessing(109, 96, (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))
    assert manifest.verification is not None
    assert "torchvision" in manifest.built_with["reference_preprocessing"]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a hub with one model, whose files are those of ``tmp_path/model``; and what was asked for."""
    revision, asked = "0123456789abcdef0123456789abcdef01234567", []
    files = {file.name: file.read_bytes() for file in sorted((tmp_path / "model").iterdir())}
    listed = [{"type": "file", "path": name, "size": len(body), "oid": name} for name, body in files.items()]
    described = {"id": "a/b", "sha": revision, "siblings": [{"rfilename": name} for name in files]}

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path.startswith("/api/"):
                name, body = "", json.dumps(listed if "/tree/" in path else described).encode()
            else:
                name = path.rpartition("/")[2]
                body = files.get(name, b"")
                asked.append(name)
            self.send_response(200)
            headers = {"ETag": f'"{name}"', "X-Repo-Commit": revision, "Content-Length": str(len(body))}
            for header, value in headers.items():
                self.send_header(header, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@pytest.fixture
def model(tmp_path: Path) -> None:
    _checkpoint(tmp_path / "model", {"video_processor": {"crop_size": 96, "image_mean": 0.25}}, name=NESTED)
    (tmp_path / "model" / "README.md").write_text("not needed")


def test_nested_preprocessor_is_downloaded(model: None, hub: tuple[str, list[str]], tmp_path: Path) -> None:
    address, asked = hub
    show = (
        "from export.architectures.checkpoint_files import find_preprocessor, locate\n"
        "print(find_preprocessor(locate('a/b', random_weights=True)[0])[1]['image_mean'])"
    )
    environment = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home")}
    shown = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert shown.stdout.split() == ["0.25"], shown.stderr
    assert set(asked) == {"config.json", NESTED}
