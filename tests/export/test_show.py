"""``just demo`` runs the server with the demo engine and the consumer, each in its own process."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from urllib.request import Request, urlopen

import av
import numpy as np
import pytest

from export.demo.labels import LABELS
from export.demo.show import SAMPLE, SAMPLE_LABEL, SAMPLE_SEED, VIDEO_FPS, VIDEO_FRAMES, write_motion
from tests.consumer.videos import at, damage, write_video
from tests.live_server import ROOT, run_module


@pytest.mark.parametrize("label", ["Pushing something from left to right"])
def test_rendered_motion_is_the_top_prediction(label: str) -> None:
    shown = run_module("export.demo.show", "--label", label, "--seed", "35000000")
    assert shown.returncode == 0, shown.stderr
    assert f"of: {label}" in shown.stdout
    rows = re.findall(r"^ +([0-9.]+)% +#* +(.+)$", shown.stdout, re.MULTILINE)
    assert len(rows) == 5
    assert rows[0][1] == label
    assert {name for _, name in rows} <= set(LABELS)
    assert "Right: the motion drawn came first." in shown.stdout
    assert shown.stdout.splitlines()[-1].endswith(" --page")


def test_random_motion_is_rendered_on_demand() -> None:
    shown = run_module("export.demo.show", "--random")
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


def test_sample_is_the_video_that_its_label_and_seed_render(tmp_path: Path) -> None:
    write_motion(tmp_path / "rendered.mp4", SAMPLE_LABEL, SAMPLE_SEED)
    sample, rendered = (_pixels(path) for path in (SAMPLE, tmp_path / "rendered.mp4"))
    # Releases of the encoder differ a little.
    assert np.abs(sample - rendered).mean() < 1


def _pixels(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="gray").astype(int) for frame in container.decode(video=0)])


def test_saved_video_is_the_one_that_was_rendered(tmp_path: Path) -> None:
    flags = ("--label", "Moving something down", "--seed", "35000000", "--save", str(tmp_path / "kept.mp4"))
    shown = run_module("export.demo.show", *flags)
    assert shown.returncode == 0, shown.stderr
    write_motion(tmp_path / "again.mp4", "Moving something down", 35_000_000)
    assert (tmp_path / "kept.mp4").read_bytes() == (tmp_path / "again.mp4").read_bytes()


def test_a_place_that_cannot_be_written_is_reported_in_one_line(tmp_path: Path) -> None:
    shown = run_module("export.demo.show", "--save", str(tmp_path / "missing/kept.mp4"))
    assert shown.returncode == 1
    (line,) = shown.stderr.splitlines()
    assert line.startswith("demo failed: ")
    assert "kept.mp4" in line


def test_page_is_served_with_three_cameras_until_ctrl_c() -> None:
    program = [sys.executable, "-m", "export.demo.show", "--page"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as shown:
        assert shown.stdout is not None
        url = shown.stdout.readline().split()[1]
        with urlopen(Request(url, headers={"Accept": "text/html"})) as page:
            assert page.headers.get_content_type() == "text/html"
        assert _opened(f"{url}api/v1/events", 3) == {"workbench", "shelf", "window"}
        shown.send_signal(signal.SIGINT)
        _, errors = shown.communicate(timeout=60)
    assert (shown.returncode, errors) == (130, "")


def _opened(events: str, count: int) -> set[str]:
    """The names of the first ``count`` streams."""
    names: set[str] = set()
    with urlopen(events) as answer:
        while len(names) < count:
            line = answer.readline()
            assert line
            if line.startswith(b"data: "):
                told = json.loads(line[6:])
                names |= {stream["name"] for stream in (*told.get("streams", ()), *filter(None, [told.get("stream")]))}
    return names
