"""The request of the specification, sent by curl."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from export.demo.rendering.clips import render_clip
from tests.live_server import LiveServer
from tests.server.requests import raw_body


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_specified_request_gets_specified_answer(live_server: LiveServer, tmp_path: Path) -> None:
    """16 raw BGR frames of 240 x 240 in base64 are 3.7 MB of JSON."""
    frames = render_clip(36_000_000, "Moving something down", size=(240, 240)).frames
    (tmp_path / "request.json").write_text(json.dumps(raw_body(frames, "BGR")))
    request = ["-X", "POST", f"{live_server.url}/api/v1/infer", "-H", "Content-Type: application/json"]
    asked = subprocess.run(
        ["curl", "-sS", "-w", "\n%{http_code}", *request, "-d", "@request.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    body, status = asked.stdout.rsplit("\n", 1)
    assert status == "200"
    answer = json.loads(body)
    assert answer.keys() >= {"predictions", "clip_id", "model"}
    assert all(prediction.keys() == {"label", "confidence"} for prediction in answer["predictions"])
    assert answer["predictions"][0]["label"] == "Moving something down"
    assert len(answer["predictions"]) == 5
