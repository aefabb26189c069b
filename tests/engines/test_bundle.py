"""A bundle that is not what it should be is never served: exit code 2 and one line."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from engines.errors import BundleDamagedError, BundleError, BundleNotFoundError, BundleUnsupportedError
from engines.storage.bundle import DEMO, bundles_in, open_bundle
from tests.live_server import run_module

Damage = Callable[[Path], object]


def _edit(bundle: Path, **changes: object) -> None:
    manifest = bundle / "engine.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | changes))


def _flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _onnx(bundle: Path) -> Path:
    return bundle / "model.onnx"


DAMAGES: dict[str, tuple[Damage, type[BundleError], str]] = {
    "network truncated": (
        lambda b: _onnx(b).write_bytes(_onnx(b).read_bytes()[:-1000]),
        BundleDamagedError,
        "truncated model.onnx",
    ),
    "network altered": (lambda b: _flip_a_byte(_onnx(b)), BundleDamagedError, "altered model.onnx"),
    "network missing": (lambda b: _onnx(b).unlink(), BundleDamagedError, "lacks model.onnx"),
    "manifest truncated": (
        lambda b: (b / "engine.json").write_bytes((b / "engine.json").read_bytes()[:300]),
        BundleDamagedError,
        "unreadable engine.json",
    ),
    "manifest binary": (
        lambda b: (b / "engine.json").write_bytes(b"\xff\xfe\x00"),
        BundleDamagedError,
        "unreadable engine.json",
    ),
    "label renamed": (lambda b: _edit(b, labels=["x"] * 5), BundleDamagedError, "altered engine.json"),
    "file outside": (
        lambda b: _edit(b, files=[{"name": "../x.onnx", "size_bytes": 1, "sha256": ""}]),
        BundleDamagedError,
        "unreadable engine.json",
    ),
    "past format": (lambda b: _edit(b, format_version=1), BundleUnsupportedError, "format version 1"),
    "future format with new fields": (
        lambda b: (b / "engine.json").write_text('{"format_version": 99, "shards": []}'),
        BundleUnsupportedError,
        "format version 99",
    ),
    "no manifest": (lambda b: (b / "engine.json").unlink(), BundleNotFoundError, "no engine bundle"),
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO, tmp_path / "bundle"))


def test_an_intact_copy_opens(bundle: Path) -> None:
    assert open_bundle(bundle).manifest == open_bundle(DEMO).manifest


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_bundle_error_names_damage_and_help(bundle: Path, name: str) -> None:
    damage, error, words = DAMAGES[name]
    damage(bundle)
    with pytest.raises(error, match=words) as raised:
        open_bundle(bundle)
    assert raised.value.help


@pytest.mark.parametrize(
    "name", ["network truncated", "network altered", "future format with new fields", "no manifest"]
)
def test_server_refuses_damaged_bundle_with_one_line_and_code_2(bundle: Path, name: str) -> None:
    damage, _, words = DAMAGES[name]
    damage(bundle)
    refused = run_module("server", str(bundle), "--port", "0", "--log-format", "text")
    assert refused.returncode == 2
    assert words in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_every_other_manifest_field_is_sealed(bundle: Path) -> None:
    intact = (bundle / "engine.json").read_text()
    for field in json.loads(intact).keys() - {"digest", "format_version"}:
        _edit(bundle, **{field: None})
        with pytest.raises(BundleDamagedError):
            open_bundle(bundle)
        (bundle / "engine.json").write_text(intact)
    open_bundle(bundle)


# As the service wrote it before format 3, with a digest of exactly these fields.
FORMAT_2 = """{"format_version":2,"name":"old","source":{"model":"old","revision":null,"sha256":"00",
"random_weights":false},"labels":["a","b"],"frames":16,"preprocessing":{"resize":73,"crop":64,"mean":[0.485,0.456,0.406],
"std":[0.229,0.224,0.225]},"target":"tensorrt-rtx","precision":"fp16","max_batch":8,"network_input":{"name":"pixels",
"dtype":"float16","clip_shape":[16,3,64,64]},"network_output":{"name":"probabilities","dtype":"float32",
"clip_shape":[2]},"device":{"name":"RTX","compute_capabilities":["8.9"]},"built_at":"2026-11-24T03:10:58+00:00",
"built_with":{"python":"3.11.7"},"recipe":"00","options":{"opset":20},"verification":{"device":"RTX","clips":4,
"precision":"fp16","max_abs_probability_error":0.0005,"tolerance":0.005,"top1_agreement":1.0,"top5_agreement":1.0},
"stage_errors":[{"stage":"patches","relative_error":0.0001}],"files":[],
"digest":"784f198d9634b31b7de4b0aaa7e887af25ff3437a8e7a0aaeeeeee7a83d1fdb1"}"""


def test_bundle_of_format_2_still_opens(tmp_path: Path) -> None:
    (tmp_path / "engine.json").write_text(FORMAT_2)
    manifest = open_bundle(tmp_path).manifest
    assert (manifest.format_version, manifest.name) == (2, "old")
    assert manifest.verification is not None
    assert manifest.verification.log_odds_error is None
    assert manifest.stage_errors[0].peak is None


def test_hidden_partial_bundles_are_not_listed(tmp_path: Path) -> None:
    shutil.copytree(DEMO, tmp_path / ".half.partial")
    shutil.copytree(DEMO, tmp_path / "whole")
    assert bundles_in(tmp_path) == [tmp_path / "whole"]


def test_pipe_in_the_place_of_the_manifest_is_no_bundle(tmp_path: Path) -> None:
    pipe = tmp_path / "engine.json"
    os.mkfifo(pipe)
    # A writer comes, so that a reader would get something instead of waiting for ever.
    writer = threading.Thread(target=lambda: os.close(os.open(pipe, os.O_WRONLY)), daemon=True)
    writer.start()
    with pytest.raises(BundleNotFoundError):
        open_bundle(tmp_path)
    os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))
    writer.join(60)
