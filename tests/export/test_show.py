"""``just demo`` runs the server with the demo engine and the consumer, each in its own process."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import av
import pytest

from export.demo.labels import LABELS
from export.demo.show import VIDEO_FPS, VIDEO_FRAMES, write_motion
from tests.consumer.videos import at, damage, write_video
from tests.live_server import run_module


@pytest.mark.parametrize("label", ["Pushing something from left to right", "Moving something down"])
def test_rendered_motion_is_the_top_prediction(label: str) -> None:
    shown = run_module("export.demo.show", "--label", label, "--seed", "35000000")
    assert shown.returncode == 0, shown.stderr
    assert f"of: {label}" in shown.stdout
    rows = re.findall(r"^ +([0-9.]+)% +#* +(.+)$", shown.stdout, re.MULTILINE)
    assert len(rows) == 5
    assert rows[0][1] == label
    assert {name for _, name in rows} <= set(LABELS)
    assert "Right: the motion drawn came first." in shown.stdout


def test_random_motion_is_rendered_without_arguments() -> None:
    shown = run_module("export.demo.show")
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"the motion drawn (came|did not come) first", shown.stdout)


def test_given_video_is_classified_clip_by_clip(tmp_path: Path) -> None:
    write_motion(tmp_path / "mine.mp4", "Moving something up", seed=35_000_001)
    shown = run_module("export.demo.show", str(tmp_path / "mine.mp4"))
    assert shown.returncode == 0, shown.stderr
    assert "0.0 s to 5.3 s" in shown.stdout
    assert "motion drawn" not in shown.stdout


def test_invalid_video_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    shown = run_module("export.demo.show", str(tmp_path / "text.mp4"))
    assert shown.returncode == 1
    assert len(shown.stderr.strip().splitlines()) == 1
    assert "text.mp4" in shown.stderr


def test_video_that_cannot_be_decoded_is_reported_in_one_line(tmp_path: Path) -> None:
    video = write_video(tmp_path / "damaged.mp4", at(30, 1), codec="mpeg4", time_base=Fraction(1, 30))
    damage(video, slice(None))
    shown = run_module("export.demo.show", str(video))
    assert shown.returncode == 1
    (line,) = shown.stderr.strip().splitlines()
    assert "could be decoded; help: " in line


def test_rendered_video_is_an_h264_mp4(tmp_path: Path) -> None:
    write_motion(tmp_path / "motion.mp4", "Holding something", seed=1)
    with av.open(str(tmp_path / "motion.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate) == ("h264", VIDEO_FPS)
        assert sum(1 for _ in container.decode(stream)) == VIDEO_FRAMES
